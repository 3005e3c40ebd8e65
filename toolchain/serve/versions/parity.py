"""Check that a loaded model makes the predictions that were recorded at its evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.expected import TOLERANCE, Expected, Row
from toolchain.hardware.cpu import describe
from toolchain.inference.predictor import Predictor
from toolchain.metrics.detections import Detections

OVERLAP = 0.9  # intersection over union from which two boxes are the same


@dataclass(frozen=True)
class Parity:
    """The result of predicting the recorded rows again."""

    rows: int  # 0 when none were recorded
    matching: int  # of them, with the recorded prediction
    reason: str = ""  # why the model must not serve; "" when it may

    @property
    def summary(self) -> str:
        if self.reason:
            return self.reason
        return f"{self.matching} of {self.rows} recorded predictions match" if self.rows else "no recorded predictions"


def compare(predictor: Predictor, expected: Expected | None) -> Parity:
    """Predict the rows of ``expected`` one by one and compare the predictions with the recorded ones."""
    if expected is None:
        return Parity(0, 0)
    rows = expected.rows
    if expected.model != predictor.model.digest:
        found, recorded = short_digest(predictor.model.digest), short_digest(expected.model)
        return Parity(len(rows), 0, f"the recorded predictions are of model {recorded}, this is {found}")
    differing = [index for index, row in enumerate(rows) if not _matches(predictor, row, expected.threshold)]
    if not differing:
        return Parity(len(rows), len(rows))
    message = f"{len(differing)} of {len(rows)} predictions differ from those recorded at evaluation"
    here = describe().kind
    if here != expected.processor:
        message += f"; they were recorded on {expected.processor}, this is {here}: evaluate the model on {here}"
    return Parity(len(rows), len(rows) - len(differing), f"{message} (first: row {differing[0]})")


def _matches(predictor: Predictor, row: Row, threshold: float) -> bool:
    (prediction,) = predictor.predict(predictor.prepare([row.value]))
    if isinstance(prediction, Detections):
        recorded = Detections(np.array(row.boxes).reshape(-1, 4), np.array(row.scores), np.array(row.labels, np.int64))
        return _covers(prediction, recorded, threshold) and _covers(recorded, prediction, threshold)
    return len(prediction) == len(row.scores) and float(np.abs(prediction - np.array(row.scores)).max()) <= TOLERANCE


def _covers(found: Detections, expected: Detections, threshold: float) -> bool:
    """Return whether ``found`` has each box of ``expected`` that is clearly above ``threshold``."""
    for box, score, label in zip(expected.boxes, expected.scores, expected.labels, strict=True):
        near = (found.labels == label) & (np.abs(found.scores - score) <= TOLERANCE)
        same = any(_overlap(box, other) >= OVERLAP for other in found.boxes[near])
        if score >= threshold + TOLERANCE and not same:
            return False
    return True


def _overlap(one: Sequence[float] | Any, other: Sequence[float] | Any) -> float:
    """Return intersection over union of two boxes."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, float(across)) * max(0.0, float(down))
    areas = sum(float((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0
