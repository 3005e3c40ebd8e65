"""JSON as batches of rows: an object on each line, an array of objects, or one object that holds columns or rows."""

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
from toolchain.data.ingest.formats import damage_reported, first_bytes, short
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.tables import Table, Types, WrongTypeError
from toolchain.errors import DataError
from toolchain.json_text import loads
from toolchain.services.compression import open_uncompressed

CHUNK_CHARACTERS = 1 << 20  # read at once
MAX_VALUE_CHARACTERS = 1 << 28  # of one line or object, which is in memory whole
MAX_INTEGER_OF_FLOATS = 1 << 53  # beyond, a float is several whole numbers
MAX_SHOWN = 60  # characters of a value in an error
SEPARATORS = re.compile(r"[\s,\[\]]*")
SCALARS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}  # JSON's, as columns hold them
Row = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """The rows of a file, each with its number."""

    numbered: Iterator[Row]
    unit: str = "line"  # what is numbered: lines from 1, or rows from 0


def open_json(file: Path, config: Config, types: Types) -> Table:
    """Return ``file`` as a table; a column is there when one of the first 10,000 objects has it.

    The text and the label are text; another value that is no scalar is kept as JSON text.

    Raises:
        DataError: the file is damaged, or not JSON of rows (also while its rows are read).
        WrongTypeError: a later value does not fit its column (while rows are read).
    """
    encoding = config.encoding or encoding_of(first_bytes(file, config.source))
    first = next(_batches(file, config, encoding), ("", []))[1]
    names = list(dict.fromkeys(name for _, row in first for name in row))
    known = {name: _scalar_type(row.get(name) for _, row in first) for name in names} | types

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        for unit, rows in _batches(file, config, encoding):
            yield pa.record_batch({name: _column(rows, name, known[name], unit, config) for name in wanted})

    return Table(names, batches, {"encoding": encoding})


def _batches(file: Path, config: Config, encoding: str) -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of ``file``, 10,000 at a time, and what their numbers count."""
    with damage_reported(file, config.source, encoding), _opened(file, config.source, encoding) as text:
        rows = _rows(text, config)
        while batch := list(islice(rows.numbered, ROWS_PER_BATCH)):
            yield rows.unit, batch


def _opened(file: Path, source: str, encoding: str) -> IO[str]:
    if is_utf8(encoding):
        return io.TextIOWrapper(open_uncompressed(file, source), "utf-8-sig")  # a byte order mark is no text
    chunks = utf8_chunks(file, source, encoding, CHUNK_CHARACTERS)
    return io.TextIOWrapper(io.BufferedReader(ByteStream(chunks)), "utf-8-sig")


def _rows(text: IO[str], config: Config) -> Rows:
    """Return the rows of ``text``, whose first line shows how it holds them."""
    lines = ((number, line) for number, line in enumerate(_lines(text), 1) if line.strip())
    number, line = next(lines, (1, ""))
    if line.lstrip().startswith("["):
        return Rows(_objects(_values(chain([line], _chunks(text)), config, array=True), config), "row")
    try:
        first = loads(line) if line else None
    except (ValueError, RecursionError) as error:
        if not line.lstrip().startswith("{"):
            raise _no_json(config, "line", number, error) from error
        values = _values(chain([line], _chunks(text)), config)  # an object on several lines
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
            raise _no_json(config, "line", number, error) from error
        yield number, _object(value, "line", number, config)


def _objects(values: Iterator[Any], config: Config) -> Iterator[Row]:
    for number, value in enumerate(values):
        yield number, _object(value, "row", number, config)


def _object(value: Any, unit: str, number: int, config: Config) -> dict[str, Any]:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise DataError(f"{config.source}, {unit} {number}: a {kind}, not an object; each row must be a JSON object")
    return value


def _no_json(config: Config, unit: str, number: int, error: Exception) -> DataError:
    return DataError(
        f"{config.source}, {unit} {number}: not JSON ({short(str(error))}); JSON Lines has one object on each line"
    )


def _values(chunks: Iterator[str], config: Config, array: bool = False) -> Iterator[Any]:
    """Yield the values that follow each other in ``chunks``, with or without an array around them.

    One that is not whole yet is parsed again once twice as much of it is there: no character is parsed often.
    """
    decoder, text, begin, number, closed = json.JSONDecoder(), "", 0, 0, not array
    while True:
        start = SEPARATORS.match(text, begin).end()  # type: ignore[union-attr]  # it matches nothing, too
        closed, begin = (text[begin:start].rstrip(" \t\r\n,").endswith("]") if start > begin else closed), start
        try:
            value, end = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            rest = len(text) - begin
            more = "" if rest and not _is_cut(error, text) else "".join(islice(chunks, 1 + rest // CHUNK_CHARACTERS))
            if not more and not rest and (closed or not array):
                return
            if not more or rest > MAX_VALUE_CHARACTERS:
                raise _no_json(config, "row", number, error) from error
            text, begin = text[begin:] + more, 0
            continue
        yield loads(text[begin:end]) if "\\ud" in text[begin:end].lower() else value
        begin, number = end, number + 1


def _is_cut(error: ValueError | RecursionError, text: str) -> bool:
    """Whether a value may only lack its end: its fault lies where ``text`` ends, in its last escape or word."""
    if not isinstance(error, json.JSONDecodeError):  # nested too deeply, or a number of too many digits
        return False
    return error.msg.startswith("Unterminated string") or error.pos >= len(text) - len(r"\ud83d\ude00")


def _holds_rows(document: dict[str, Any]) -> bool:
    return any(isinstance(value, dict | list) for value in document.values())


def _rows_of(document: Any, config: Config) -> list[Any]:
    """Return the rows that one JSON ``document`` holds, as pandas' ``to_json`` writes it in each of its orientations.

    By columns {"text": {"0": ...}, ...} or {"text": [...], ...}, by rows {"0": {"text": ...}, ...}, split
    {"columns": [...], "data": [[...]]}, or under one key {"data": [{"text": ...}]}; else it is one row itself.
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
    indexed = len(rows) > 0 and all(isinstance(row, dict) and set(config.wanted) <= set(row) for row in rows)
    return rows if indexed else [document]


