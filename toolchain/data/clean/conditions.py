"""Conditions: pandas queries ("label > 0") on one batch of rows at a time, and the classes that rows belong to."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, ROW
from toolchain.errors import ConfigError, DataError

MOST_CLASSES = 1_000  # more distinct labels than that are a measure or a text, not classes

Mask = npt.NDArray[np.bool_]


def check_query(query: str, setting: str) -> None:
    """Raise ConfigError when ``query`` reaches for more than columns: "@" and "__" lead to Python's own variables."""
    for forbidden in ("@", "__"):
        if forbidden in query:
            raise ConfigError(f"{setting}={query!r}: {forbidden} is not allowed; write a condition on columns")


def holds(batch: pa.RecordBatch, query: str) -> Mask:
    """Return for which rows of ``batch`` the pandas ``query`` is true; a comparison with a missing value is not.

    Raises:
        DataError: the query is no condition, or names a column that is not there.
    """
    import pandas as pd  # here: reading settings should not wait for it

    try:
        result = batch.to_pandas().eval(query, engine="python")
    except (NameError, SyntaxError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        columns = ", ".join(batch.schema.names)
        raise DataError(f"query {query!r} fails: {_one_line(error)}; the columns are {columns}") from error
    values = pd.Series(result)
    if len(values) != batch.num_rows or not pd.api.types.is_bool_dtype(values.dropna().infer_objects()):
        raise DataError(
            f"query {query!r} is no condition: it gives {values.dtype}; compare something, as in 'label > 0'"
        )
    return values.fillna(False).to_numpy(dtype=bool)


def class_names(values: pa.Array) -> pa.Array:
    """Return raw labels as class names: 1, 1.0 and "1 " are all "1" (JSON loses the difference)."""
    encoded = values.dictionary_encode()
    names = pa.array([class_name(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return names.take(encoded.indices)


def class_name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` sorted: numbers by size, before words."""
    return tuple(sorted(names, key=_rank))


def _rank(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def classify(batch: pa.RecordBatch, classes: dict[str, Any]) -> pa.Array:
    """Return the class of each row of ``batch`` (string, null for none) by ``classes``: for each name a list of raw
    labels, or a query.

    Raises:
        DataError: a row fits two classes, or a query fails.
    """
    found = np.full(batch.num_rows, None, dtype=object)
    raw = None
    for name in in_order(classes):
        if isinstance(classes[name], str):
            fits = holds(batch, classes[name])
        else:
            raw = class_names(batch.column(LABEL)).to_numpy(zero_copy_only=False) if raw is None else raw
            fits = np.isin(raw.astype(str), [class_name(value) for value in classes[name]])
        _check_exclusive(batch, found, fits, name)
        found[fits] = name
    return pa.array(found, pa.string())


def _check_exclusive(batch: pa.RecordBatch, found: npt.NDArray[np.object_], fits: Mask, name: str) -> None:
    both = np.flatnonzero(fits & (found != None))  # noqa: E711 - element by element
    if len(both):
        row = batch.column(ROW)[int(both[0])].as_py()
        raise DataError(f"row {row} fits the classes {found[both[0]]!r} and {name!r}; make labels exclude each other")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
