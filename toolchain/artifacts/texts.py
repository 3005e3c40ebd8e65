"""Convert labels and texts of any column type to strings, as they are written in the source."""

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from toolchain.errors import DataError

BYTES = (pa.binary(), pa.large_binary(), pa.binary_view())
EXACT_FLOATS = 1e16  # a whole float below this is one whole number; from there on its neighbours share its digits


def text_of(value: Any) -> str | None:
    """Return the single ``value`` as text, None where it is missing.

    Numbers are written in the shortest equal form (1.0 as "1"), booleans as in JSON.

    Raises:
        TypeError: ``value`` is no single value: a list, an object.
        UnicodeDecodeError: it is bytes that are not UTF-8.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_FLOATS:
        return str(int(value))
    if isinstance(value, list | dict | tuple | set):
        raise TypeError(f"{type(value).__name__} is no single value")
    return str(value)


def as_text(values: pa.Array, what: str, first: int = 0, advice: str = "name another column") -> pa.Array:
    """Return ``values`` of any type as text (string); NaN is missing.

    Args:
        values: Of one column.
        what: The name of the column in errors: "reviews.parquet: column 'label'".
        first: The row number of the first value, for errors.
        advice: The end of error messages: what to do.

    Raises:
        DataError: a value is a list or a structure, or bytes that are not UTF-8; the line names its row.
    """
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if pa.types.is_nested(kind):
        row = first + int(pc.index(values.is_valid(), True).as_py())
        raise DataError(f"{what} holds {kind} (row {max(row, first)}); one value for each row is needed: {advice}")
    if kind in BYTES or pa.types.is_fixed_size_binary(kind):
        return _decoded(values, what, first, advice)
    if pa.types.is_float16(kind):
        values = values.cast(pa.float32())
    if pa.types.is_floating(kind):
        return pa.array([text_of(value) for value in _shortest(values)], pa.string())
    return values.cast(pa.string())


def _shortest(values: pa.Array) -> list[float | None]:
    """Return floats whose shortest text is that of ``values``: of 32 bits, 0.1 is 0.10000000149 in 64."""
    if pa.types.is_float32(values.type):
        return [None if text is None else float(text) for text in values.cast(pa.string()).to_pylist()]
    return list(values.to_pylist())


def _decoded(values: pa.Array, what: str, first: int, advice: str) -> pa.Array:
    texts: list[str | None] = []
    for row, value in enumerate(values.to_pylist(), first):
        try:
            texts.append(text_of(value))
        except UnicodeDecodeError as error:
            raise DataError(f"{what}, row {row}: the bytes {value[:20]!r} are not UTF-8 text; {advice}") from error
    return pa.array(texts, pa.string())
