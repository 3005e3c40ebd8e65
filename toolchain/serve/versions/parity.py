"""Served parity: whether a model answers here what it answered when it was evaluated."""

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
    """What came out of asking the recorded rows again."""

    rows: int  # asked; 0 when none were recorded
    alike: int  # of them, answered as recorded
    reason: str = ""  # why the model must not be asked; "" when it may

    @property
    def told(self) -> str:
        if self.reason:
            return self.reason
        return f"{self.alike} of {self.rows} recorded rows answered alike" if self.rows else "no answers were recorded"


def compare(predictor: Predictor, expected: Expected | None) -> Parity:
    """Return whether ``predictor`` answers the rows of ``expected`` as recorded, each asked alone."""
    if expected is None:
        return Parity(0, 0)
    rows = expected.rows
    if expected.model != predictor.model.digest:
        found, due = short_digest(predictor.model.digest), short_digest(expected.model)
        return Parity(len(rows), 0, f"the answers were recorded from model {due}, this is {found}")
    differing = [place for place, row in enumerate(rows) if not _alike(predictor, row, expected.threshold)]
    if not differing:
        return Parity(len(rows), len(rows))
    told = f"{len(differing)} of {len(rows)} recorded rows are answered otherwise than evaluation recorded"
    here = describe().kind
    if here != expected.processor:
        told += f"; they were recorded on {expected.processor}, this is {here}: measure the model here"
    return Parity(len(rows), len(rows) - len(differing), f"{told} (first: row {differing[0]})")


def _alike(predictor: Predictor, row: Row, threshold: float) -> bool:
    (answer,) = predictor.answer(predictor.prepare([row.value]))
    if isinstance(answer, Detections):
        due = Detections(np.array(row.boxes).reshape(-1, 4), np.array(row.scores), np.array(row.labels, np.int64))
        return _covers(answer, due, threshold) and _covers(due, answer, threshold)
    return len(answer) == len(row.scores) and float(np.abs(answer - np.array(row.scores)).max()) <= TOLERANCE


def _covers(found: Detections, due: Detections, threshold: float) -> bool:
    """Return whether each box of ``due`` that is surely above ``threshold`` is in ``found`` too."""
    for box, score, label in zip(due.boxes, due.scores, due.labels, strict=True):
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
