"""Record the predictions of each variant for a few single rows, which servers compare with their own."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.expected import Expected, Row, write_expected
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Predictor

FOLDER = "expected"  # in the measurement: a folder for each variant
MAX_ROWS = 16  # enough for long and short rows and all common classes; predicted in a second at every server's start
MAX_CHARACTERS = 6 * 1024**2  # in total, images in base64, which every server reads at startup
DIGITS = 6  # after the point: the precision of float32


def record_expected(models: Variants, data: Dataset, split: str, folder: Path, threshold: float = 0.5) -> None:
    """Write the predictions of each of ``models`` for the first rows of ``split`` to a subfolder of ``folder``.

    Each row is predicted alone and unpadded: the predictions of a model with dynamically quantized activations depend
    on the other rows of a batch, and these must be reproducible. ``threshold`` is a detector's best score.
    """
    kind = describe().kind
    for name, model in models.models.items():
        target = folder / FOLDER / name
        target.mkdir(parents=True)
        write_expected(target, Expected(model.digest, kind, tuple(_rows(model, data, split)), threshold))


def _rows(model: Model, data: Dataset, split: str) -> Iterator[Row]:
    predictor = Predictor(model)
    task = predictor.task
    size = 0
    for value in islice(_values(data, split, task.column), MAX_ROWS):
        recorded = task.input.record(value)
        size += sum(map(len, recorded.values()))
        if size > MAX_CHARACTERS:
            return
        (prediction,) = predictor.predict(predictor.prepare([value]))
        yield Row(**recorded, **{name: _rounded(found) for name, found in task.output.record(prediction).items()})


def _values(data: Dataset, split: str, column: str) -> Iterator[Any]:
    for batch in data.batches(split, [column]):
        yield from (value for value in batch.column(column).to_pylist() if value)


def _rounded(numbers: Any) -> Any:
    """Return an array as nested tuples of numbers, floats rounded."""
    if np.ndim(numbers) > 1:
        return tuple(map(_rounded, numbers))
    if np.issubdtype(np.asarray(numbers).dtype, np.integer):
        return tuple(map(int, numbers))
    return tuple(round(float(number), DIGITS) for number in numbers)
