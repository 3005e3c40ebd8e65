"""What every reader gives: the columns of a file, and its rows in batches."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

WIDER = {"int64": pa.float64()}  # where a later value does not fit; from anything else to string
Types = dict[str, pa.DataType]
Batches = Callable[[list[str]], Iterator[pa.RecordBatch]]  # given the names of the columns that are needed


class WrongTypeError(Exception):
    """A row's value does not fit the type that its column's first rows had; reading again with ``wider`` mends it."""

    def __init__(self, column: str, narrow: pa.DataType, wider: pa.DataType | None = None) -> None:
        super().__init__(f"{column} is not always {narrow}")
        self.column, self.wider = column, wider or WIDER.get(str(narrow), pa.string())


@dataclass(frozen=True)
class Table:
    """A file of rows."""

    names: list[str]  # of its columns
    batches: Batches  # at most 10,000 rows at a time
    how: dict[str, str] = field(default_factory=dict)  # it is read: its encoding, its delimiter
