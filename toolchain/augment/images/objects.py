"""Objects of a picture as it is changed: boxes, outlines and masks move along, and what leaves it is counted."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.augment.images.operations import Holes, Moving, Operation, Shape
from toolchain.errors import DataError
from toolchain.pictures import Pixels

Points = NDArray[np.float64]  # (n, 2): x, y in pixels, edges counted
Edges = tuple[float, float, float, float]  # left, top, right, bottom, pixels
KEPT, CLIPPED, OUTSIDE, HIDDEN = "kept", "clipped", "out of the picture", "too little visible"
LEAST_SIDE = 1.0  # pixels of a box: what is narrower shows nothing of the object


@dataclass(frozen=True)
class Object:
    """One object in the picture."""

    row: dict[str, Any]  # as in the dataset; box, rotation, polygons and mask are those from before
    box: Edges
    outlines: tuple[Points, ...]
    mask: Pixels | None  # (height, width), 1 where the object is
    visible: float = 1.0  # share of the object's box that is left of it, 0..1


Count = Callable[[str], None]
_Effect = Callable[[Object], tuple[Object | None, str]]


class Retention:
    """For each transform of a policy, how many boxes it kept, clipped or dropped, and why."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def count(self, transform: str, fate: str) -> None:
        self.counts.setdefault(transform, Counter())[fate] += 1

    def add(self, other: dict[str, Counter[str]]) -> None:
        for transform, counts in other.items():
            self.counts.setdefault(transform, Counter()).update(counts)

    def table(self, order: Sequence[str]) -> list[dict[str, Any]]:
        """Return a row for each transform in ``order`` that met a box."""
        fates = (KEPT, CLIPPED, OUTSIDE, HIDDEN)
        met = [(name, self.counts[name]) for name in order if name in self.counts]
        return [
            {"transform": name, "boxes": counts.total()} | {fate: counts[fate] for fate in fates}
            for name, counts in met
        ]


def read(rows: Iterable[dict[str, Any]], shape: Shape, name: str) -> list[Object]:
    """Return the objects in ``rows`` of a picture of ``shape``, called ``name`` in errors.

    A rotated box becomes the outline of its four corners, and its box the smallest upright one around them: a copy
    has no rotated boxes.

    Raises:
        DataError: a box has no area or lies outside the picture, or a mask cannot be read.
    """
    return [_read(row, shape, name) for row in rows]


def written(objects: Sequence[Object]) -> list[dict[str, Any]]:
    """Return ``objects`` as rows of a dataset."""
    return [
        item.row
        | {
            "box": list(item.box),
            "rotation": 0.0,
            "polygons": [outline.ravel().tolist() for outline in item.outlines],
            "mask": "" if item.mask is None else _encoded(item.mask),
        }
        for item in objects
    ]


def move(
    objects: Sequence[Object], operations: Sequence[Operation], shape: Shape, minimum: float, count: Count
) -> list[Object]:
    """Return ``objects`` after ``operations`` on a picture of ``shape``, without those that leave it.

    An object leaves when less than the share ``minimum`` of its box is left since the beginning, or a side is below
    ``LEAST_SIDE``. ``count`` is told the fate of each.
    """
    effects = list[_Effect]()
    for operation in operations:
        if isinstance(operation, Holes):
            effects.append(partial(_covered, covered=operation.covered(shape), minimum=minimum))
        elif isinstance(operation, Moving):
            effects.append(partial(_moved, operation=operation, shape=shape, minimum=minimum))
            shape = operation.shape(shape)
    if not effects:
        return list(objects)
    ends = [_after(item, effects) for item in objects]
    for _, fate in ends:
        count(fate)
    return [item for item, _ in ends if item]


def displaced(row: dict[str, Any]) -> dict[str, Any]:
    """Return ``row`` without what would still lie where the object was before it moved.

    Key points go, since a mirrored left eye is a right one and nothing says which point is which; so do the attributes
    of formats (area, segmentation, ids), which begin with "@". A user's own attributes stay.
    """
    return row | {"keypoints": [], "attributes": without_format(row.get("attributes"))}


def without_format(attributes: str | None) -> str:
    """Return a JSON object without the fields of formats, whose names begin with "@"."""
    found = json.loads(attributes or "{}")
    return json.dumps({name: value for name, value in found.items() if not name.startswith("@")}, ensure_ascii=False)


def clipped(item: Object, shape: Shape, minimum: float) -> tuple[Object | None, str]:
    """Return what of ``item`` lies in a picture of ``shape``, None where it leaves, and its fate.

    The box of an object with outlines is drawn tight around what is left of them.
    """
    box = _within(item.box, shape)
    gone = item.mask is not None and not item.mask.any()
    if box == item.box:
        hidden = gone or min(_sides(box)) < LEAST_SIDE or item.visible < minimum  # a transform may have cut it already
        return (None, HIDDEN) if hidden else (item, KEPT)
    outlines = inside(item.outlines, shape)
    if outlines:
        left, top, right, bottom = envelope(np.concatenate(outlines))
        box = (max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom))
    if area(box) <= 0 or gone or (item.outlines and not outlines):
        return None, OUTSIDE
    visible = item.visible * area(box) / area(item.box)
    if visible < minimum or min(_sides(box)) < LEAST_SIDE:
        return None, HIDDEN
    return Object(item.row | {"truncated": True}, box, outlines, item.mask, visible), CLIPPED


