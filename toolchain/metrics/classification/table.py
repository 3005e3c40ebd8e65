"""Store the predictions of classifiers in files: one row for each row and variant, with its true label."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from toolchain.artifacts.columns import LABEL, ROW
from toolchain.metrics.classification import Ints, Rows
from toolchain.metrics.classification.comparing import Predictions

SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),  # number in its source
        ("variant", pa.string()),
        (LABEL, pa.int64()),  # true; position in the class names
        ("predicted", pa.int64()),
        ("length", pa.int64()),  # tokens of a text, 1 for an image
        ("logits", pa.list_(pa.float32())),  # by class
    ]
)


def table_of(variant: str, rows: Rows, logits: Any, lengths: Ints | Sequence[int]) -> pa.Table:
    """Return the predictions of ``variant``, float32 logits of shape (rows, labels), in rows of ``SCHEMA``."""
    columns = [rows.numbers, [variant] * len(logits), rows.labels, logits.argmax(axis=1), lengths, list(logits)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_table(table: pa.Table) -> Predictions:
    """Return the predictions in rows of ``SCHEMA``, all of one variant."""
    rows, labels, predicted = (table.column(name).to_numpy() for name in (ROW, LABEL, "predicted"))
    logits = table.column("logits").combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    return Predictions(rows, labels, predicted, logits.astype(np.float64))
