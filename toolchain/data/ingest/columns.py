"""Select the columns of a source to keep, and rename them to the standard names."""

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import LABEL, ROW, TEXT
from toolchain.artifacts.texts import as_text
from toolchain.errors import DataError
from toolchain.json_text import loads

ALL_COLUMNS = "*"
MAX_NAMES = 20  # in an error


@dataclass(frozen=True)
class ColumnSelection:
    """The columns to keep: their names in the source by their names in the dataset, in order."""

    source_names: dict[str, str]
    source: str  # the name of the file in errors

    @property
    def columns(self) -> list[str]:
        """The columns of the source to read."""
        return list(self.source_names.values())


def select_columns(
    available: list[str], text: str, label: str, others: list[str], source: str, is_delimited: bool = False
) -> ColumnSelection:
    """Return the selection of ``text``, ``label`` ("" for none) and ``others`` (["*"]: all) from ``available``.

    Raises:
        DataError: a column is missing, or two would have the same name.
    """
    for name in (name for name, count in Counter(available).items() if count > 1):
        raise DataError(f"{source} has two columns {name!r}; rename one")
    rest = [name for name in available if name not in (text, label)] if ALL_COLUMNS in others else others
    selected = {name: column for name, column in {TEXT: text, LABEL: label}.items() if column}
    for name in rest:
        if name in selected or name == ROW:
            raise DataError(f"{source}: column {name!r} has the name of a standard column; rename it")
        selected[name] = name
    _check_available(available, selected, source, is_delimited)
    return ColumnSelection(selected, source)


def _check_available(available: list[str], selected: dict[str, str], source: str, is_delimited: bool) -> None:
    if not selected:
        raise DataError(f"no column of {source} is selected; set text_column, label_column or columns")
    known = set(available)
    for name, column in selected.items():
        if column not in known:
            setting = {TEXT: "text_column", LABEL: "label_column"}.get(name, "columns")
            hint = ", or set delimiter if the fields are separated differently"
            hint = hint if is_delimited and len(available) == 1 else ""
            names, similar = _list(available), _similar(column, available)
            raise DataError(f"{source} has no column {column!r}; it has {names}: set {setting}{similar}{hint}")


def _list(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    return ", ".join(map(repr, names[:MAX_NAMES])) + more


def _similar(column: str, available: list[str]) -> str:
    """Return " (did you mean 'x'?)" for the name most similar to ``column``, in any case; "" if none is similar."""
    names = {name.casefold(): name for name in available}
    found = get_close_matches(column.casefold(), names, n=1)
    return f" (did you mean {names[found[0]]!r}?)" if found else ""


def standardize(batch: pa.RecordBatch, selection: ColumnSelection, first: int) -> pa.RecordBatch:
    """Return the selected columns of ``batch`` with standard names, and ``row``, counted from ``first``."""
    columns = {name: _decode(batch.column(column)) for name, column in selection.source_names.items()}
    for name, setting in ((TEXT, "text_column"), (LABEL, "label_column")):
        if name in columns:
            column = selection.source_names[name]
            named = _class_names(columns[name], batch.schema, column) if name == LABEL else columns[name]
            columns[name] = as_text(named, f"{selection.source}: column {column!r}", first, f"set {setting} to another")
    return pa.record_batch({**columns, ROW: pa.array(range(first, first + batch.num_rows), pa.int64())})


def _decode(values: pa.Array) -> pa.Array:
    """Return ``values`` without dictionary encoding, and large strings as strings."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.string()) if pa.types.is_large_string(values.type) else values


def _class_names(values: pa.Array, schema: pa.Schema, column: str) -> pa.Array:
    """Return class indices as names if the file has them (Hugging Face's ClassLabel); -1 is a missing value."""
    metadata = loads((schema.metadata or {}).get(b"huggingface", b"{}").decode("utf-8", "replace"))
    names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    if not names or not pa.types.is_integer(values.type):
        return values
    inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
    return pa.array(names, pa.string()).take(pc.if_else(inside, values, None))
