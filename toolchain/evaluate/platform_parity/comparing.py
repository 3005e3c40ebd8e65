"""Comparing: whether answers from another architecture are those that evaluation recorded."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolchain.artifacts.expected import TOLERANCE, Expected, Row
from toolchain.metrics.detections import Answer
from toolchain.metrics.detections.comparing import meet


def compare(expected: Expected, answers: Sequence[Answer], labels: int) -> dict[str, Any]:
    """Return how ``answers`` to the rows of ``expected`` differ from what was recorded; ``labels`` is how many exist.

    Returns:
        rows; matching_labels, rows with the same label (of a detector: rows in which every box above the threshold has
        a match with the same label and an IoU of 0.5 or more); matching_scores, those of them in which no score differs
        by more than TOLERANCE; max_difference, 0..1, over all scores (of a detector: of matched boxes).
    """
    side_by_side = [
        _boxes(row, answer, expected.threshold, labels) if row.boxes or len(answer.boxes) else _classes(row, answer)
        for row, answer in zip(expected.rows, answers, strict=True)
    ]
    return {
        "rows": len(side_by_side),
        "matching_labels": sum(alike for alike, _ in side_by_side),
        "matching_scores": sum(alike and apart <= TOLERANCE for alike, apart in side_by_side),
        "max_difference": max((apart for _, apart in side_by_side), default=0.0),
    }


def _classes(row: Row, answer: Answer) -> tuple[bool, float]:
    """Return whether the best class is the recorded one, and how far the scores are apart at most."""
    due = np.array(row.scores)
    if due.shape != answer.scores.shape:
        return False, 1.0
    if not len(due):  # a detector that found nothing, as recorded
        return True, 0.0
    return bool(due.argmax() == answer.scores.argmax()), float(np.abs(due - answer.scores).max())


def _boxes(row: Row, answer: Answer, threshold: float, labels: int) -> tuple[bool, float]:
    """Return whether all boxes above ``threshold`` meet, and how far the scores of those that do are apart at most."""
    due = Answer(np.array(row.boxes).reshape(-1, 4), np.array(row.scores), np.array(row.labels, np.int64))
    meeting = meet([answer], [due], labels, threshold)
    apart = np.abs(meeting.scores - meeting.other_scores).max(initial=0.0)
    return not meeting.apart(), float(apart)
