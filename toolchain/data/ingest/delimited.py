"""CSV and TSV as batches of rows, parsed block by block."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

from toolchain.artifacts.dataset import ROWS_PER_BATCH
from toolchain.data.ingest.dialects import Dialect, dialect_of
from toolchain.data.ingest.encodings import ByteStream, advice, utf8_chunks
from toolchain.data.ingest.formats import damage_reported, short
from toolchain.data.ingest.quoting import QuoteChecker
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.tables import Table, Types, WrongTypeError
from toolchain.errors import DataError
from toolchain.progress import log_info

BLOCK_BYTES = 1 << 20  # of CSV parsed at once, 8 of them in memory; no row may be longer
# What stands for a missing number; the same word in a column of words is one ("NA" is Namibia).
NULLS = pa.array(["NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "NaN", "nan", "-nan", "None", r"\N", "<NA>"])
CODE_DIGITS = 16  # of which a float keeps 15 for sure
ZEROS, ZEROS_OR_LONG = r"^\s*[+-]?0\d", rf"^\s*[+-]?(0\d|\d{{{CODE_DIGITS}}})"  # codes that a number would cut


@dataclass(frozen=True)
class Source:
    """A file, and how it is read."""

    file: Path
    dialect: Dialect
    config: Config
    quoting: str  # as the settings name it; "": standard, and checked

    def odd_row(self) -> str:
        """Return where the first row stands that has more or fewer fields than the header; "" where none has."""
        chunks = utf8_chunks(self.file, self.config.source, self.dialect.encoding, BLOCK_BYTES)
        text = io.TextIOWrapper(io.BufferedReader(ByteStream(chunks)), "utf-8", errors="replace", newline="")
        lines = (line.replace("\0", "") for line in islice(text, int(self.dialect.marked), None))
        none = self.quoting == "none"
        escape = "\\" if self.quoting == "backslash" else None
        rows = csv.reader(
            lines,
            delimiter=self.dialect.delimiter,
            quoting=csv.QUOTE_NONE if none else csv.QUOTE_MINIMAL,
            escapechar=escape,
        )
        expected, before = len(self.dialect.names), 0
        with suppress(csv.Error):  # a field of more than 128 KB
            for row in rows:
                if row and len(row) != expected:
                    line = before + 1 + int(self.dialect.marked)
                    shown = short(self.dialect.delimiter.join(row))
                    return f"line {line:,} has {len(row)} fields, not {expected}: {shown}"
                before = rows.line_num
        return ""

    def open(self, wanted: list[str], types: Types) -> pcsv.CSVStreamingReader:
        chunks = utf8_chunks(self.file, self.config.source, self.dialect.encoding, BLOCK_BYTES)
        if not self.config.quoting and self.quoting != "none":
            chunks = QuoteChecker(self.dialect.shape(self.quoting)).checked(chunks)
        named = list(self.dialect.names) if self.config.column_names else None
        quoted = self.quoting != "none"
        return pcsv.open_csv(
            pa.PythonFile(ByteStream(chunks), mode="r"),
            read_options=pcsv.ReadOptions(
                block_size=BLOCK_BYTES, column_names=named, skip_rows=int(self.dialect.marked)
            ),
            parse_options=pcsv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char='"' if quoted else False,
                escape_char="\\" if self.quoting == "backslash" else False,
                newlines_in_values=quoted,
            ),
            convert_options=pcsv.ConvertOptions(
                include_columns=wanted, column_types=types, null_values=["", *NULLS.to_pylist()]
            ),
        )


def open_delimited(file: Path, kind: str, config: Config, types: Types, quoting: str) -> Table:
    """Return ``file``, CSV or TSV, as a table; text and whatever is no number, nor true or false, stays as it stands.

    Args:
        file: Compressed or not.
        kind: "csv" or "tsv".
        config: What is set.
        types: Of columns whose first rows mislead.
        quoting: How quotation marks are read: one of ``QUOTINGS``, or "" for the standard's with a check.

    Raises:
        DataError: the file is damaged, no table, or not in its encoding (also while its rows are read).
        WrongTypeError, QuotingError: it must be read otherwise (while its rows are read).
    """
    with damage_reported(file, config.source, config.encoding or "utf-8"):
        source = Source(file, dialect_of(file, kind, config), config, quoting)
    with _reported(source), source.open([], {}) as reader:
        found, raw = [column.type for column in reader.schema], list(reader.schema.names)
    names = [name.strip() for name in raw]
    known = {name: _read_as(name, kind, config) for name, kind in zip(names, found, strict=True)} | types
    numeric = {name for name, kind in zip(names, found, strict=True) if not pa.types.is_string(kind)}

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        columns = [raw[names.index(name)] for name in wanted]
        as_text = {column: pa.string() for column in columns}
        repeats = 0
        with _reported(source), source.open(columns, as_text) as reader:
            for whole in reader:
                batch = whole if config.column_names else _without_headers(whole)
                repeats += whole.num_rows - batch.num_rows
                yield from _in_pieces(_typed(batch, wanted, known, numeric, config.label_column))
        if repeats:
            log_info(f"{config.source}: {repeats:,} rows that repeat the header are left out; they are of files joined")

    how = {"encoding": source.dialect.encoding, "delimiter": source.dialect.delimiter, "quoting": quoting or "standard"}
    return Table(names, batches, how)


def _without_headers(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch``, all of it text, without rows that repeat the header: files were joined with theirs."""
    if batch.num_columns < 2:  # one word, such as "text", may be a text
        return batch
    repeats = None
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        same = pc.equal(pc.utf8_trim(values, " \ufeff"), name.strip(" \ufeff"))
        repeats = same if repeats is None else pc.and_(repeats, same)
        if not pc.any(repeats).as_py():
            return batch
    return batch.filter(pc.invert(pc.fill_null(repeats, False)))


