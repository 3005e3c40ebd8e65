"""Saliency: which parts of a picture an answer rests on, found by covering them (Zeiler and Fergus 2014)."""

from typing import Any

import numpy as np

from toolchain.artifacts.dataset import IMAGE, ROW, Dataset
from toolchain.artifacts.model import Model
from toolchain.evaluate.accuracy.scores import Ints
from toolchain.image_decoding import Pixels
from toolchain.inference.predictor import softmax
from toolchain.inference.preprocessing import preprocessor_of
from toolchain.inference.runtime import Logits, open_session
from toolchain.metrics.bootstrap import Floats

PICTURES = 6  # that are explained: the surest of the wrong answers, as many as a person looks at
PARTS = 7  # of each side: 49 parts are covered in turn, each a seventh of a side wide


def explain_worst(model: Model, data: Dataset, split: str, logits: Logits, labels: Ints) -> list[dict[str, Any]]:
    """Return for each of the surest wrong answers its row and ``parts``, how far covering each part lowers its share.

    ``parts`` is a list of rows of shares, from -1 to 1: what the probability of the answered class loses when that part
    of the picture is painted in its mean colour. Above 0: the answer rests on it.
    """
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:PICTURES].tolist()
    pictures, rows = _pictures(data, split, set(worst))
    session, preprocessor = open_session(model), preprocessor_of(model)
    found = []
    for place in worst:
        (pixels,) = preprocessor.prepare([pictures[place]])
        covered = softmax(session.run(preprocessor.stack([pixels, *cover(pixels)])))[:, predicted[place]]
        parts = (covered[0] - covered[1:]).reshape(PARTS, PARTS)
        found.append({"row": rows[place], "parts": np.round(parts, 4).tolist()})
    return found


def cover(pixels: Pixels) -> list[Pixels]:
    """Return a copy of ``pixels`` (height, width, channels) for each part, from the left upper one, row by row."""
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


def _pictures(data: Dataset, split: str, places: set[int]) -> tuple[dict[int, Any], dict[int, int]]:
    """Return the picture and the row number at each of ``places`` of ``split``."""
    pictures, rows, first = {}, {}, 0
    for batch in data.batches(split, [ROW, IMAGE]) if places else ():
        for place in places & set(range(first, first + batch.num_rows)):
            pictures[place] = batch.column(IMAGE)[place - first].as_py()
            rows[place] = batch.column(ROW)[place - first].as_py()
        first += batch.num_rows
    return pictures, rows
