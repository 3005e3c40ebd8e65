"""Record the predictions of each variant for a few single rows, which servers compare with their own."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.artifacts.columns import TEXT
from toolchain.artifacts.dataset import Dataset
from toolchain.artifacts.expected import Expected, Row, encode_image, write_expected
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import Variants
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Predictor
from toolchain.metrics.detections import Detections

FOLDER = "expected"  # in the measurement: a folder for each variant
MAX_ROWS = 16  # enough for long and short rows and all common classes; predicted in a second at every server's start
MAX_IMAGE_BYTES = 4 * 1024**2  # in total, which every server reads at startup
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
    column = predictor.preprocessor.column
    size = 0
    for value in islice(_values(data, split, column), MAX_ROWS):
        size += 0 if column == TEXT else len(value["bytes"])
        if size > MAX_IMAGE_BYTES:
            return
        (prediction,) = predictor.predict(predictor.prepare([value]))
        yield Row(**_input(value, column), **_output(prediction))


def _values(data: Dataset, split: str, column: str) -> Iterator[Any]:
    for batch in data.batches(split, [column]):
        yield from (value for value in batch.column(column).to_pylist() if value)


def _input(value: Any, column: str) -> dict[str, Any]:
    return {"text": value} if column == TEXT else {"image": encode_image(value["bytes"])}


def _output(prediction: Any) -> dict[str, Any]:
    if not isinstance(prediction, Detections):
        return {"scores": _rounded(prediction)}
    boxes = tuple(_rounded(box) for box in prediction.boxes)
    return {
        "scores": _rounded(prediction.scores),
        "boxes": boxes,
        "labels": tuple(int(one) for one in prediction.labels),
    }


def _rounded(numbers: Any) -> tuple[float, ...]:
    return tuple(round(float(number), DIGITS) for number in np.asarray(numbers))
