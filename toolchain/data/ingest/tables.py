"""The result of every reader: the columns of a file, and its rows in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

WIDER_TYPES = {"int64": pa.float64()}  # for values that do not fit; all other types become string
Types = dict[str, pa.DataType]
Batches = Callable[[list[str]], Iterator[pa.RecordBatch]]  # takes the names of the columns to read


class ColumnTypeError(Exception):
    """A value does not fit the type of the column's first rows; the file must be read again with type ``wider``."""

    def __init__(self, column: str, narrow: pa.DataType, wider: pa.DataType | None = None) -> None:
        super().__init__(f"{column} is not always {narrow}")
        self.column, self.wider = column, wider or WIDER_TYPES.get(str(narrow), pa.string())


@dataclass(frozen=True)
class Table:
    """A file of rows."""

    columns: list[str]  # names
    batches: Batches  # at most 10,000 rows at a time
    options: dict[str, str] = field(default_factory=dict)  # detected or configured: encoding, delimiter, quoting