def _from_columns(document: dict[str, Any], config: Config) -> list[Any]:
    columns = {
        name: dict(enumerate(values)) if isinstance(values, list) else values
        for name, values in document.items()
        if isinstance(values, dict | list)
    }
    keys = list(next(iter(columns.values())))
    odd = next((name for name in config.wanted if columns[name].keys() != columns[next(iter(columns))].keys()), None)
    if odd is not None:
        raise DataError(f"{config.source}: column {odd!r} has other rows than the first; write the file again by rows")
    return [{name: values.get(key) for name, values in columns.items()} for key in keys]


def _scalar_type(values: Iterator[Any]) -> pa.DataType:
    """Return the narrowest type that holds all ``values``; text when there is none, or when they disagree."""
    there = [value for value in values if value is not None]
    kinds = {type(value) for value in there}
    kind = (
        pa.float64()
        if kinds == {int, float}
        else SCALARS.get(kinds.pop(), pa.string())
        if len(kinds) == 1
        else pa.string()
    )
    return kind if all(_fits(value, kind) for value in there) else pa.string()


def _column(rows: list[Row], name: str, kind: pa.DataType, unit: str, config: Config) -> pa.Array:
    if name in (config.text_column, config.label_column):
        return pa.array([_plain(row.get(name), name, f"{unit} {number}", config) for number, row in rows], pa.string())
    values = [row.get(name) for _, row in rows]
    if pa.types.is_string(kind):
        return pa.array([_as_text(value) for value in values], pa.string())
    for value in values:
        if value is not None and not _fits(value, kind):
            raise WrongTypeError(name, kind, None if type(value) is float else pa.string())
    return pa.array(values, kind)


def _plain(value: Any, name: str, where: str, config: Config) -> str | None:
    if isinstance(value, str):
        return value
    try:
        return text_of(value)
    except TypeError as error:
        shown = short(json.dumps(value, ensure_ascii=False))[:MAX_SHOWN]
        needed, setting = ("text", "text_column") if name == config.text_column else ("one class", "label_column")
        raise DataError(
            f"{config.source}, {where}: column {name!r} holds {type(value).__name__} {shown}, {needed} for each row is "
            f"needed; set {setting} to another column, or write one value for each row"
        ) from error


def _fits(value: Any, kind: pa.DataType) -> bool:
    if kind == pa.int64():
        return type(value) is int and -(1 << 63) <= value < 1 << 63
    if kind == pa.float64():
        return type(value) is float or (type(value) is int and abs(value) <= MAX_INTEGER_OF_FLOATS)
    return not pa.types.is_boolean(kind) or type(value) is bool


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
