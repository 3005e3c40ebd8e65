"""Transform the objects of an image with it: boxes, polygons and masks; count which objects are kept or dropped."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.augment.images.operations import Cutout, Geometric, Operation, Shape
from toolchain.augment.images.polygons import Points, clip_polygons, corners, envelope, rotate
from toolchain.errors import DataError
from toolchain.image_decoding import Pixels

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels
KEPT, CLIPPED, OUTSIDE, HIDDEN = "kept", "clipped", "outside the image", "below minimum visibility"
MIN_SIDE_PIXELS = 1.0  # of a box; a narrower one shows nothing of the object


@dataclass(frozen=True)
class Object:
    """One object in the image."""

    row: dict[str, Any]  # as in the dataset; its box, rotation, polygons and mask are the original ones
    box: Box
    polygons: tuple[Points, ...]
    mask: Pixels | None  # (height, width), 1 where the object is
    visible_share: float = 1.0  # share of the original box that is left, 0..1


Count = Callable[[str], None]
_Effect = Callable[[Object], tuple[Object | None, str]]


class BoxCounts:
    """For each transform of a policy, the number of boxes it kept, clipped or dropped, and why."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def count(self, transform: str, outcome: str) -> None:
        self.counts.setdefault(transform, Counter())[outcome] += 1

    def add(self, other: dict[str, Counter[str]]) -> None:
        for transform, counts in other.items():
            self.counts.setdefault(transform, Counter()).update(counts)

    def table(self, order: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row for each transform in ``order`` that was applied to a box."""
        outcomes = (KEPT, CLIPPED, OUTSIDE, HIDDEN)
        applied = [(name, self.counts[name]) for name in order if name in self.counts]
        return [
            {"transform": name, "boxes": counts.total()} | {outcome: counts[outcome] for outcome in outcomes}
            for name, counts in applied
        ]


def read(rows: Iterable[dict[str, Any]], shape: Shape, name: str) -> list[Object]:
    """Return the objects in ``rows`` of an image of ``shape``, called ``name`` in errors.

    A rotated box becomes the polygon of its four corners, and its box the upright one around them: copies have no
    rotated boxes.

    Raises:
        DataError: a box has no area or lies outside the image, or a mask cannot be read.
    """
    return [_read(row, shape, name) for row in rows]


def to_rows(objects: Sequence[Object]) -> list[dict[str, Any]]:
    """Return ``objects`` as rows of a dataset."""
    return [
        item.row
        | {
            "box": list(item.box),
            "rotation": 0.0,
            "polygons": [polygon.ravel().tolist() for polygon in item.polygons],
            "mask": "" if item.mask is None else _encode_mask(item.mask),
        }
        for item in objects
    ]


def move(
    objects: Sequence[Object], operations: Sequence[Operation], shape: Shape, min_visibility: float, count: Count
) -> list[Object]:
    """Return ``objects`` after ``operations`` on an image of ``shape``, without those that are dropped.

    An object is dropped when less than the share ``min_visibility`` of its original box is left, or a side is below
    ``MIN_SIDE_PIXELS``. ``count`` is called with the outcome of each object.
    """
    effects = list[_Effect]()
    for operation in operations:
        if isinstance(operation, Cutout):
            effects.append(partial(_covered, covered=operation.covered(shape), min_visibility=min_visibility))
        elif isinstance(operation, Geometric):
            effects.append(partial(_moved, operation=operation, shape=shape, min_visibility=min_visibility))
            shape = operation.output_shape(shape)
    if not effects:
        return list(objects)
    results = [_apply_all(item, effects) for item in objects]
    for _, outcome in results:
        count(outcome)
    return [item for item, _ in results if item]


def without_original_position(row: dict[str, Any]) -> dict[str, Any]:
    """Return ``row`` without fields that describe the object's original position.

    Key points are removed because a mirrored left eye is a right eye, and the dataset does not name the points. The
    attributes of file formats (area, segmentation, ids) begin with "@" and are removed too; other attributes stay.
    """
    return row | {"keypoints": [], "attributes": without_format_fields(row.get("attributes"))}


def without_format_fields(attributes: str | None) -> str:
    """Return a JSON object without the fields of file formats, whose names begin with "@"."""
    found = json.loads(attributes or "{}")
    return json.dumps({name: value for name, value in found.items() if not name.startswith("@")}, ensure_ascii=False)


def clip(item: Object, shape: Shape, min_visibility: float) -> tuple[Object | None, str]:
    """Return the part of ``item`` inside an image of ``shape``, None when it is dropped, and the outcome.

    The box of an object with polygons is fitted tightly to their visible part.
    """
    box = _clip_box(item.box, shape)
    has_empty_mask = item.mask is not None and not item.mask.any()
    if box == item.box:  # a transform may have clipped it already
        hidden = has_empty_mask or min(_sides(box)) < MIN_SIDE_PIXELS or item.visible_share < min_visibility
        return (None, HIDDEN) if hidden else (item, KEPT)
    polygons = clip_polygons(item.polygons, shape)
    if polygons:
        left, top, right, bottom = envelope(np.concatenate(polygons))
        box = (max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom))
    if area(box) <= 0 or has_empty_mask or (item.polygons and not polygons):
        return None, OUTSIDE
    visible_share = item.visible_share * area(box) / area(item.box)
    if visible_share < min_visibility or min(_sides(box)) < MIN_SIDE_PIXELS:
        return None, HIDDEN
    return Object(item.row | {"truncated": True}, box, polygons, item.mask, visible_share), CLIPPED


def area(box: Box) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _clip_box(box: Box, shape: Shape) -> Box:
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(shape[1])), min(box[3], float(shape[0]))


def _sides(box: Box) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


def _read(row: dict[str, Any], shape: Shape, name: str) -> Object:
    left, top, right, bottom = (float(edge) for edge in row["box"])
    box: Box = (left, top, right, bottom)
    polygons = tuple(np.asarray(flat, np.float64).reshape(-1, 2) for flat in row.get("polygons") or ())
    if rotation := float(row.get("rotation") or 0.0):
        points = rotate(corners(box), rotation)
        polygons, box = (*polygons, points), envelope(points)
    box = _clip_box(box, shape)
    if not area(box) > 0:
        raise DataError(
            f"{name} has the box {row['box']}, which has no area inside the image of {shape[1]} x {shape[0]} pixels; "
            "check the annotations"
        )
    mask = _decode_mask(row["mask"], shape, name) if row.get("mask") else None
    return Object(row, box, polygons, mask)


def _apply_all(item: Object, effects: Sequence[_Effect]) -> tuple[Object | None, str]:
    """Return ``item`` after all ``effects``, None when it is dropped, and the outcome."""
    outcome, current = KEPT, item
    for effect in effects:
        result, latest = effect(current)
        if result is None:
            return None, latest
        outcome, current = (CLIPPED if CLIPPED in (latest, outcome) else KEPT), result
    return current, outcome


def _moved(item: Object, operation: Geometric, shape: Shape, min_visibility: float) -> tuple[Object | None, str]:
    matrix = operation.matrix(shape)
    polygons = tuple(polygon @ matrix[:, :2].T + matrix[:, 2] for polygon in item.polygons)
    keeps_axes = not (matrix[0, 0] and matrix[0, 1])  # then the moved box is exact
    points = corners(item.box) @ matrix[:, :2].T + matrix[:, 2]
    box = envelope(points if keeps_axes or not polygons else np.concatenate(polygons))
    mask = None if item.mask is None else operation.apply_to_mask(item.mask)
    moved = replace(item, row=without_original_position(item.row), box=box, polygons=polygons, mask=mask)
    return clip(moved, operation.output_shape(shape), min_visibility)


def _covered(item: Object, covered: NDArray[np.bool_], min_visibility: float) -> tuple[Object | None, str]:
    left, top = int(item.box[0]), int(item.box[1])
    right, bottom = int(np.ceil(item.box[2])), int(np.ceil(item.box[3]))
    visible_share = item.visible_share * (1.0 - float(covered[top:bottom, left:right].mean()))
    if visible_share < min_visibility or visible_share <= 0:
        return None, HIDDEN
    return (item if visible_share == item.visible_share else replace(item, visible_share=visible_share)), KEPT


def _decode_mask(mask: str, shape: Shape, name: str) -> Pixels:
    from pycocotools import mask as coco_mask

    try:
        decoded: Pixels = np.ascontiguousarray(coco_mask.decode({"size": list(shape), "counts": mask.encode()}))
    except Exception as error:
        raise DataError(f"{name} has a mask that is not compressed COCO RLE; check the annotations") from error
    return decoded


def _encode_mask(mask: Pixels) -> str:
    from pycocotools import mask as coco_mask

    counts: bytes = coco_mask.encode(np.asfortranarray(mask))["counts"]
    return counts.decode()
