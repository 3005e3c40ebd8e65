"""Dialects of CSV and TSV: a file's encoding, delimiter and columns, found in its first rows where they are not set."""

import csv
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from itertools import islice
from pathlib import Path

from toolchain.data.ingest.encodings import encoding_of
from toolchain.data.ingest.formats import first_bytes
from toolchain.data.ingest.quoting import MAX_LABELS, Shape
from toolchain.data.ingest.settings import Config
from toolchain.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
HEAD_BYTES = 1 << 17  # from which a dialect is found
HEAD_ROWS = 1_000
CONSISTENT = 0.9  # share of the first rows with as many fields as the header: a few may be broken
MAX_NAME_CHARACTERS, MAX_NAME_WORDS = 60, 4  # of a column's name; what is longer is a text

Row = list[str]


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    encoding: str
    delimiter: str
    marked: bool  # whether its first line is Excel's "sep=;"
    names: tuple[str, ...]  # of the columns, without spaces around them
    label: int | None  # position of the label's column
    labels: frozenset[str]  # those of the first rows

    def shape(self, quoting: str) -> Shape:
        """Return what a check of quotation marks must know."""
        labels = frozenset(label.encode() for label in self.labels)
        return Shape(self.delimiter.encode(), len(self.names), self.label, labels, quoting == "backslash")


def dialect_of(file: Path, kind: str, config: Config) -> Dialect:
    """Return how ``file``, a table of ``kind`` "csv" or "tsv", is written, by ``config`` and by its first rows.

    Raises:
        DataError: it has no rows, or its first row cannot be the header that ``config`` speaks of.
    """
    head = first_bytes(file, config.source, HEAD_BYTES)
    encoding = config.encoding or encoding_of(head)
    text = head.decode(encoding, "ignore").removeprefix("\ufeff")
    if len(head) == HEAD_BYTES:
        text = text[: max(text.rfind("\n"), text.rfind("\r")) + 1] or text
    marked = _marked_delimiter(text)
    text = text[len(_first_line(text)) :].lstrip("\r\n") if marked else text
    usual = "\t" if kind == "tsv" else ","
    delimiter = config.delimiter or marked or _delimiter(text, usual, config)
    header, *rows = _rows(text, delimiter) or [[]]
    names = _names(header, config)
    label = names.index(config.label_column) if config.label_column in names else None
    labels = _labels([header, *rows] if config.column_names else rows, len(names), label)
    return Dialect(encoding, delimiter, bool(marked), names, label, labels)


def _marked_delimiter(text: str) -> str:
    """Return the delimiter that a first line "sep=;" names for Excel, "" where there is none."""
    line = _first_line(text).strip('"')
    return line[4:] if line.lower().startswith("sep=") and len(line) == 5 else ""


def _first_line(text: str) -> str:
    return text.partition("\n")[0].partition("\r")[0]


def _delimiter(text: str, usual: str, config: Config) -> str:
    """Return the delimiter by which the wanted columns are there, or else by which most rows have as many fields."""
    tried = {delimiter: _rows(text, delimiter) for delimiter in (usual, *DELIMITERS)}
    for delimiter, rows in tried.items():
        if not config.column_names and rows and set(config.wanted) <= set(_stripped(rows[0])):
            return delimiter
    consistent = {delimiter: _consistency(rows, config) for delimiter, rows in tried.items()}
    best = max(consistent, key=lambda delimiter: consistent[delimiter])
    return best if consistent[best] >= CONSISTENT else usual


def _consistency(rows: list[Row], config: Config) -> float:
    """Return the share of ``rows`` that have as many fields as they should, of two or more; 0..1."""
    fields = len(config.column_names or (rows[0] if rows else []))
    return sum(len(row) == fields for row in rows) / len(rows) if fields > 1 else 0.0


def _rows(text: str, delimiter: str) -> list[Row]:
    found: list[Row] = []
    with suppress(csv.Error):  # a field of more than 128 KB: what came before it is enough
        found.extend(row for row in islice(csv.reader(StringIO(text, ""), delimiter=delimiter), HEAD_ROWS) if row)
    return found


def _stripped(names: Row) -> Row:
    return [name.strip() for name in names]


def _names(header: Row, config: Config) -> tuple[str, ...]:
    given, found = config.column_names, _stripped(header)
    if given and len(given) != len(found):
        raise DataError(
            f"{config.source} has {len(found)} columns, column_names has {len(given)} names; name each column: the "
            f"first row is {_shown(found)}"
        )
    if given and given == found:
        raise DataError(f"{config.source} has these names in its first row; leave column_names empty")
    if not given and not set(config.wanted) <= set(found) and _seems_data(found):
        missing = next(name for name in config.wanted if name not in found)
        raise DataError(
            f"{config.source} has no column {missing!r}; its first row seems to be data, not names ({_shown(found)}): "
            f"set column_names to the names of its {len(found)} columns"
        )
    return tuple(given or found)


def _seems_data(header: Row) -> bool:
    """Whether a first row is no header: names are short, are no sentences and no numbers."""
    return len(header) > 1 and any(
        len(name) > MAX_NAME_CHARACTERS or len(name.split()) > MAX_NAME_WORDS or _is_number(name) for name in header
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(row: Row) -> str:
    names = [
        name if len(name) <= MAX_NAME_CHARACTERS // 2 else f"{name[: MAX_NAME_CHARACTERS // 2]}..." for name in row
    ]
    return ", ".join(repr(name) for name in names[:10]) + (", ..." if len(names) > 10 else "")


def _labels(rows: list[Row], fields: int, label: int | None) -> frozenset[str]:
    """Return the labels of ``rows``; none where they are no classes."""
    if label is None:
        return frozenset()
    whole = [row for row in rows if len(row) == fields and "\n" not in row[label]]
    found = frozenset(row[label].strip() for row in whole) - {""}
    return found if len(found) <= min(MAX_LABELS, max(len(whole) // 2, 2)) else frozenset()
