"""Class scores as the output of a model: of a classifier, one score for each class."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.expected import TOLERANCE, Row
from toolchain.artifacts.model import Model
from toolchain.inference.features import Described, describe_scores
from toolchain.inference.prepared import Prepared
from toolchain.inference.runtime import Feeds, Session
from toolchain.metrics.probabilities import softmax

Scores = NDArray[np.float64]  # (labels,), in the order of the class names; their sum is 1
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


class ClassOutput:
    """Scores of a classifier. A prediction is float64 of shape (labels,)."""

    has_threshold: ClassVar[bool] = False  # whether a request may set the lowest score that is returned

    def __init__(self, model: Model) -> None:
        self._labels = model.signature.labels

    def run(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Any]:
        """Return the logits of each of ``rows``, which ``feeds`` holds as one batch."""
        return list(session.run(feeds))

    def predict(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Scores]:
        """Return the scores of each of ``rows``, which ``feeds`` holds as one batch."""
        return list(softmax(session.run(feeds)))

    def numbers(self, prediction: Scores) -> NDArray[Any]:
        """Return the numbers of ``prediction`` that must be finite."""
        return prediction

    def counted(self, prediction: Scores) -> tuple[list[str], float | None]:
        """Return the predicted classes and the confidence, for metrics."""
        label, score = self._top(prediction)
        return [label], score

    def labels(self, prediction: Scores, threshold: float) -> list[str]:
        """Return the predicted class."""
        return [self._top(prediction)[0]]

    def response(self, prediction: Scores, row: Prepared, threshold: float) -> dict[str, Any]:
        """Return ``prediction`` as JSON."""
        label, score = self._top(prediction)
        return {"label": label, "score": score, "scores": dict(zip(self._labels, prediction.tolist(), strict=True))}

    def parse_response(self, response: Mapping[str, Any]) -> Scores:
        """Return the prediction in ``response``, the JSON of a server."""
        return np.array([response["scores"][label] for label in self._labels], np.float64)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schemas of the fields of ``response``."""
        scores = {"type": "object", "required": list(self._labels), "properties": dict.fromkeys(self._labels, SHARE)}
        return {"label": {"type": "string", "enum": list(self._labels)}, "score": SHARE, "scores": scores}

    def tensors(self) -> list[dict[str, Any]]:
        """Return the tensors of the Open Inference Protocol."""
        return [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "scores", "datatype": "FP32", "shape": [-1, len(self._labels)]},
        ]

    def tensor_values(self, predictions: Sequence[Scores]) -> list[tuple[list[int], list[Any]]]:
        """Return shape and data of each of ``tensors``."""
        scores = np.stack(predictions)
        labels = [self._top(row)[0] for row in scores]
        return [([len(labels)], labels), (list(scores.shape), np.ravel(scores).tolist())]

    def features(self, prediction: Scores, threshold: float) -> Described:
        """Return numbers that describe ``prediction``, for monitoring."""
        return describe_scores(prediction, self._labels)

    def record(self, prediction: Scores) -> dict[str, Any]:
        """Return the fields of a recorded row (toolchain.artifacts.expected) that hold ``prediction``."""
        return {"scores": prediction}

    def recorded(self, row: Row) -> Scores:
        """Return the prediction that ``row`` holds."""
        return np.array(row.scores, np.float64)

    def matches(self, prediction: Scores, recorded: Scores, threshold: float) -> bool:
        """Return whether each score of ``prediction`` is within the tolerance of the recorded one."""
        return len(prediction) == len(recorded) and float(np.abs(prediction - recorded).max()) <= TOLERANCE

    @staticmethod
    def mistakes(table: Any, names: Sequence[str], count: int) -> list[dict[str, Any]]:
        """Return the wrong predictions in ``table`` with the highest confidence.

        Args:
            table: Stored predictions of one variant (toolchain.metrics.classification.table).
            names: Class names.
            count: Maximum number of rows to return, each with row, label, predicted and confidence.
        """
        labels, predicted = (table.column(name).to_numpy() for name in ("label", "predicted"))
        wrong = table.take(np.flatnonzero(labels != predicted)).to_pylist()
        found = [
            {
                "row": row["row"],
                "label": names[row["label"]],
                "predicted": names[row["predicted"]],
                "confidence": float(softmax(np.array([row["logits"]], np.float64)).max()),
            }
            for row in wrong
        ]
        return sorted(found, key=lambda entry: -entry["confidence"])[:count]

    @staticmethod
    def overlays(table: Any, threshold: float, count: int) -> list[dict[str, Any]]:
        """Return []: there is nothing to draw on an image."""
        return []

    def _top(self, prediction: Scores) -> tuple[str, float]:
        """Return the class of the highest score, and that score."""
        index = int(prediction.argmax())
        return self._labels[index], float(prediction[index])