def inside(outlines: Iterable[Points], shape: Shape) -> tuple[Points, ...]:
    """Return the parts of ``outlines`` that lie in a picture of ``shape``; what has no area is left out."""
    return tuple(part for outline in outlines if len(part := _inside(outline, shape)) >= 3)


def envelope(points: Points) -> Edges:
    """Return the smallest box around ``points``."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right, bottom


def corners(box: Edges) -> Points:
    """Return the corners of ``box``, clockwise from the left upper one."""
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def area(box: Edges) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def _within(box: Edges, shape: Shape) -> Edges:
    return max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(shape[1])), min(box[3], float(shape[0]))


def _sides(box: Edges) -> tuple[float, float]:
    return box[2] - box[0], box[3] - box[1]


def _read(row: dict[str, Any], shape: Shape, name: str) -> Object:
    box = tuple(float(edge) for edge in row["box"])
    outlines = tuple(np.asarray(flat, np.float64).reshape(-1, 2) for flat in row.get("polygons") or ())
    if rotation := float(row.get("rotation") or 0.0):
        points = _turned(corners((box[0], box[1], box[2], box[3])), rotation)
        outlines, box = (*outlines, points), envelope(points)
    edges = _within((box[0], box[1], box[2], box[3]), shape)
    if not area(edges) > 0:
        size = f"{shape[1]} x {shape[0]}"
        raise DataError(
            f"{name} has the box {row['box']}, which has no area in its {size} pixels; check annotations first"
        )
    mask = _decoded(row["mask"], shape, name) if row.get("mask") else None
    return Object(row, edges, outlines, mask)


def _turned(points: Points, degrees: float) -> Points:
    """Return ``points`` turned clockwise around their middle."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    middle = points.mean(axis=0)
    turned: Points = (points - middle) @ np.array([[cosine, sine], [-sine, cosine]]) + middle
    return turned


def _after(item: Object, effects: Sequence[_Effect]) -> tuple[Object | None, str]:
    """Return what ``effects``, one after the other, leave of ``item``, and its fate."""
    worst, left = KEPT, item
    for effect in effects:
        found, fate = effect(left)
        if found is None:
            return None, fate
        worst, left = (CLIPPED if CLIPPED in (fate, worst) else KEPT), found
    return left, worst


def _moved(item: Object, operation: Moving, shape: Shape, minimum: float) -> tuple[Object | None, str]:
    matrix = operation.matrix(shape)
    outlines = tuple(outline @ matrix[:, :2].T + matrix[:, 2] for outline in item.outlines)
    upright = not (matrix[0, 0] and matrix[0, 1])  # axes stay axes: the box stays exact
    points = corners(item.box) @ matrix[:, :2].T + matrix[:, 2]
    box = envelope(points if upright or not outlines else np.concatenate(outlines))
    mask = None if item.mask is None else operation.mask(item.mask)
    moved = replace(item, row=displaced(item.row), box=box, outlines=outlines, mask=mask)
    return clipped(moved, operation.shape(shape), minimum)


def _covered(item: Object, covered: NDArray[np.bool_], minimum: float) -> tuple[Object | None, str]:
    left, top = int(item.box[0]), int(item.box[1])
    right, bottom = int(np.ceil(item.box[2])), int(np.ceil(item.box[3]))
    visible = item.visible * (1.0 - float(covered[top:bottom, left:right].mean()))
    if visible < minimum or visible <= 0:
        return None, HIDDEN
    return (item if visible == item.visible else replace(item, visible=visible)), KEPT


def _inside(points: Points, shape: Shape) -> Points:
    """Return the part of the polygon ``points`` that lies in a picture of ``shape`` (Sutherland and Hodgman 1974)."""
    for axis, limit, sign in ((0, 0, 1), (0, shape[1], -1), (1, 0, 1), (1, shape[0], -1)):
        if not len(points):
            break
        depth = sign * (points[:, axis] - limit)  # positive inside
        kept: list[Points] = []
        for place in range(len(points)):
            before, now = depth[place - 1], depth[place]
            if (before < 0) != (now < 0):
                step = before / (before - now)
                kept.append(points[place - 1] + step * (points[place] - points[place - 1]))
            if now >= 0:
                kept.append(points[place])
        points = np.array(kept, np.float64).reshape(-1, 2)
    return points


def _decoded(mask: str, shape: Shape, name: str) -> Pixels:
    from pycocotools import mask as runs

    try:
        decoded: Pixels = np.ascontiguousarray(runs.decode({"size": list(shape), "counts": mask.encode()}))
    except Exception as error:
        raise DataError(
            f"{name} has a mask that is not COCO's compressed run lengths; check annotations first"
        ) from error
    return decoded


def _encoded(mask: Pixels) -> str:
    from pycocotools import mask as runs

    counts: bytes = runs.encode(np.asfortranarray(mask))["counts"]
    return counts.decode()
