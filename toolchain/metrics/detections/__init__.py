"""Detections: the objects that are in images, and the boxes that a model predicts.

Boxes are left, top, right, bottom in pixels of the image as it is stored, from its left upper edge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.columns import HEIGHT, OBJECTS, ROW, WIDTH
from toolchain.errors import DataError

if TYPE_CHECKING:
    from toolchain.artifacts.dataset import Dataset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Objects:
    """The objects in one image."""

    boxes: Floats  # float64 (objects, 4)
    labels: Ints  # int64 (objects,): positions in the class names
    neutral: Flags  # bool (objects,): neither found nor missed counts, as crowds and Pascal VOC's difficult ones
    crowd: Flags  # bool (objects,): many in one box, which any number of predictions may lie in

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Detections:
    """The boxes that a model predicts in one image, the best first."""

    boxes: Floats  # float64 (boxes, 4)
    scores: Floats  # float64 (boxes,), 0..1
    labels: Ints  # int64 (boxes,): positions in the class names

    def __len__(self) -> int:
        return len(self.labels)

    def above(self, threshold: float) -> "Detections":
        """Return the boxes whose score is at least ``threshold``."""
        kept = self.scores >= threshold
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept])


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a dataset, without its pixels."""

    row: int  # number in its source
    width: int  # pixels, as stored
    height: int
    objects: Objects


def read_truth(dataset: "Dataset", split: str) -> list[AnnotatedImage]:
    """Return the images of ``split`` in order, with their objects and without pixels.

    Raises:
        DataError: the split is missing or empty, or an object has a label beyond the list or no area in its image.
    """
    columns = [ROW, WIDTH, HEIGHT, OBJECTS]
    dataset.require(*columns)
    found = [
        annotated_image(row, len(dataset.labels), f"{dataset.path}: row {row[ROW]} of {split}")
        for batch in dataset.batches(split, columns)
        for row in batch.to_pylist()
    ]
    if not found:
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    return found


def annotated_image(row: Mapping[str, Any], classes: int, where: str) -> AnnotatedImage:
    """Return the image that ``row`` of a dataset describes; ``where`` names it in errors.

    Raises:
        DataError: a label beyond ``classes``, or a box without area in the image.
    """
    objects = objects_of(row[OBJECTS] or [], row[WIDTH], row[HEIGHT], classes, where)
    return AnnotatedImage(row[ROW], row[WIDTH], row[HEIGHT], objects)


def objects_of(entries: Sequence[Mapping[str, Any]], width: int, height: int, classes: int, where: str) -> Objects:
    """Return the objects in an image of ``width`` x ``height`` from ``entries``, its column of objects in a dataset.

    A rotated box becomes the upright one around it; what reaches beyond the image is cut. ``where`` is what errors
    call the image.

    Raises:
        DataError: a label beyond ``classes``, or a box without area in the image.
    """
    boxes = np.array([_upright(entry["box"], entry.get("rotation") or 0.0) for entry in entries], np.float64)
    boxes = boxes.reshape(-1, 4).clip(0, [width, height, width, height])
    labels = np.array([entry["label"] for entry in entries], np.int64)
    crowd = np.array([bool(entry.get("crowd")) for entry in entries], bool)
    difficult = np.array([bool(entry.get("difficult")) for entry in entries], bool)
    _check(boxes, labels, entries, classes, where)
    return Objects(boxes, labels, crowd | difficult, crowd)


def stretch(boxes: NDArray[Any], source: tuple[int, int], target: tuple[int, int]) -> Floats:
    """Return ``boxes``, (n, 4), of an image of ``source`` (width, height) when it is resized to ``target``."""
    across, down = target[0] / source[0], target[1] / source[1]
    return np.asarray(boxes, np.float64).reshape(-1, 4) * [across, down, across, down]


def detections_of(boxes: Any, scores: Any, labels: Any) -> Detections:
    """Return arrays or lists of ``boxes`` (n, 4), ``scores`` (n,) and ``labels`` (n,) as a prediction, best first."""
    prediction = Detections(
        np.array(boxes, np.float64).reshape(-1, 4), np.array(scores, np.float64), np.array(labels, np.int64)
    )
    order = np.argsort(-prediction.scores, kind="stable")
    return Detections(prediction.boxes[order], prediction.scores[order], prediction.labels[order])


def _upright(box: Sequence[float], degrees: float) -> tuple[float, float, float, float]:
    """Return the upright box around ``box`` turned by ``degrees`` around its middle."""
    left, top, right, bottom = box
    if not degrees:
        return left, top, right, bottom
    sine, cosine = abs(np.sin(np.radians(degrees))), abs(np.cos(np.radians(degrees)))
    width, height = right - left, bottom - top
    across, down = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
    middle, centre = (left + right) / 2, (top + bottom) / 2
    return middle - across, centre - down, middle + across, centre + down


def _check(boxes: Floats, labels: Ints, entries: Sequence[Mapping[str, Any]], classes: int, where: str) -> None:
    beyond = labels[(labels < 0) | (labels >= classes)]
    if len(beyond):
        raise DataError(f"{where} has an object of label {beyond[0]}, but there are {classes} label names (from 0)")
    flat = np.flatnonzero(~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])))
    if len(flat):
        box = ", ".join(f"{value:g}" for value in entries[flat[0]]["box"])
        raise DataError(f"{where} has a box without area in the image ({box}); correct the annotations")
