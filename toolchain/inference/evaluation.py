"""Evaluation: how the predictions of each task are stored, measured and compared.

It is apart from the tasks, since it needs PyArrow and libraries for metrics, which no server's image contains. A new
type of output is named here.
"""

from collections.abc import Sequence

from toolchain.inference.box_output import BoxOutput
from toolchain.inference.class_output import ClassOutput
from toolchain.inference.tasks import TASKS, Output
from toolchain.metrics.classification.evaluation import ClassEvaluation
from toolchain.metrics.detections.evaluation import BoxEvaluation

Evaluation = ClassEvaluation | BoxEvaluation
EVALUATIONS: dict[type[Output], type[Evaluation]] = {ClassOutput: ClassEvaluation, BoxOutput: BoxEvaluation}


def evaluation_of(task: str, names: Sequence[str]) -> Evaluation:
    """Return the evaluation of models for ``task`` with the classes ``names``."""
    return EVALUATIONS[TASKS[task].output_type](names)
