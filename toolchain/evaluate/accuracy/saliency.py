"""Find the parts of an image that a prediction depends on, by covering them (Zeiler and Fergus 2014)."""

from typing import Any

import numpy as np

from toolchain.artifacts.dataset import IMAGE, ROW, Dataset
from toolchain.artifacts.model import Model
from toolchain.image_decoding import Pixels
from toolchain.inference.runtime import open_session
from toolchain.inference.tasks import task_of
from toolchain.metrics.bootstrap import Floats
from toolchain.metrics.classification import Ints
from toolchain.metrics.probabilities import Logits, softmax

MAX_IMAGES = 6  # explained: the wrong predictions with the highest confidence
PARTS = 7  # along each side: 49 parts are covered in turn


def explain_worst(model: Model, data: Dataset, split: str, logits: Logits, labels: Ints) -> list[dict[str, Any]]:
    """Return the row and the ``parts`` of each of the wrong predictions with the highest confidence.

    ``parts`` is a list of rows of numbers from -1 to 1: the decrease of the predicted class's probability when that
    part of the image is filled with its mean colour. Above 0: the prediction depends on the part.
    """
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:MAX_IMAGES].tolist()
    images, rows = _images(data, split, set(worst))
    session, reader = open_session(model), task_of(model).input
    found = []
    for index in worst:
        (pixels,) = reader.prepare([images[index]])
        covered = softmax(session.run(reader.stack([pixels, *cover(pixels)])))[:, predicted[index]]
        parts = (covered[0] - covered[1:]).reshape(PARTS, PARTS)
        found.append({"row": rows[index], "parts": np.round(parts, 4).tolist()})
    return found


def cover(pixels: Pixels) -> list[Pixels]:
    """Return a copy of ``pixels`` (height, width, channels) with each part covered, from the upper left, row by row."""
    height, width = pixels.shape[:2]
    mean: Floats = pixels.reshape(-1, pixels.shape[2]).mean(axis=0)
    copies = []
    for row in range(PARTS):
        for column in range(PARTS):
            copy = pixels.copy()
            down = slice(row * height // PARTS, max((row + 1) * height // PARTS, row * height // PARTS + 1))
            across = slice(column * width // PARTS, max((column + 1) * width // PARTS, column * width // PARTS + 1))
            copy[down, across] = mean.round()
            copies.append(copy)
    return copies


def _images(data: Dataset, split: str, indices: set[int]) -> tuple[dict[int, Any], dict[int, int]]:
    """Return the image and the row number at each of ``indices`` of ``split``."""
    images, rows, first = {}, {}, 0
    for batch in data.batches(split, [ROW, IMAGE]) if indices else ():
        for index in indices & set(range(first, first + batch.num_rows)):
            images[index] = batch.column(IMAGE)[index - first].as_py()
            rows[index] = batch.column(ROW)[index - first].as_py()
        first += batch.num_rows
    return images, rows
