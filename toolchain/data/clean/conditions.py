"""Conditions: pandas queries ("label > 0") on one batch of rows at a time, and the classes that rows belong to."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, ROW
from toolchain.errors import ConfigError, DataError
from toolchain.text_repair import tidy

if TYPE_CHECKING:
    import pandas as pd

QUOTED = re.compile("[\"']")
WHOLE = re.compile(r"^(-?(?:0|[1-9]\d*))\.0+$")  # a whole number with decimals, not one with zeros before it
MAX_CLASSES = 1_000  # more distinct labels than that are a measure or a text, not classes
MIN_ROWS_OF_CLASS = 3  # on average: one for each split; with more than FEW_CLASSES of fewer, a label is no class
FEW_CLASSES = 20

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
        result = _evaluated(batch.to_pandas(), query)
    except (NameError, SyntaxError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        columns = ", ".join(batch.schema.names)
        raise DataError(f"query {query!r} fails: {_one_line(error)}; the columns are {columns}") from error
    values = pd.Series(result)
    if len(values) != batch.num_rows or not pd.api.types.is_bool_dtype(values.dropna().infer_objects()):
        raise DataError(
            f"query {query!r} is no condition: it gives {values.dtype}; compare something, as in 'label > 0'"
        )
    return values.fillna(False).to_numpy(dtype=bool)


def _evaluated(frame: "pd.DataFrame", query: str) -> Any:
    """Return what ``query`` gives for ``frame``, in which labels, which are text, may be compared as the numbers they
    are: they are text to a query that quotes text, unless it fails so, and numbers to any other.
    """
    if LABEL not in frame:
        return frame.eval(query, engine="python")
    typed = frame.assign(**{LABEL: _as_numbers(frame[LABEL])})
    first, second = (frame, typed) if QUOTED.search(query) else (typed, frame)
    try:
        return first.eval(query, engine="python")
    except TypeError:
        return second.eval(query, engine="python")


def _as_numbers(labels: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return ``labels`` as numbers, or as true and false, where all of them are; otherwise as they are."""
    import pandas as pd

    truth = labels.map({"true": True, "false": False, "True": True, "False": False})
    for typed in (pd.to_numeric(labels, errors="coerce"), truth):
        if typed.notna().equals(labels.notna()):
            return typed
    return labels


def class_names(values: pa.Array, spellings: dict[str, str]) -> pa.Array:
    """Return raw labels as class names: one that is written in several ways (1, 1.0; true, True) has the first of them.

    ``spellings`` holds the name of each ``class_key`` that was seen, and takes new ones.
    """
    encoded = values.dictionary_encode()
    names = [class_name(value) for value in encoded.dictionary.to_pylist()]
    return pa.array([spellings.setdefault(class_key(name), name) for name in names], pa.string()).take(encoded.indices)


def class_key(name: str) -> str:
    """Return what is equal for names of one class: 1.0 is 1 and True is true, but 007 is not 7, nor 1.10 1.1."""
    if name.lower() in ("true", "false"):
        return name.lower()
    return WHOLE.sub(r"\1", name)


def class_name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return tidy(str(value))


def are_no_classes(counts: Mapping[str, int]) -> bool:
    """Return whether labels with these ``counts`` are scores, texts or names of rows rather than classes."""
    return len(counts) > FEW_CLASSES and sum(counts.values()) < MIN_ROWS_OF_CLASS * len(counts)


def no_classes(counts: Mapping[str, int]) -> DataError:
    """Return an error that says what to do about labels that are no classes."""
    names = in_order(counts)
    shown, middle = ", ".join(names[:3]), names[len(names) // 2]
    found = f"label has {len(names):,} different values in {sum(counts.values()):,} rows ({shown}, ...)"
    if not _is_number(middle):
        return DataError(f"{found}, so they are no classes; set label_column to another column")
    example = f'{{"low": "label < {middle}", "high": "label >= {middle}"}}'
    return DataError(
        f"{found}: scores rather than classes; name classes in labels, as in {example}, or set label_column"
    )


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` sorted: numbers by size, before words."""
    return tuple(sorted(names, key=_rank))


def _rank(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if _is_number(name) else (1, 0.0, name)


def _is_number(name: str) -> bool:
    try:
        return not math.isnan(float(name))
    except ValueError:
        return False


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
            raw = _keys(batch.column(LABEL)) if raw is None else raw
            fits = np.isin(raw, [class_key(class_name(value)) for value in classes[name]])
        _check_exclusive(batch, found, fits, name)
        found[fits] = name
    return pa.array(found, pa.string())


def _keys(labels: pa.Array) -> npt.NDArray[np.str_]:
    encoded = labels.dictionary_encode()
    keys = pa.array([class_key(class_name(value)) for value in encoded.dictionary.to_pylist()], pa.string())
    return np.asarray(keys.take(encoded.indices).to_numpy(zero_copy_only=False).astype(str))


def _check_exclusive(batch: pa.RecordBatch, found: npt.NDArray[np.object_], fits: Mask, name: str) -> None:
    both = np.flatnonzero(fits & (found != None))  # noqa: E711 - element by element
    if len(both):
        row = batch.column(ROW)[int(both[0])].as_py()
        raise DataError(f"row {row} fits the classes {found[both[0]]!r} and {name!r}; make labels exclude each other")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
