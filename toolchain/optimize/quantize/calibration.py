"""Sample the training rows that set the ranges of activations."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import ROW, Dataset
from toolchain.artifacts.model import Model
from toolchain.errors import DataError
from toolchain.inference.runtime import Feeds
from toolchain.inference.tasks import task_of

TRAINING = "train"
AUGMENTED = "augmented"  # true for a row made by augmentation, which is not real data
KEY = "key"


@dataclass(frozen=True)
class Calibration:
    """Rows that represent the model's future inputs."""

    rows: tuple[int, ...]  # their numbers in the source, rising
    feeds: tuple[Feeds, ...]  # a request for each; texts unpadded, since the ranges of padding are irrelevant


def draw(dataset: Dataset, model: Model, rows: int, seed: int) -> Calibration:
    """Return ``rows`` rows (or all, when there are fewer) of the training split, drawn by ``seed`` without repeats.

    One pass: every row gets a random key, those with the smallest keys stay, so memory does not grow with the split.

    Raises:
        DataError: the training split is missing, or has no row that was not made by augmentation.
    """
    task = task_of(model)
    dataset.require(task.column, ROW)
    drawn: pa.Table | None = None
    for batch in _keyed(dataset, task.column, seed):
        pool = batch if drawn is None else pa.concat_tables([drawn, batch])
        drawn = pool.sort_by(KEY).slice(0, rows)
    if drawn is None or not drawn.num_rows:
        raise DataError(f"{dataset.path} has no training rows to calibrate with; INT8 with fixed ranges needs some")
    drawn = drawn.sort_by(ROW)
    prepared = task.input.prepare(drawn.column(task.column).to_pylist())
    return Calibration(tuple(drawn.column(ROW).to_pylist()), tuple(task.input.stack([one]) for one in prepared))


def _keyed(dataset: Dataset, column: str, seed: int) -> Iterator[pa.Table]:
    random = np.random.default_rng(seed)
    marked = AUGMENTED in dataset.schema.names
    for batch in dataset.batches(TRAINING, [column, ROW, *([AUGMENTED] if marked else [])]):
        table = pa.Table.from_batches([batch])
        if marked:
            table = table.filter(pc.invert(table.column(AUGMENTED))).drop_columns([AUGMENTED])
        yield table.append_column(KEY, pa.array(random.random(table.num_rows)))
