"""Compare the predictions of another architecture with the recorded ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.artifacts.expected import TOLERANCE, Expected, Row
from toolchain.metrics.detections import Detections
from toolchain.metrics.detections.comparing import match_boxes


def compare(expected: Expected, predictions: Sequence[Detections], classes: int) -> dict[str, Any]:
    """Return how the ``predictions`` for the rows of ``expected`` differ from the recorded ones.

    Returns:
        rows; matching_labels, rows with the same label (of a detector: rows in which every box above the threshold has
        a match with the same label and an IoU of 0.5 or more); matching_scores, those of them in which no score differs
        by more than TOLERANCE; max_difference, 0..1, over all scores (of a detector: of matched boxes).
    """
    compared = [
        _compare_boxes(row, found, expected.threshold, classes)
        if row.boxes or len(found.boxes)
        else _compare_scores(row, found)
        for row, found in zip(expected.rows, predictions, strict=True)
    ]
    return {
        "rows": len(compared),
        "matching_labels": sum(same for same, _ in compared),
        "matching_scores": sum(same and difference <= TOLERANCE for same, difference in compared),
        "max_difference": max((difference for _, difference in compared), default=0.0),
    }


def _compare_scores(row: Row, found: Detections) -> tuple[bool, float]:
    """Return whether the best class is the recorded one, and the largest difference of scores."""
    recorded = np.array(row.scores)
    if recorded.shape != found.scores.shape:
        return False, 1.0
    if not len(recorded):  # a detector without boxes, as recorded
        return True, 0.0
    return bool(recorded.argmax() == found.scores.argmax()), float(np.abs(recorded - found.scores).max())


def _compare_boxes(row: Row, found: Detections, threshold: float, classes: int) -> tuple[bool, float]:
    """Return whether all boxes above ``threshold`` have a match, and the largest difference of matched scores."""
    recorded = Detections(np.array(row.boxes).reshape(-1, 4), np.array(row.scores), np.array(row.labels, np.int64))
    matches = match_boxes([found], [recorded], classes, threshold)
    difference = np.abs(matches.scores - matches.other_scores).max(initial=0.0)
    return not matches.mismatched(), float(difference)
