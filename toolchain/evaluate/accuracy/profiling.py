"""Write profiles of the measured rows and their predictions, which monitoring compares live requests with."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.profile import Profile, write_profile
from toolchain.artifacts.variants import Variants
from toolchain.evaluate.accuracy.measuring import PREDICTIONS
from toolchain.evaluate.accuracy.recording import FOLDER
from toolchain.inference.evaluation import evaluation_of
from toolchain.inference.features import Described, Numbers, Vocabulary, columns, count_tokens
from toolchain.inference.prepared import Prepared
from toolchain.inference.tasks import Task, task_of, task_type

MAX_ROWS = 4_000  # in a profile: more hardly improve a comparison with a window of some hundred rows
TRAINING_SPLIT = "train"  # whose tokens are counted
MAX_TRAINING_ROWS = 20_000  # of it: with more, the shares of common tokens no longer change


def record_profiles(models: Variants, data: Dataset, split: str, folder: Path, threshold: float = 0.5) -> None:
    """Write a profile of ``split`` for each of ``models``, from its predictions in ``folder``.

    Tokens are counted in rows outside the profile, since a row's own tokens are never surprising: in the training split
    or, without one, in the first half of ``split``. ``threshold`` is a detector's best score.
    """
    task = task_of(models.reference)
    indices = _indices(data, split, task)
    counts = _counts(data, split, task)
    vocabulary = Vocabulary(counts) if counts else None
    rows = [_described(value, task, vocabulary) for value in _values(data, split, task.column, indices)]
    for name, model in models.models.items():
        predictions = _predictions(folder, model, indices, threshold)
        profile = Profile(
            model=model.digest,
            split=split,
            numbers=columns([{**row, **prediction.numbers} for row, prediction in zip(rows, predictions, strict=True)]),
            labels=tuple(prediction.label for prediction in predictions),
            tokens=counts,
            threshold=threshold,
        )
        write_profile(folder / FOLDER / name, profile)


def _indices(data: Dataset, split: str, task: Task) -> list[int]:
    """Return the indices in ``split`` of the profiled rows."""
    rows = data.rows(split)
    first = rows // 2 if task.input.has_tokens and not _has_training_split(data, split) else 0
    count = min(MAX_ROWS, rows - first)
    return [first + index * (rows - first) // count for index in range(count)]


def _has_training_split(data: Dataset, split: str) -> bool:
    return split != TRAINING_SPLIT and bool(data.splits.get(TRAINING_SPLIT)) and data.rows(TRAINING_SPLIT) > 0


def _counts(data: Dataset, split: str, task: Task) -> tuple[int, ...]:
    if not task.input.has_tokens:
        return ()
    training = _has_training_split(data, split)
    batches = data.batches(TRAINING_SPLIT if training else split, [task.column])
    parts = (batch.column(task.column).to_pylist() for batch in batches)
    texts = islice(chain.from_iterable(parts), MAX_TRAINING_ROWS if training else data.rows(split) // 2)
    return tuple(count_tokens(task.input.prepare([text])[0] for text in texts).tolist())


def _values(data: Dataset, split: str, column: str, indices: list[int]) -> Iterator[Any]:
    wanted, first = set(indices), 0
    for batch in data.batches(split, [column]):
        values = batch.column(column)
        yield from (values[index - first].as_py() for index in range(first, first + len(values)) if index in wanted)
        first += len(values)


def _described(value: Any, task: Task, vocabulary: Vocabulary | None) -> Numbers:
    (data,) = task.input.prepare([value])
    return task.input.features(value, Prepared(data, task.input.length(data)), vocabulary)


def _predictions(folder: Path, model: Model, indices: list[int], threshold: float) -> list[Described]:
    """Return the predictions of ``model`` for the rows at ``indices``, from the file of predictions in ``folder``."""
    table: pa.Table = pq.read_table(folder / PREDICTIONS, filters=[("variant", "=", model.variant)]).take(indices)
    output = task_type(model).output_type(model)
    evaluation = evaluation_of(model.signature.task, model.signature.labels)
    return [output.features(prediction, threshold) for prediction in evaluation.predictions(table)]
