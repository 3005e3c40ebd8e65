"""Read JSON in batches of rows: JSON Lines, an array of objects, or one object of columns or rows."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from toolchain.artifacts.dataset import ROWS_PER_BATCH
from toolchain.artifacts.texts import text_of
from toolchain.data.ingest.encodings import ByteStream, encoding_of, is_utf8, utf8_chunks
from toolchain.data.ingest.formats import damage_reported, first_bytes, shorten
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.tables import ColumnTypeError, Table, Types
from toolchain.errors import DataError
from toolchain.json_text import loads
from toolchain.services.compression import open_uncompressed

CHUNK_CHARACTERS = 1 << 20  # read at a time
MAX_VALUE_CHARACTERS = 1 << 28  # of one line or object, which must fit in memory
MAX_EXACT_FLOAT = 1 << 53  # larger integers are not exact as floats
MAX_EXCERPT_CHARACTERS = 60  # of a value in an error
SEPARATORS = re.compile(r"[\s,\[\]]*")
SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}  # of columns
Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """The numbered rows of a file."""

    numbered: Iterator[Row]
    unit: str = "line"  # lines are numbered from 1, rows from 0


def open_json(file: Path, config: Config, types: Types) -> Table:
    """Return ``file`` as a table; its columns are those of the first 10,000 objects.

    The text and the label are strings; other values that are not scalars are kept as JSON text.

    Raises:
        DataError: the file is damaged, or not JSON with rows (also raised while rows are read).
        ColumnTypeError: a later value does not fit its column (raised while rows are read).
    """
    encoding = config.encoding or encoding_of(first_bytes(file, config.source))
    first = next(_batches(file, config, encoding), ("", []))[1]
    names = list(dict.fromkeys(name for _, row in first for name in row))
    types = {name: _scalar_type(row.get(name) for _, row in first) for name in names} | types

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        for unit, rows in _batches(file, config, encoding):
            yield pa.record_batch({name: _column(rows, name, types[name], unit, config) for name in columns})

    return Table(names, batches, {"encoding": encoding})


def _batches(file: Path, config: Config, encoding: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield the unit of the numbers and the numbered rows of ``file``, 10,000 at a time."""
    with damage_reported(file, config.source, encoding), _opened(file, config.source, encoding) as text:
        rows = _rows(text, config)
        while batch := list(islice(rows.numbered, ROWS_PER_BATCH)):
            yield rows.unit, batch


def _opened(file: Path, source: str, encoding: str) -> IO[str]:
    if is_utf8(encoding):
        return io.TextIOWrapper(open_uncompressed(file, source), "utf-8-sig")  # skips a byte order mark
    chunks = utf8_chunks(file, source, encoding, CHUNK_CHARACTERS)
    return io.TextIOWrapper(io.BufferedReader(ByteStream(chunks)), "utf-8-sig")


def _rows(text: IO[str], config: Config) -> Rows:
    """Return the rows of ``text``; its first line shows the layout."""
    lines = ((number, line) for number, line in enumerate(_lines(text), 1) if line.strip())
    number, line = next(lines, (1, ""))
    if line.lstrip().startswith("["):
        return Rows(_objects(_values(chain([line], _chunks(text)), config, array=True), config), "row")
    try:
        first = loads(line) if line else None
    except (ValueError, RecursionError) as error:
        if not line.lstrip().startswith("{"):
            raise _json_error(config, "line", number, error) from error
        values = _values(chain([line], _chunks(text)), config)  # an object of several lines
        first, following = next(values, None), next(values, None)
        if following is not None:
            return Rows(_objects(chain([first, following], values), config), "row")
        return Rows(_objects(iter(_rows_of(first, config)), config), "row")
    following = next(lines, None)
    if following is None and isinstance(first, dict):
        return Rows(_objects(iter(_rows_of(first, config)), config), "row" if _holds_rows(first) else "line")
    rest = (each for each in (following,) if each is not None)
    return Rows(_parsed(chain([(number, line)] if line else [], rest, lines), config))


def _lines(text: IO[str]) -> Iterator[str]:
    while line := text.readline(MAX_VALUE_CHARACTERS):
        yield line


def _chunks(text: IO[str]) -> Iterator[str]:
    return iter(partial(text.read, CHUNK_CHARACTERS), "")


def _parsed(lines: Iterator[tuple[int, str]], config: Config) -> Iterator[Row]:
    for number, line in lines:
        try:
            value = loads(line)
        except (ValueError, RecursionError) as error:
            raise _json_error(config, "line", number, error) from error
        yield number, _object(value, "line", number, config)


def _objects(values: Iterator[Any], config: Config) -> Iterator[Row]:
    for number, value in enumerate(values):
        yield number, _object(value, "row", number, config)


def _object(value: Any, unit: str, number: int, config: Config) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = type(value).__name__
        raise DataError(f"{config.source}, {unit} {number}: {found} found, each row must be a JSON object")
    return value


def _json_error(config: Config, unit: str, number: int, error: Exception) -> DataError:
    return DataError(
        f"{config.source}, {unit} {number}: not JSON ({shorten(str(error))}); JSON Lines has one object per line"
    )


