"""Recording: what each variant answers to a few rows, one by one, for those who will serve it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.artifacts.columns import TEXT
from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.expected import Expected, Row, picture_row, write_expected
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Answerer
from toolchain.metrics.detections import Answer

FOLDER = "expected"  # in the measurement: a folder for each variant
ROWS = 16  # enough to meet long and short rows and every common class; answered in a second at every server's start
MOST_BYTES = 4 * 1024**2  # of pictures: what every server reads at its start
DIGITS = 6  # after the point: float32 has no more


def record_answers(models: Variants, data: Dataset, split: str, folder: Path, threshold: float = 0.5) -> None:
    """Write what each of ``models`` answers to the first rows of ``split`` into a folder of its own in ``folder``.

    Each row is answered alone and unpadded: so a model with dynamically quantized activations, whose answers depend on
    what shares its batch, can be asked again later and must answer the same. ``threshold`` is a detector's best score.
    """
    kind = describe().kind
    for name, model in models.models.items():
        target = folder / FOLDER / name
        target.mkdir(parents=True)
        write_expected(target, Expected(model.digest, kind, tuple(_rows(model, data, split)), threshold))


def _rows(model: Model, data: Dataset, split: str) -> Iterator[Row]:
    answerer = Answerer(model)
    column = answerer.preprocessor.column
    size = 0
    for value in islice(_values(data, split, column), ROWS):
        size += 0 if column == TEXT else len(value["bytes"])
        if size > MOST_BYTES:
            return
        (answer,) = answerer.answer(answerer.prepare([value]))
        yield Row(**_asked(value, column), **_answered(answer))


def _values(data: Dataset, split: str, column: str) -> Iterator[Any]:
    for batch in data.batches(split, [column]):
        yield from (value for value in batch.column(column).to_pylist() if value)


def _asked(value: Any, column: str) -> dict[str, Any]:
    return {"text": value} if column == TEXT else {"picture": picture_row(value["bytes"])}


def _answered(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, Answer):
        return {"scores": _rounded(answer)}
    boxes = tuple(_rounded(box) for box in answer.boxes)
    return {"scores": _rounded(answer.scores), "boxes": boxes, "labels": tuple(int(one) for one in answer.labels)}


def _rounded(numbers: Any) -> tuple[float, ...]:
    return tuple(round(float(number), DIGITS) for number in np.asarray(numbers))
