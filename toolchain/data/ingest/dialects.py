"""Detect the encoding, delimiter and columns of a CSV or TSV from its first rows, unless they are configured."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

from toolchain.data.ingest.encodings import encoding_of
from toolchain.data.ingest.formats import first_bytes
from toolchain.data.ingest.quoting import MAX_LABELS, TableShape
from toolchain.data.ingest.settings import Config
from toolchain.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
HEAD_BYTES = 1 << 17  # read to detect the dialect
HEAD_ROWS = 1_000
MIN_CONSISTENT_SHARE = 0.9  # of the first rows that have the number of fields of the header: a few may be broken
MAX_NAME_CHARACTERS, MAX_NAME_WORDS = 60, 4  # of a column name; longer ones are texts

Row = list[str]


@dataclass(frozen=True)
class Dialect:
    """The syntax and the columns of a file."""

    encoding: str
    delimiter: str
    has_separator_line: bool  # whether the first line is Excel's "sep=;"
    columns: tuple[str, ...]  # names without surrounding spaces
    label_index: int | None  # of the column of labels
    labels: frozenset[str]  # in the first rows

    def table_shape(self, quoting: str) -> TableShape:
        """Return the properties that the check of quotation marks needs."""
        labels = frozenset(label.encode() for label in self.labels)
        return TableShape(self.delimiter.encode(), len(self.columns), self.label_index, labels, quoting == "backslash")


def detect_dialect(file: Path, file_format: str, config: Config) -> Dialect:
    """Return the dialect of ``file``, a "csv" or "tsv", from ``config`` and its first rows.

    Raises:
        DataError: it has no rows, or its first row is not the header that ``config`` expects.
    """
    head = first_bytes(file, config.source, HEAD_BYTES)
    encoding = config.encoding or encoding_of(head)
    text = head.decode(encoding, "ignore").removeprefix("\ufeff")
    if len(head) == HEAD_BYTES:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    separator = _separator_line(text)
    text = text[len(_first_line(text)) :].lstrip("\r\n") if separator else text
    default = "\t" if file_format == "tsv" else ","
    delimiter = config.delimiter or separator or _delimiter(text, default, config)
    header, *rows = _rows(text, delimiter) or [[]]
    columns = _columns(header, config)
    label_index = columns.index(config.label_column) if config.label_column in columns else None
    labels = _labels([header, *rows] if config.column_names else rows, len(columns), label_index)
    return Dialect(encoding, delimiter, bool(separator), columns, label_index, labels)


def _separator_line(text: str) -> str:
    """Return the delimiter in Excel's first line "sep=;", "" if there is no such line."""
    line = _first_line(text).strip('"')
    return line[4:] if line.lower().startswith("sep=") and len(line) == 5 else ""


def _first_line(text: str) -> str:
    return text.partition("\n")[0].partition("\r")[0]


def _delimiter(text: str, default: str, config: Config) -> str:
    """Return the delimiter that yields the required columns, or else the most consistent number of fields."""
    candidates = {delimiter: _rows(text, delimiter) for delimiter in (default, *DELIMITERS)}
    for delimiter, rows in candidates.items():
        if not config.column_names and rows and set(config.wanted) <= set(_stripped(rows[0])):
            return delimiter
    shares = {delimiter: _consistent_share(rows, config) for delimiter, rows in candidates.items()}
    best = max(shares, key=lambda delimiter: shares[delimiter])
    return best if shares[best] >= MIN_CONSISTENT_SHARE else default


def _consistent_share(rows: list[Row], config: Config) -> float:
    """Return the share of ``rows`` with the expected number of fields, 0..1; 0 for a single field."""
    fields = len(config.column_names or (rows[0] if rows else []))
    return sum(len(row) == fields for row in rows) / len(rows) if fields > 1 else 0.0


def _rows(text: str, delimiter: str) -> list[Row]:
    found: list[Row] = []
    with suppress(csv.Error):  # a field of more than 128 KB: the rows before it are enough
        found.extend(row for row in islice(csv.reader(StringIO(text, ""), delimiter=delimiter), HEAD_ROWS) if row)
    return found


def _stripped(names: Row) -> Row:
    return [name.strip() for name in names]


def _columns(header: Row, config: Config) -> tuple[str, ...]:
    configured, found = config.column_names, _stripped(header)
    if configured and len(configured) != len(found):
        raise DataError(
            f"{config.source} has {len(found)} columns, column_names has {len(configured)} names; name each column of "
            f"the first row: {_excerpt(found)}"
        )
    if configured and configured == found:
        raise DataError(f"{config.source} has these names in its first row; leave column_names empty")
    if not configured and not set(config.wanted) <= set(found) and _is_probably_data(found):
        missing = next(name for name in config.wanted if name not in found)
        raise DataError(
            f"{config.source} has no column {missing!r}, and its first row appears to be data ({_excerpt(found)}); set "
            f"column_names to the names of its {len(found)} columns"
        )
    return tuple(configured or found)


def _is_probably_data(header: Row) -> bool:
    """Return whether a first row is not a header: it has numbers, sentences or long texts."""
    return len(header) > 1 and any(
        len(name) > MAX_NAME_CHARACTERS or len(name.split()) > MAX_NAME_WORDS or _is_number(name) for name in header
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _excerpt(row: Row) -> str:
    names = [
        name if len(name) <= MAX_NAME_CHARACTERS // 2 else f"{name[: MAX_NAME_CHARACTERS // 2]}..." for name in row
    ]
    return ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")


def _labels(rows: list[Row], fields: int, label_index: int | None) -> frozenset[str]:
    """Return the labels of ``rows``, none if they do not look like classes."""
    if label_index is None:
        return frozenset()
    complete = [row for row in rows if len(row) == fields and "\n" not in row[label_index]]
    found = frozenset(row[label_index].strip() for row in complete) - {""}
    return found if len(found) <= min(MAX_LABELS, max(len(complete) // 2, 2)) else frozenset()
