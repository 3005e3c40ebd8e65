"""Evaluate pandas queries ("label > 0") on batches of rows, and assign rows to classes."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, ROW
from toolchain.errors import ConfigError, DataError
from toolchain.text_repair import normalize_label

if TYPE_CHECKING:
    import pandas as pd

QUOTED = re.compile("[\"']")
WHOLE = re.compile(r"^(-?(?:0|[1-9]\d*))\.0+$")  # a whole number with decimals and without leading zeros
MAX_CLASSES = 1_000  # more distinct labels are a measurement or a text, not classes
MIN_ROWS_PER_CLASS = 3  # on average, one for each split; labels with fewer, and more than FEW_CLASSES, are not classes
FEW_CLASSES = 20

Mask = npt.NDArray[np.bool_]


def check_query(query: str, setting: str) -> None:
    """Raise ConfigError if ``query`` contains "@" or "__", which give access to Python variables."""
    for forbidden in ("@", "__"):
        if forbidden in query:
            raise ConfigError(f"{setting}={query!r}: {forbidden} is not allowed; write a condition on columns")


def matching_rows(batch: pa.RecordBatch, query: str) -> Mask:
    """Return for which rows of ``batch`` the pandas ``query`` is true; a comparison with a missing value is false.

    Raises:
        DataError: the query is not a condition, or names an unknown column.
    """
    import pandas as pd  # imported late, because reading settings should not wait for it

    try:
        result = _evaluate(batch.to_pandas(), query)
    except (NameError, SyntaxError, TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        columns = ", ".join(batch.schema.names)
        raise DataError(f"query {query!r} fails: {_one_line(error)}; the columns are {columns}") from error
    values = pd.Series(result)
    if len(values) != batch.num_rows or not pd.api.types.is_bool_dtype(values.dropna().infer_objects()):
        raise DataError(
            f"query {query!r} is not a condition: its result is {values.dtype}; write a comparison such as 'label > 0'"
        )
    return values.fillna(False).to_numpy(dtype=bool)


def _evaluate(frame: "pd.DataFrame", query: str) -> Any:
    """Return the result of ``query`` on ``frame``.

    Labels are stored as text. A query that contains a quoted text compares them as text first, any other query as
    numbers first; if the comparison fails, the other type is tried.
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
    """Return ``labels`` as numbers or booleans if all of them are; otherwise unchanged."""
    import pandas as pd

    booleans = labels.map({"true": True, "false": False, "True": True, "False": False})
    for typed in (pd.to_numeric(labels, errors="coerce"), booleans):
        if typed.notna().equals(labels.notna()):
            return typed
    return labels


def class_names(values: pa.Array, spellings: dict[str, str]) -> pa.Array:
    """Return raw labels as class names; of several spellings of a name (1, 1.0; true, True) the first one is used.

    ``spellings`` maps each ``class_key`` to its first name, and is updated.
    """
    encoded = values.dictionary_encode()
    names = [class_name(value) for value in encoded.dictionary.to_pylist()]
    return pa.array([spellings.setdefault(class_key(name), name) for name in names], pa.string()).take(encoded.indices)


def class_key(name: str) -> str:
    """Return a key that is equal for all spellings of a class: 1.0 and 1, True and true, but not 007 and 7."""
    if name.lower() in ("true", "false"):
        return name.lower()
    return WHOLE.sub(r"\1", name)


def class_name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return normalize_label(str(value))


def seem_continuous(counts: Mapping[str, int]) -> bool:
    """Return whether labels with these ``counts`` are scores, texts or row names rather than classes."""
    return len(counts) > FEW_CLASSES and sum(counts.values()) < MIN_ROWS_PER_CLASS * len(counts)


def not_classes_error(counts: Mapping[str, int]) -> DataError:
    """Return the error for labels that are not classes, with a remedy."""
    names = sort_classes(counts)
    first, median = ", ".join(names[:3]), names[len(names) // 2]
    found = f"label has {len(names):,} different values in {sum(counts.values()):,} rows ({first}, ...)"
    if not _is_number(median):
        return DataError(f"{found}, too many for classes; set label_column to another column")
    example = f'{{"low": "label < {median}", "high": "label >= {median}"}}'
    return DataError(
        f"{found}, which are scores rather than classes; define classes in labels, such as {example}, or set "
        "label_column"
    )


def sort_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return ``names`` sorted: numbers by value, then other names."""
    return tuple(sorted(names, key=_sort_key))


def _sort_key(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if _is_number(name) else (1, 0.0, name)


def _is_number(name: str) -> bool:
    try:
        return not math.isnan(float(name))
    except ValueError:
        return False


def classify(batch: pa.RecordBatch, classes: dict[str, Any]) -> pa.Array:
    """Return the class of each row of ``batch`` (string, null for none).

    ``classes`` defines each class by a list of raw labels, or by a query.

    Raises:
        DataError: a row belongs to two classes, or a query fails.
    """
    assigned = np.full(batch.num_rows, None, dtype=object)
    raw = None
    for name in sort_classes(classes):
        if isinstance(classes[name], str):
            matches = matching_rows(batch, classes[name])
        else:
            raw = _keys(batch.column(LABEL)) if raw is None else raw
            matches = np.isin(raw, [class_key(class_name(value)) for value in classes[name]])
        _check_exclusive(batch, assigned, matches, name)
        assigned[matches] = name
    return pa.array(assigned, pa.string())


def _keys(labels: pa.Array) -> npt.NDArray[np.str_]:
    encoded = labels.dictionary_encode()
    keys = pa.array([class_key(class_name(value)) for value in encoded.dictionary.to_pylist()], pa.string())
    return np.asarray(keys.take(encoded.indices).to_numpy(zero_copy_only=False).astype(str))


def _check_exclusive(batch: pa.RecordBatch, assigned: npt.NDArray[np.object_], matches: Mask, name: str) -> None:
    both = np.flatnonzero(matches & (assigned != None))  # noqa: E711 - element by element
    if len(both):
        row = batch.column(ROW)[int(both[0])].as_py()
        raise DataError(
            f"row {row} belongs to the classes {assigned[both[0]]!r} and {name!r}; make their definitions exclusive"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
