import numpy as np
import pytest

from toolchain.inference.class_output import ClassOutput
from toolchain.metrics.classification import Rows
from toolchain.metrics.classification.table import table_of

NAMES = ["no", "yes"]
ROWS = Rows(np.array([7, 8, 9, 10]), np.array([0, 0, 1, 1]), NAMES)
LOGITS = np.array([(2, 0), (0, 1), (5, 0), (0, 3)], np.float32)


def test_mistakes_are_the_wrong_predictions_by_decreasing_confidence():
    table = table_of("fp32", ROWS, LOGITS, [3, 4, 5, 6])
    mistakes = ClassOutput.mistakes(table, NAMES, 5)
    assert [(found["row"], found["label"], found["predicted"]) for found in mistakes] == [
        (9, "yes", "no"),
        (8, "no", "yes"),
    ]
    assert mistakes[0]["confidence"] == pytest.approx(1 / (1 + np.exp(-5)))
    assert len(ClassOutput.mistakes(table, NAMES, 1)) == 1
    assert ClassOutput.mistakes(table.slice(0, 1), NAMES, 5) == []
