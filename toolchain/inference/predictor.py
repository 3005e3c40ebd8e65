"""Predictor: a loaded model that returns predictions for texts or images.

Evaluation records a model's predictions with it, and the model server predicts with it, so both mean the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError
from toolchain.inference.prepared import Prepared
from toolchain.inference.runtime import open_session
from toolchain.inference.tasks import task_of


class Predictor:
    """A loaded model. Any number of threads may use it at the same time.

    Raises:
        ArtifactError: the model lacks what inference needs, or no installed runtime runs it.
    """

    def __init__(self, model: Model, threads: int = 1, streams: int = 1) -> None:
        self.model = model
        self.task = task_of(model)
        self._session = open_session(model, threads, streams)

    def prepare(self, values: Sequence[Any]) -> list[Prepared]:
        """Return values, as a dataset's column holds them, as the model takes them.

        Raises:
            DataError: a file is no image, is damaged, or has too many pixels.
        """
        read = self.task.input
        return [
            Prepared(data, read.length(data), read.size(value))
            for value, data in zip(values, read.prepare(values), strict=True)
        ]

    def run(self, rows: Sequence[Prepared]) -> list[Any]:
        """Return the model's output for each of ``rows``, unchecked: of a classifier logits, of a detector boxes."""
        feeds = self.task.input.stack([row.data for row in rows])
        return self.task.output.run(self._session, feeds, rows)

    def predict(self, rows: Sequence[Prepared]) -> list[Any]:
        """Return the prediction for each of ``rows``, which run as one batch and should have one length.

        Raises:
            ArtifactError: the model does not run, or its output has NaN or infinity.
        """
        feeds = self.task.input.stack([row.data for row in rows])
        predictions: list[Any] = self.task.output.predict(self._session, feeds, rows)
        for prediction in predictions:
            if not np.isfinite(self.task.output.numbers(prediction)).all():
                raise ArtifactError(f"the output of {self.model.path} has NaN or infinity; export the model again")
        return predictions
