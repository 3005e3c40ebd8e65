"""Which columns of a source are kept, and how they come to their standard names."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import LABEL, ROW, TEXT
from toolchain.artifacts.texts import as_text
from toolchain.errors import DataError
from toolchain.json_text import loads

ALL_COLUMNS = "*"


@dataclass(frozen=True)
class Chosen:
    """The columns to keep: their names in the source by their names in the dataset, in order."""

    sources: dict[str, str]
    source: str  # what errors call the file

    @property
    def names(self) -> list[str]:
        """The columns to read."""
        return list(self.sources.values())


def choose(
    there: list[str], text: str, label: str, others: list[str], source: str, is_delimited: bool = False
) -> Chosen:
    """Return the choice of ``text``, ``label`` ("" for none) and ``others`` (["*"]: all) among the columns ``there``.

    Raises:
        DataError: a column is not there, or two would have the same name.
    """
    for name in (name for name in there if there.count(name) > 1):
        raise DataError(f"{source} has two columns {name!r}; rename one")
    rest = [name for name in there if name not in (text, label)] if ALL_COLUMNS in others else others
    sources = {TEXT: text, LABEL: label}
    sources = {name: column for name, column in sources.items() if column}
    for name in rest:
        if name in (*sources, ROW):
            raise DataError(f"{source}: column {name!r} would stand beside the standard column {name!r}; rename it")
        sources[name] = name
    _check_there(there, sources, source, is_delimited)
    return Chosen(sources, source)


def _check_there(there: list[str], sources: dict[str, str], source: str, is_delimited: bool) -> None:
    if not sources:
        raise DataError(f"no column of {source} is chosen; set text_column, label_column or columns")
    for name, column in sources.items():
        if column not in there:
            setting = {TEXT: "text_column", LABEL: "label_column"}.get(name, "columns")
            hint = "; its fields may be separated otherwise: set delimiter" if is_delimited and len(there) == 1 else ""
            raise DataError(f"{source} has no column {column!r}; it has {', '.join(there)}: set {setting}{hint}")


def standard(batch: pa.RecordBatch, chosen: Chosen, first: int) -> pa.RecordBatch:
    """Return the chosen columns of ``batch`` under their standard names, and ``row``, counted from ``first``."""
    columns = {name: _plain(batch.column(column)) for name, column in chosen.sources.items()}
    for name, setting in ((TEXT, "text_column"), (LABEL, "label_column")):
        if name in columns:
            column = chosen.sources[name]
            named = _class_names(columns[name], batch.schema, column) if name == LABEL else columns[name]
            columns[name] = as_text(named, f"{chosen.source}: column {column!r}", first, f"set {setting} to another")
    return pa.record_batch({**columns, ROW: pa.array(range(first, first + batch.num_rows), pa.int64())})


def _plain(values: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.string()) if pa.types.is_large_string(values.type) else values


def _class_names(values: pa.Array, schema: pa.Schema, column: str) -> pa.Array:
    """Return class positions as names where the file says them (Hugging Face's ClassLabel); -1 is a missing one."""
    metadata = loads((schema.metadata or {}).get(b"huggingface", b"{}").decode("utf-8", "replace"))
    names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    if not names or not pa.types.is_integer(values.type):
        return values
    inside = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
    return pa.array(names, pa.string()).take(pc.if_else(inside, values, None))
