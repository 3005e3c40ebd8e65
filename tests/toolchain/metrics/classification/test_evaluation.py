import numpy as np
import pytest

from toolchain.errors import ArtifactError
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification import Rows
from toolchain.metrics.classification.evaluation import ClassEvaluation
from toolchain.metrics.settings import MetricSettings

NAMES = ["no", "yes"]
ROWS = Rows(np.array([7, 8, 9, 10]), np.array([0, 0, 1, 1]), NAMES)
LOGITS = [np.array(pair, np.float32) for pair in ((2, 0), (0, 1), (5, 0), (0, 3))]


def test_stored_predictions_are_read_as_probabilities():
    evaluation = ClassEvaluation(NAMES)
    probabilities = evaluation.predictions(evaluation.table("fp32", ROWS, LOGITS, [1] * 4))
    assert np.stack(probabilities).sum(axis=1) == pytest.approx(np.ones(4))
    assert probabilities[0].argmax() == 0


@pytest.mark.parametrize(
    ("logits", "message"),
    [(LOGITS[:3], "shape"), ([*LOGITS[:3], np.array([np.nan, 0], np.float32)], "NaN or Inf for 1 of 4 rows")],
)
def test_outputs_that_are_missing_or_not_finite_are_not_measured(logits: list[np.ndarray], message: str):
    with pytest.raises(ArtifactError, match=message):
        ClassEvaluation(NAMES).measure(logits, ROWS, [1] * 4, MetricSettings(Bootstrap()), None)