def _values(chunks: Iterator[str], config: Config, array: bool = False) -> Iterator[Any]:
    """Yield the consecutive values in ``chunks``, inside an array or not.

    An incomplete value is parsed again after its length has doubled, so that parsing stays linear.
    """
    decoder, text, begin, number, closed = json.JSONDecoder(), "", 0, 0, not array
    while True:
        start = SEPARATORS.match(text, begin).end()  # type: ignore[union-attr]  # always matches
        closed, begin = (text[begin:start].rstrip(" \t\r\n,").endswith("]") if start > begin else closed), start
        try:
            value, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            rest = len(text) - begin
            more = (
                ""
                if rest and not _may_be_incomplete(error, text)
                else "".join(islice(chunks, 1 + rest // CHUNK_CHARACTERS))
            )
            if not more and not rest and (closed or not array):
                return
            if not more or rest > MAX_VALUE_CHARACTERS:
                raise _json_error(config, "row", number, error) from error
            text, begin = text[begin:] + more, 0
            continue
        yield loads(text[begin:end]) if "\\ud" in text[begin:end].lower() else value
        begin, number = end, number + 1


def _may_be_incomplete(error: ValueError | RecursionError, text: str) -> bool:
    """Return whether a value may be incomplete: the error is at the end of ``text``, in its last escape or word."""
    if not isinstance(error, json.JSONDecodeError):  # nested too deeply, or a number with too many digits
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - len(r"\ud83d\ude00")


def _holds_rows(document: dict[str, Any]) -> bool:
    return any(isinstance(value, dict | list) for value in document.values())


def _rows_of(document: Any, config: Config) -> list[Any]:
    """Return the rows of one JSON ``document`` in any orientation of pandas' ``to_json``.

    Columns {"text": {"0": ...}, ...} or {"text": [...], ...}, index {"0": {"text": ...}, ...}, split
    {"columns": [...], "data": [[...]]}, or rows under one key {"data": [{"text": ...}]}; otherwise it is a single row.
    """
    if not isinstance(document, dict):
        return [document]
    names, data = document.get("columns"), document.get("data")
    if isinstance(names, list) and isinstance(data, list) and all(isinstance(row, list) for row in data):
        return [dict(zip(names, row, strict=False)) for row in data]
    columns = config.wanted or list(document)
    if columns and all(isinstance(document.get(name), dict | list) for name in columns):
        return _from_columns(document, config)
    lists = [value for value in document.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(lists) == 1 and not set(columns) & set(document):
        return list(lists[0])
    rows = list(document.values())
    is_index = len(rows) > 0 and all(isinstance(row, dict) and set(config.wanted) <= set(row) for row in rows)
    return rows if is_index else [document]


def _from_columns(document: dict[str, Any], config: Config) -> list[Any]:
    columns = {
        name: dict(enumerate(values)) if isinstance(values, list) else values
        for name, values in document.items()
        if isinstance(values, dict | list)
    }
    first = next(iter(columns.values()))
    for name in config.wanted:
        if columns[name].keys() != first.keys():
            raise DataError(f"{config.source}: column {name!r} has other rows than the first; write the file by rows")
    return [{name: values.get(key) for name, values in columns.items()} for key in first]


def _scalar_type(values: Iterator[Any]) -> pa.DataType:
    """Return the narrowest type for all ``values``; string if there are none, or if their types differ."""
    present = [value for value in values if value is not None]
    python_types = {type(value) for value in present}
    if python_types == {int, float}:
        found = pa.float64()
    else:
        found = SCALARS.get(python_types.pop(), pa.string()) if len(python_types) == 1 else pa.string()
    return found if all(_fits(value, found) for value in present) else pa.string()


def _column(rows: list[Row], name: str, column_type: pa.DataType, unit: str, config: Config) -> pa.Array:
    if name in (config.text_column, config.label_column):
        return pa.array(
            [_scalar_text(row.get(name), name, f"{unit} {number}", config) for number, row in rows], pa.string()
        )
    values = [row.get(name) for _, row in rows]
    if pa.types.is_string(column_type):
        return pa.array([_as_text(value) for value in values], pa.string())
    for value in values:
        if value is not None and not _fits(value, column_type):
            raise ColumnTypeError(name, column_type, None if type(value) is float else pa.string())
    return pa.array(values, column_type)


def _scalar_text(value: Any, name: str, position: str, config: Config) -> str | None:
    if isinstance(value, str):
        return value
    try:
        return text_of(value)
    except TypeError as error:
        excerpt = shorten(json.dumps(value, ensure_ascii=False))[:MAX_EXCERPT_CHARACTERS]
        expected, setting = ("text", "text_column") if name == config.text_column else ("one class", "label_column")
        raise DataError(
            f"{config.source}, {position}: column {name!r} holds {type(value).__name__} {excerpt}, not {expected}; "
            f"set {setting} to another column, or write a single value for each row"
        ) from error


def _fits(value: Any, column_type: pa.DataType) -> bool:
    if column_type == pa.int64():
        return type(value) is int and -(1 << 63) <= value < 1 << 63
    if column_type == pa.float64():
        return type(value) is float or (type(value) is int and abs(value) <= MAX_EXACT_FLOAT)
    return not pa.types.is_boolean(column_type) or type(value) is bool


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
