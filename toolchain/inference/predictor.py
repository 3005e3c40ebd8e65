"""Answering: a model that is loaded, with what it needs to answer texts or pictures in its own terms.

Evaluation records by it what a model answers to single rows, and the server answers by it, so that both mean the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain import image_decoding
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError
from toolchain.inference.preprocessing import Pictures, preprocessor_of
from toolchain.inference.runtime import Logits, open_session
from toolchain.metrics.detections import Detections, detections_of, stretch

Scores = NDArray[np.float64]  # of a classifier: (labels,), in the order of the class names, their sum is 1
DETECTION = "object-detection"


@dataclass(frozen=True)
class Prepared:
    """One row as the model takes it."""

    data: Any  # token ids, or pixels at the model's size
    length: int  # tokens of a text; 1 for a picture: rows of one length make a batch in which nothing is padded
    size: tuple[int, int] | None = None  # width and height in pixels that a detector's boxes are given in


class Predictor:
    """A model that is loaded; any number of threads may ask it at once.

    Raises:
        ArtifactError: it lacks what inference needs, or nothing here runs its back end.
    """

    def __init__(self, model: Model, threads: int = 1, streams: int = 1) -> None:
        self.model = model
        self.detects = model.signature.task == DETECTION
        self.preprocessor = preprocessor_of(model)
        self._session = open_session(model, threads, streams)

    def prepare(self, values: Sequence[Any]) -> list[Prepared]:
        """Return texts, or pictures as {"bytes": file, "path": name in errors}, as the model takes them.

        Raises:
            DataError: a file is no picture, is damaged, or has too many pixels.
        """
        data = self.preprocessor.prepare(values)
        sizes = [upright_size(value) if self.detects else None for value in values]
        return [Prepared(one, self.preprocessor.length(one), size) for one, size in zip(data, sizes, strict=True)]

    def predict(self, rows: Sequence[Prepared]) -> list[Scores] | list[Detections]:
        """Return what the model answers to each of ``rows``, which run at once and should be of one length.

        A classifier gives its scores; a detector, which takes one row at once, its boxes in pixels, the best first.

        Raises:
            ArtifactError: the model does not run, or answers with what is no number.
        """
        feeds = self.preprocessor.stack([row.data for row in rows])
        if not self.detects:
            return list(_checked(self.model, softmax(self._session.run(feeds))))
        boxes, scores, labels = self._session.outputs(feeds)
        assert isinstance(self.preprocessor, Pictures)
        own = self.preprocessor.width, self.preprocessor.height
        _checked(self.model, np.asarray(scores))
        return [detections_of(stretch(boxes, own, rows[0].size or own), scores, labels)]


def softmax(logits: Logits) -> NDArray[np.float64]:
    """Return float64 probabilities of the shape of ``logits``; each row sums to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)


def upright_size(value: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height, in pixels, of the picture file in ``value`` when it is turned as its EXIF data asks."""
    return image_decoding.upright_size(value["bytes"], value["path"])


def _checked(model: Model, numbers: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(numbers).all():
        raise ArtifactError(f"{model.path} answers with what is no number; make it again")
    return numbers
