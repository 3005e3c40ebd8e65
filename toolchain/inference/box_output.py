"""Boxes as the output of a model: of a detector, any number of boxes for each image."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.expected import TOLERANCE, Row
from toolchain.artifacts.model import Model
from toolchain.inference.features import Described, describe_boxes
from toolchain.inference.image_input import image_shape
from toolchain.inference.prepared import Prepared
from toolchain.inference.runtime import Feeds, Session
from toolchain.metrics.detections import Detections, detections_of, stretch

MIN_OVERLAP = 0.9  # intersection over union from which two boxes match
SHARE = {"type": "number", "minimum": 0, "maximum": 1}


class BoxOutput:
    """Boxes of a detector, which takes one image at a time. A prediction is a ``Detections``, the best box first."""

    has_threshold: ClassVar[bool] = True  # whether a request may set the lowest score that is returned

    def __init__(self, model: Model) -> None:
        self._labels = model.signature.labels
        height, width, _ = image_shape(model)
        self._size = width, height

    def run(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Any]:
        """Return the boxes of the one row of ``rows``, in pixels of its image."""
        return list(self.predict(session, feeds, rows))

    def predict(self, session: Session, feeds: Feeds, rows: Sequence[Prepared]) -> list[Detections]:
        """Return the boxes of the one row of ``rows``, in pixels of its image."""
        (row,) = rows
        boxes, scores, labels = session.outputs(feeds)
        return [detections_of(stretch(boxes, self._size, row.size or self._size), scores, labels)]

    def numbers(self, prediction: Detections) -> NDArray[Any]:
        """Return the numbers of ``prediction`` that must be finite."""
        return prediction.scores

    def counted(self, prediction: Detections) -> tuple[list[str], float | None]:
        """Return the predicted classes and the confidence, for metrics."""
        labels = [self._labels[index] for index in prediction.labels]
        return labels, float(prediction.scores[0]) if len(prediction) else None

    def labels(self, prediction: Detections, threshold: float) -> list[str]:
        """Return the sorted classes of the boxes from the score ``threshold`` on."""
        return sorted(self._labels[index] for index in prediction.above(threshold).labels)

    def response(self, prediction: Detections, row: Prepared, threshold: float) -> dict[str, Any]:
        """Return the boxes of ``prediction`` from the score ``threshold`` on as JSON."""
        found = prediction.above(threshold)
        boxes = [
            {"label": self._labels[label], "score": score, "box": box}
            for label, score, box in zip(
                found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True
            )
        ]
        width, height = row.size or (0, 0)
        return {"width": width, "height": height, "boxes": boxes}

    def parse_response(self, response: Mapping[str, Any]) -> Detections:
        """Return the prediction in ``response``, the JSON of a server."""
        boxes = response["boxes"]
        labels = [self._labels.index(box["label"]) for box in boxes]
        return detections_of([box["box"] for box in boxes], [box["score"] for box in boxes], labels)

    def schema(self) -> dict[str, Any]:
        """Return the JSON schemas of the fields of ``response``."""
        box = {
            "label": {"type": "string", "enum": list(self._labels)},
            "score": SHARE,
            "box": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
        }
        size = {"type": "integer", "minimum": 1}
        boxes = {"type": "array", "items": {"type": "object", "required": list(box), "properties": box}}
        return {"width": size, "height": size, "boxes": boxes}

    def tensors(self) -> list[dict[str, Any]]:
        """Return the tensors of the Open Inference Protocol."""
        return [
            {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "scores", "datatype": "FP32", "shape": [-1]},
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
        ]

    def tensor_values(self, predictions: Sequence[Detections]) -> list[tuple[list[int], list[Any]]]:
        """Return shape and data of each of ``tensors``."""
        (found,) = predictions
        count = len(found)
        labels = [self._labels[index] for index in found.labels]
        return [([count, 4], np.ravel(found.boxes).tolist()), ([count], found.scores.tolist()), ([count], labels)]

    def features(self, prediction: Detections, threshold: float) -> Described:
        """Return numbers that describe ``prediction``, for monitoring."""
        return describe_boxes(prediction, self._labels, threshold)

    def record(self, prediction: Detections) -> dict[str, Any]:
        """Return the fields of a recorded row (toolchain.artifacts.expected) that hold ``prediction``."""
        return {"scores": prediction.scores, "boxes": prediction.boxes, "labels": prediction.labels}

    def recorded(self, row: Row) -> Detections:
        """Return the prediction that ``row`` holds."""
        return Detections(np.array(row.boxes).reshape(-1, 4), np.array(row.scores), np.array(row.labels, np.int64))

    def matches(self, prediction: Detections, recorded: Detections, threshold: float) -> bool:
        """Return whether each box clearly above ``threshold`` in one prediction has a match in the other."""
        return _covers(prediction, recorded, threshold) and _covers(recorded, prediction, threshold)

    @staticmethod
    def mistakes(table: Any, names: Sequence[str], count: int) -> list[dict[str, Any]]:
        """Return []: the mistakes of a detector are drawn on its images."""
        return []

    @staticmethod
    def overlays(table: Any, threshold: float, count: int) -> list[dict[str, Any]]:
        """Return the rows of ``table``, stored predictions, whose numbers of boxes and of objects differ most.

        Args:
            table: Stored predictions of one variant (toolchain.metrics.detections.table).
            threshold: Minimum score of the boxes.
            count: Maximum number of rows to return.
        """

        def mistakes(row: Mapping[str, Any]) -> int:
            found = sum(1 for score in row["scores"] if score >= threshold)
            return abs(found - len(row["expected_labels"]))

        return sorted(table.to_pylist(), key=mistakes, reverse=True)[:count]


def _covers(found: Detections, expected: Detections, threshold: float) -> bool:
    for box, score, label in zip(expected.boxes, expected.scores, expected.labels, strict=True):
        near = (found.labels == label) & (np.abs(found.scores - score) <= TOLERANCE)
        matched = any(_overlap(box, other) >= MIN_OVERLAP for other in found.boxes[near])
        if score >= threshold + TOLERANCE and not matched:
            return False
    return True


def _overlap(one: Sequence[float] | Any, other: Sequence[float] | Any) -> float:
    """Return intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, float(width)) * max(0.0, float(height))
    areas = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0