def _read_as(name: str, found: pa.DataType, config: Config) -> pa.DataType:
    """Return the type of column ``name``: text and label are text, numbers and truth are what the first rows have."""
    plain = found in (pa.int64(), pa.float64(), pa.bool_())
    return found if plain and name not in (config.text_column, config.label_column) else pa.string()


def _typed(batch: pa.RecordBatch, names: list[str], types: Types, numeric: set[str], label: str) -> pa.RecordBatch:
    """Return ``batch``, all of it text, under ``names`` and in ``types``."""
    columns = {}
    for name, values in zip(names, batch.columns, strict=True):
        if name == label or not pa.types.is_string(types[name]):
            values = _without_nulls(values, name in numeric)
        columns[name] = values if pa.types.is_string(types[name]) else _converted(values, name, types[name])
    return pa.record_batch(columns)


def _without_nulls(values: pa.Array, numeric: bool) -> pa.Array:
    """Return ``values`` without those that stand for a missing one: empty, and in a column of numbers NA, NULL, ..."""
    missing = pc.equal(values, "")
    if numeric:
        missing = pc.or_(missing, pc.is_in(values, NULLS))
    return pc.if_else(missing, None, values) if pc.any(missing).as_py() else values


def _converted(values: pa.Array, name: str, kind: pa.DataType) -> pa.Array:
    """Return the text ``values`` as ``kind``.

    Raises:
        WrongTypeError: one is no such value, or is a code whose digits a number would lose: 007, 12345678901234567890.
    """
    try:
        converted = pc.utf8_trim_whitespace(values).cast(kind)
    except pa.ArrowInvalid as error:
        raise WrongTypeError(name, kind, pa.string() if _has_codes(values, pa.float64()) else None) from error
    if not pa.types.is_boolean(kind) and _has_codes(values, kind):
        raise WrongTypeError(name, kind, pa.string())
    return converted


def _has_codes(values: pa.Array, kind: pa.DataType) -> bool:
    """Whether one of ``values`` begins with zeros, or has more digits than a float ``kind`` keeps."""
    lengths = pc.binary_length(values)
    short_enough = pa.types.is_integer(kind) or (pc.max(lengths).as_py() or 0) < CODE_DIGITS
    plain = pc.and_(pc.greater(values, "1"), pc.less(values, ":"))  # begins with 1 to 9, as text is ordered
    if short_enough and pc.all(pc.or_(plain, pc.equal(lengths, 1))).as_py():
        return False  # of most columns of numbers, without a search in each value
    return bool(pc.any(pc.match_substring_regex(values, ZEROS if pa.types.is_integer(kind) else ZEROS_OR_LONG)).as_py())


@contextmanager
def _reported(source: Source) -> Iterator[None]:
    name, encoding = source.config.source, source.dialect.encoding
    try:
        with damage_reported(source.file, name, encoding):
            yield
    except pa.ArrowInvalid as error:
        message = str(error)
        if "invalid UTF8" in message:
            raise DataError(f"{name} is not {encoding} text ({advice(source.file, name, encoding)})") from error
        if "straddling" in message:
            raise DataError(
                f"{name} has a row of more than {BLOCK_BYTES >> 20} MB; a quotation mark may never be closed"
            ) from error
        where = source.odd_row() if "Expected" in message else ""
        raise DataError(
            f"{name} is not a well-formed table: {where or short(message)}; mend it, or set delimiter or quoting"
        ) from error


def _in_pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, ROWS_PER_BATCH):
        yield batch.slice(start, ROWS_PER_BATCH)
