import pytest

from toolchain.inference.evaluation import EVALUATIONS, evaluation_of
from toolchain.inference.tasks import TASKS
from toolchain.metrics.classification.evaluation import ClassEvaluation
from toolchain.metrics.detections.evaluation import BoxEvaluation


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("text-classification", ClassEvaluation),
        ("image-classification", ClassEvaluation),
        ("object-detection", BoxEvaluation),
    ],
)
def test_a_task_is_evaluated_by_its_type_of_output(task: str, expected: type):
    assert isinstance(evaluation_of(task, ("cat", "dog")), expected)


def test_every_task_has_an_evaluation():
    assert {task.output_type for task in TASKS.values()} <= EVALUATIONS.keys()
