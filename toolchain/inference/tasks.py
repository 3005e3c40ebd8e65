"""Tasks: one class for each task of models, with its input, its output and its metrics.

A new task is a class here: an input, an output, the requests that are timed, and the names of its metrics. Steps and
the model server take all that depends on the task from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, get_args

from toolchain.artifacts.columns import IMAGE, TEXT
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError
from toolchain.inference.box_output import BoxOutput
from toolchain.inference.class_output import ClassOutput
from toolchain.inference.image_input import ImageInput
from toolchain.inference.text_input import TextInput

FIXED_TOKENS = 128  # of a padded request: what BERT is usually timed at; fewer where a model has fewer positions


@dataclass(frozen=True)
class Scenario:
    """A type of request that is timed."""

    rows: int
    tokens: int | None = None  # that each text is padded to; None: the tokens of the longest


@dataclass(frozen=True)
class MetricNames:
    """The names of a task's metrics."""

    accuracy: str
    class_rate: str  # of one class
    rows: str  # that the model is measured on
    compared: str  # between two variants
    slices: str  # title of the accuracy by length or size
    latency: str = "Latency by batch"  # title


class TextClassification:
    """One class for each text."""

    name: ClassVar[str] = "text-classification"
    column: ClassVar[str] = TEXT  # of a dataset, with the input
    input_type = TextInput
    output_type = ClassOutput
    metrics: ClassVar[MetricNames] = MetricNames(
        "accuracy", "recall", "rows", "rows", "Accuracy by length in tokens", "Latency by batch and length"
    )
    max_batch_size: ClassVar[int | None] = None
    has_saliency: ClassVar[bool] = False  # whether evaluation explains mistakes by the parts of the image

    def __init__(self, model: Model) -> None:
        self.input = TextInput(model)
        self.output = ClassOutput(model)
        fixed = min(FIXED_TOKENS, model.signature.positions or FIXED_TOKENS)
        lengths = {f"fixed{fixed}": fixed, "real": None}
        self.scenarios: Mapping[str, Scenario] = {
            f"batch{rows}-{name}": Scenario(rows, tokens) for rows in (1, 8) for name, tokens in lengths.items()
        }


class ImageClassification:
    """One class for each image, of which the model sees the centre."""

    name: ClassVar[str] = "image-classification"
    column: ClassVar[str] = IMAGE
    input_type = ImageInput
    output_type = ClassOutput
    metrics: ClassVar[MetricNames] = MetricNames("accuracy", "recall", "rows", "rows", "")
    max_batch_size: ClassVar[int | None] = None
    has_saliency: ClassVar[bool] = True
    scenarios: ClassVar[Mapping[str, Scenario]] = {"batch1": Scenario(1), "batch8": Scenario(8)}

    def __init__(self, model: Model) -> None:
        self.input = ImageInput(model, crop=True)
        self.output = ClassOutput(model)


class ObjectDetection:
    """Boxes with classes for each image, of which the model sees all, resized to its input."""

    name: ClassVar[str] = "object-detection"
    column: ClassVar[str] = IMAGE
    input_type = ImageInput
    output_type = BoxOutput
    metrics: ClassVar[MetricNames] = MetricNames("mAP50", "AP50", "images", "boxes", "mAP50 by size of objects")
    max_batch_size: ClassVar[int | None] = 1  # the number of boxes differs from image to image
    has_saliency: ClassVar[bool] = False
    scenarios: ClassVar[Mapping[str, Scenario]] = {"batch1": Scenario(1)}

    def __init__(self, model: Model) -> None:
        self.input = ImageInput(model, crop=False)
        self.output = BoxOutput(model)


Input = TextInput | ImageInput
Output = ClassOutput | BoxOutput
Task = TextClassification | ImageClassification | ObjectDetection
TASKS: dict[str, type[Task]] = {task.name: task for task in get_args(Task)}


def task_type(model: Model) -> type[Task]:
    """Return the class of the task of ``model``.

    Raises:
        ArtifactError: the task is not known.
    """
    task = model.signature.task
    if task not in TASKS:
        raise ArtifactError(f"{model.path} is a model for {task}; supported tasks: {', '.join(TASKS)}")
    return TASKS[task]


def task_of(model: Model) -> Task:
    """Return the task of ``model``, ready to prepare rows for it.

    Raises:
        ArtifactError: the task is not known, or the model lacks its tokenizer or the shape of its images.
    """
    return task_type(model)(model)
