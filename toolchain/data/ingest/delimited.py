"""Read CSV and TSV in batches of rows, parsed block by block."""

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
from toolchain.data.ingest.dialects import Dialect, detect_dialect
from toolchain.data.ingest.encodings import ByteStream, suggest_encoding, utf8_chunks
from toolchain.data.ingest.formats import damage_reported, shorten
from toolchain.data.ingest.quoting import QuoteChecker
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.tables import ColumnTypeError, Table, Types
from toolchain.errors import DataError
from toolchain.progress import log_info

BLOCK_BYTES = 1 << 20  # of CSV parsed at a time, with 8 blocks in memory; no row may be longer
# Missing values in a column of numbers; in a column of text they are words ("NA" is Namibia).
NULLS = pa.array(["NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "NaN", "nan", "-nan", "None", r"\N", "<NA>"])
MAX_FLOAT_DIGITS = 15  # that a float keeps exactly
# Codes that a conversion to numbers would change: with leading zeros, or with more digits than a float keeps.
LEADING_ZERO = r"^\s*[+-]?0\d"
CODE = rf"^\s*[+-]?(0\d|\d{{{MAX_FLOAT_DIGITS + 1}}})"


@dataclass(frozen=True)
class DelimitedFile:
    """A file and the options for reading it."""

    file: Path
    dialect: Dialect
    config: Config
    quoting: str  # one of QUOTINGS; "": standard, and checked

    def find_uneven_row(self) -> str:
        """Return a description of the first row with another number of fields than the header, "" if there is none."""
        chunks = utf8_chunks(self.file, self.config.source, self.dialect.encoding, BLOCK_BYTES)
        text = io.TextIOWrapper(io.BufferedReader(ByteStream(chunks)), "utf-8", errors="replace", newline="")
        skipped = int(self.dialect.has_separator_line)
        rows = csv.reader(
            (line.replace("\0", "") for line in islice(text, skipped, None)),
            delimiter=self.dialect.delimiter,
            quoting=csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL,
            escapechar="\\" if self.quoting == "backslash" else None,
        )
        expected, lines_before = len(self.dialect.columns), 0
        with suppress(csv.Error):  # a field of more than 128 KB
            for row in rows:
                if row and len(row) != expected:
                    excerpt = shorten(self.dialect.delimiter.join(row))
                    line = lines_before + 1 + skipped
                    return f"line {line:,} has {len(row)} fields, expected {expected}: {excerpt}"
                lines_before = rows.line_num
        return ""

    def open(self, columns: list[str], types: Types) -> pcsv.CSVStreamingReader:
        """Open Arrow's reader for ``columns`` ([]: all)."""
        chunks = utf8_chunks(self.file, self.config.source, self.dialect.encoding, BLOCK_BYTES)
        is_quoted = self.quoting != "none"
        if not self.config.quoting and is_quoted:
            chunks = QuoteChecker(self.dialect.table_shape(self.quoting)).checked(chunks)
        return pcsv.open_csv(
            pa.PythonFile(ByteStream(chunks), mode="r"),
            read_options=pcsv.ReadOptions(
                block_size=BLOCK_BYTES,
                column_names=list(self.dialect.columns) if self.config.column_names else None,
                skip_rows=int(self.dialect.has_separator_line),
            ),
            parse_options=pcsv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char='"' if is_quoted else False,
                escape_char="\\" if self.quoting == "backslash" else False,
                newlines_in_values=is_quoted,
            ),
            convert_options=pcsv.ConvertOptions(
                include_columns=columns, column_types=types, null_values=["", *NULLS.to_pylist()]
            ),
        )

    @contextmanager
    def errors_reported(self) -> Iterator[None]:
        """Turn errors of Arrow's reader inside the block into a DataError in one line."""
        name, encoding = self.config.source, self.dialect.encoding
        try:
            with damage_reported(self.file, name, encoding):
                yield
        except pa.ArrowInvalid as error:
            message = str(error)
            if "invalid UTF8" in message:
                raise DataError(
                    f"{name} is not {encoding} text ({suggest_encoding(self.file, name, encoding)})"
                ) from error
            if "straddling" in message:
                raise DataError(
                    f"{name} has a row of more than {BLOCK_BYTES >> 20} MB; a quotation mark may not be closed"
                ) from error
            detail = self.find_uneven_row() if "Expected" in message else ""
            raise DataError(
                f"{name} is not a valid table: {detail or shorten(message)}; correct it, or set delimiter or quoting"
            ) from error


def open_delimited(file: Path, file_format: str, config: Config, types: Types, quoting: str) -> Table:
    """Return ``file``, CSV or TSV, as a table; only numbers and booleans are converted from text.

    Args:
        file: Compressed or not.
        file_format: "csv" or "tsv".
        config: The settings.
        types: Of columns whose first rows have a narrower type.
        quoting: One of ``QUOTINGS``, or "" for the standard with a check.

    Raises:
        DataError: the file is damaged, not a table, or not in its encoding (also raised while rows are read).
        ColumnTypeError, QuotingError: the file must be read with other options (raised while rows are read).
    """
    with damage_reported(file, config.source, config.encoding or "utf-8"):
        source = DelimitedFile(file, detect_dialect(file, file_format, config), config, quoting)
    with source.errors_reported(), source.open([], {}) as reader:
        raw_types, raw_names = [column.type for column in reader.schema], list(reader.schema.names)
    columns = [name.strip() for name in raw_names]
    stored_names = dict(zip(reversed(columns), reversed(raw_names), strict=True))  # of equal names, the first one's
    detected = dict(zip(columns, raw_types, strict=True))
    types = {name: _column_type(name, found, config) for name, found in detected.items()} | types
    numeric = {name for name, found in detected.items() if not pa.types.is_string(found)}

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for batch in _text_batches(source, [stored_names[name] for name in wanted]):
            yield from _slices(_convert(batch, wanted, types, numeric, config.label_column))

    dialect = source.dialect
    options = {"encoding": dialect.encoding, "delimiter": dialect.delimiter, "quoting": quoting or "standard"}
    return Table(columns, batches, options)


def _text_batches(source: DelimitedFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Yield ``columns`` as text, without repeated headers."""
    config, repeated = source.config, 0
    with source.errors_reported(), source.open(columns, dict.fromkeys(columns, pa.string())) as reader:
        for batch in reader:
            rows = batch if config.column_names else _without_headers(batch)
            repeated += batch.num_rows - rows.num_rows
            yield rows
    if repeated:
        log_info(f"{config.source}: {repeated:,} rows that repeat the header are skipped; the file was concatenated")


def _without_headers(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return ``batch``, all text, without rows that repeat the header, as in concatenated files."""
    if batch.num_columns < 2:  # a single word, such as "text", may be a text
        return batch
    is_header = None
    for name, values in zip(batch.schema.names, batch.columns, strict=True):
        same = pc.equal(pc.utf8_trim(values, " \ufeff"), name.strip(" \ufeff"))
        is_header = same if is_header is None else pc.and_(is_header, same)
        if not pc.any(is_header).as_py():
            return batch
    return batch.filter(pc.invert(pc.fill_null(is_header, False)))


def _column_type(name: str, detected: pa.DataType, config: Config) -> pa.DataType:
    """Return the type of column ``name``: text and label are strings, numbers and booleans have the detected type."""
    is_plain = detected in (pa.int64(), pa.float64(), pa.bool_())
    return detected if is_plain and name not in (config.text_column, config.label_column) else pa.string()


def _convert(batch: pa.RecordBatch, names: list[str], types: Types, numeric: set[str], label: str) -> pa.RecordBatch:
    """Return ``batch``, all text, with the column ``names`` and ``types``."""
    columns = {}
    for name, values in zip(names, batch.columns, strict=True):
        if name == label or not pa.types.is_string(types[name]):
            values = _with_nulls(values, name in numeric)
        columns[name] = values if pa.types.is_string(types[name]) else _cast(values, name, types[name])
    return pa.record_batch(columns)


def _with_nulls(values: pa.Array, is_numeric: bool) -> pa.Array:
    """Return ``values`` with null for missing ones: empty, and in a column of numbers NA, NULL, ..."""
    missing = pc.equal(values, "")
    if is_numeric:
        missing = pc.or_(missing, pc.is_in(values, NULLS))
    return pc.if_else(missing, None, values) if pc.any(missing).as_py() else values


def _cast(values: pa.Array, name: str, column_type: pa.DataType) -> pa.Array:
    """Return the text ``values`` as ``column_type``.

    Raises:
        ColumnTypeError: a value has another type, or is a code whose digits would be lost: 007, 12345678901234567890.
    """
    try:
        converted = pc.utf8_trim_whitespace(values).cast(column_type)
    except pa.ArrowInvalid as error:
        wider = pa.string() if _has_codes(values, pa.float64()) else None
        raise ColumnTypeError(name, column_type, wider) from error
    if not pa.types.is_boolean(column_type) and _has_codes(values, column_type):
        raise ColumnTypeError(name, column_type, pa.string())
    return converted


def _has_codes(values: pa.Array, column_type: pa.DataType) -> bool:
    """Return whether one of ``values`` has leading zeros, or more digits than a float ``column_type`` keeps."""
    lengths = pc.binary_length(values)
    is_integer = pa.types.is_integer(column_type)
    are_short = is_integer or (pc.max(lengths).as_py() or 0) <= MAX_FLOAT_DIGITS
    starts_with_1_to_9 = pc.and_(pc.greater(values, "1"), pc.less(values, ":"))  # in the order of text
    if are_short and pc.all(pc.or_(starts_with_1_to_9, pc.equal(lengths, 1))).as_py():
        return False  # fast path for most columns of numbers, without a regular expression
    return bool(pc.any(pc.match_substring_regex(values, LEADING_ZERO if is_integer else CODE)).as_py())


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, ROWS_PER_BATCH):
        yield batch.slice(start, ROWS_PER_BATCH)
