"""Readers: CSV, TSV, JSON Lines and Parquet as batches of rows, none of them ever whole in memory."""

import codecs
import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import ROWS_PER_BATCH
from toolchain.data.ingest.formats import GZIP, damage_reported
from toolchain.errors import DataError

BLOCK_BYTES = 1 << 20  # of CSV parsed at once, 8 of them in memory; no row may be longer
WIDER = {"int64": pa.float64()}  # where a later value does not fit; from anything else to string
SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}  # JSON's, as columns hold them
Types = dict[str, pa.DataType]
Batches = Callable[[list[str]], Iterator[pa.RecordBatch]]  # given the names of the columns that are needed


class WrongTypeError(Exception):
    """A row's value does not fit the type that its column's first rows had; reading again with ``wider`` mends it."""

    def __init__(self, column: str, narrow: pa.DataType) -> None:
        super().__init__(f"{column} is not always {narrow}")
        self.column, self.wider = column, WIDER.get(str(narrow), pa.string())


def open_table(
    files: tuple[Path, ...], kind: str, source: str, encoding: str, delimiter: str, types: Types
) -> tuple[list[str], Batches]:
    """Return the column names of ``files`` and a function that yields their rows, at most 10,000 at a time.

    Args:
        files: One file, or several (Parquet) of the same columns; gzip-compressed where they begin so.
        kind: One of ``FORMATS``.
        source: What errors call them.
        encoding: Of text files.
        delimiter: Of CSV; "" for the usual one.
        types: Of columns whose first rows mislead.

    Raises:
        DataError: a file is damaged, or is not in this format or encoding (also while its rows are read).
        WrongTypeError: a later value does not fit its column (while rows are read).
    """
    if kind == "parquet":
        return _open_parquet(files, source)
    if kind == "jsonl":
        return _open_jsonl(files[0], source, encoding, types)
    return _open_csv(files[0], source, encoding, delimiter or ("\t" if kind == "tsv" else ","), types)


def _open_csv(file: Path, source: str, encoding: str, delimiter: str, types: Types) -> tuple[list[str], Batches]:
    """Text and whatever is no number, nor true or false, is read as it stands: dates and times stay text."""
    with _csv_reported(source, encoding), _csv(file, encoding, delimiter, [], {}) as reader:
        found = {column.name: column.type for column in reader.schema}
        names = list(reader.schema.names)
    known = {name: kind if kind in SCALARS.values() else pa.string() for name, kind in found.items()} | types

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        with _csv_reported(source, encoding, names, known), _csv(file, encoding, delimiter, wanted, known) as reader:
            for batch in reader:
                yield from _in_pieces(batch)

    return names, batches


def _csv(file: Path, encoding: str, delimiter: str, wanted: list[str], types: Types) -> pcsv.CSVStreamingReader:
    utf8 = codecs.lookup(encoding).name == "utf-8"
    return pcsv.open_csv(
        pa.input_stream(str(file), compression="gzip" if _is_gzip(file) else None),
        read_options=pcsv.ReadOptions(encoding="utf8" if utf8 else encoding, block_size=BLOCK_BYTES),
        parse_options=pcsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pcsv.ConvertOptions(include_columns=wanted, column_types=types),
    )


@contextmanager
def _csv_reported(
    source: str, encoding: str, names: list[str] | None = None, types: Types | None = None
) -> Iterator[None]:
    try:
        with damage_reported(source, encoding):
            yield
    except pa.ArrowInvalid as error:
        message = str(error)
        if "invalid UTF8" in message:
            raise DataError(f"{source} is not {encoding} text; set encoding to its own, latin-1 say") from error
        column = re.match(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error", message)
        if column and names and types:
            name = names[int(column[1])]
            raise WrongTypeError(name, types[name]) from error
        if "straddling" in message:
            raise DataError(
                f"{source} has a row of more than {BLOCK_BYTES >> 20} MB; a quotation mark may never be closed"
            ) from error
        raise DataError(f"{source} is not a well-formed table: {_short(message)}; mend it, or set delimiter") from error


def _short(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= 160 else f"{line[:160]}..."


def _in_pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, ROWS_PER_BATCH):
        yield batch.slice(start, ROWS_PER_BATCH)


def _open_jsonl(file: Path, source: str, encoding: str, types: Types) -> tuple[list[str], Batches]:
    """A column is there when one of the first 10,000 objects has it; a value that is no scalar is kept as JSON text."""
    first = next(_objects(file, source, encoding), [])
    names = list(dict.fromkeys(name for row in first for name in row))
    known = {name: _scalar_type(row.get(name) for row in first) for name in names} | types

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for rows in _objects(file, source, encoding):
            yield pa.record_batch({name: _column(rows, name, known[name]) for name in wanted})

    return names, batches


def _objects(file: Path, source: str, encoding: str) -> Iterator[list[dict[str, Any]]]:
    """Yield the objects of ``file``, one a line, 10,000 at a time; blank lines are passed over."""
    with damage_reported(source, encoding), _text(file, encoding) as lines:
        numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        while piece := list(islice(numbered, ROWS_PER_BATCH)):
            yield [_object(line, number, source) for number, line in piece]


def _object(line: str, number: int, source: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"{source}, line {number}: not JSON ({error}); JSON Lines has one object on each line"
        ) from error
    if not isinstance(value, dict):
        found = type(value).__name__
        raise DataError(f"{source}, line {number}: a {found}, not an object; JSON Lines has one object on each line")
    return value


def _scalar_type(values: Iterator[Any]) -> pa.DataType:
    """Return the narrowest type that holds all ``values``; text when there is none, or when they disagree."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.float64()
    return SCALARS.get(kinds.pop(), pa.string()) if len(kinds) == 1 else pa.string()


def _column(rows: list[dict[str, Any]], name: str, kind: pa.DataType) -> pa.Array:
    values = [row.get(name) for row in rows]
    if pa.types.is_string(kind):
        return pa.array([_as_text(value) for value in values], pa.string())
    if any(value is not None and not _fits(value, kind) for value in values):
        raise WrongTypeError(name, kind)
    return pa.array(values, kind)


def _fits(value: Any, kind: pa.DataType) -> bool:
    if kind == pa.int64():
        return type(value) is int and abs(value) < 1 << 63
    return type(value) in ((int, float) if kind == pa.float64() else (bool,))


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _open_parquet(files: tuple[Path, ...], source: str) -> tuple[list[str], Batches]:
    with _parquet_reported(source):
        schema = pq.read_schema(files[0])

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for path in files:
            with _parquet_reported(source), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted):
                    yield batch.replace_schema_metadata(schema.metadata)

    return list(schema.names), batches


@contextmanager
def _parquet_reported(source: str) -> Iterator[None]:
    try:
        with damage_reported(source):
            yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{source} is damaged: not readable as Parquet ({_short(str(error))}); fetch it again"
        ) from error


def _is_gzip(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(GZIP)) == GZIP


def _text(file: Path, encoding: str) -> IO[str]:
    encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding  # a byte order mark is no text
    opener = gzip.open if _is_gzip(file) else open
    return cast(IO[str], opener(file, "rt", encoding=encoding))
