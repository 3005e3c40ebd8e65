"""Compare the predictions of another architecture with the recorded ones."""

from collections.abc import Sequence
from typing import Any

from toolchain.artifacts.expected import TOLERANCE, Expected, Row
from toolchain.artifacts.model import Model
from toolchain.inference.evaluation import evaluation_of
from toolchain.inference.tasks import task_type


def compare(expected: Expected, predictions: Sequence[Row], model: Model) -> dict[str, Any]:
    """Return how the ``predictions`` of ``model`` for the rows of ``expected`` differ from the recorded ones.

    Returns:
        rows; matching_labels, rows with the same label (of a detector: rows in which every box above the threshold has
        a match with the same label and an IoU of 0.5 or more); matching_scores, those of them in which no score differs
        by more than TOLERANCE; max_difference, 0..1, over all scores (of a detector: of matched boxes).
    """
    output = task_type(model).output_type(model)
    evaluation = evaluation_of(model.signature.task, model.signature.labels)
    compared: list[tuple[bool, float]] = []
    for row, found in zip(expected.rows, predictions, strict=True):
        recorded: Any = output.recorded(row)
        prediction: Any = output.recorded(found)
        compared.append(evaluation.difference(prediction, recorded, expected.threshold))
    return {
        "rows": len(compared),
        "matching_labels": sum(same for same, _ in compared),
        "matching_scores": sum(same and difference <= TOLERANCE for same, difference in compared),
        "max_difference": max((difference for _, difference in compared), default=0.0),
    }
