"""Parse shapes leniently: keep what can be read of each, with the reason for the rest.

One invalid shape must not end a conversion of a million. A reader keeps what it can and gives the reason in ``error``;
the check ``invalid_shape`` decides what happens to the object.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from toolchain.annotations.files import parse_number
from toolchain.annotations.types import Box, Polygon, bounding_box
from toolchain.errors import DataError

EMPTY_BOX: Box = (0.0, 0.0, 0.0, 0.0)
KEYPOINT_VALUES = 3  # of a keypoint: x, y and visibility
MIN_POINTS = 3  # of a polygon


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The geometry of one object, as far as it can be read."""

    box: Box = EMPTY_BOX
    rotation: float = 0.0
    polygons: tuple[Polygon, ...] = ()
    mask: str = ""
    keypoints: tuple[float, ...] = ()
    error: str = ""  # why a part is missing; "" if none is


def shape_or_error(read: Callable[[], Shape]) -> Shape:
    """Return what ``read`` returns; an empty shape with the reason if it raises DataError."""
    try:
        return read()
    except DataError as error:
        return Shape(error=str(error))


def parse_numbers(values: Iterable[object], what: str) -> tuple[float, ...]:
    """Return ``values`` as finite numbers.

    Raises:
        DataError: one of them is not a number; ``what`` names them.
    """
    return tuple(parse_number(value, what) for value in values)


def from_polygons(parts: Sequence[object]) -> Shape:
    """Return the polygons of ``parts``, and the box around all of their points.

    A part is a list x0, y0, x1, y1, ..., or one of pairs x, y. Empty parts are skipped. A part with fewer than three
    points has no area: its points count for the box only, as those of a rectangle do. ``error`` gives the reason for
    the first part that is left out.
    """
    valid: list[Polygon] = []
    readable: list[Polygon] = []
    reasons: list[str] = []
    for part in parts:
        if part is None or part == []:
            continue
        try:
            points = _points(part)
        except DataError as error:
            reasons.append(str(error))
            continue
        readable.append(points)
        if len(points) < 2 * MIN_POINTS:
            reasons.append(f"a polygon has {len(points) // 2} points, fewer than {MIN_POINTS}")
        else:
            valid.append(points)
    return Shape(box=bounding_box(tuple(readable)), polygons=tuple(valid), error=reasons[0] if reasons else "")


def with_box(shape: Shape, box: Callable[[], Box]) -> Shape:
    """Return ``shape`` with ``box``; with its own box and the reason if ``box`` raises DataError."""
    try:
        return replace(shape, box=box())
    except DataError as error:
        return replace(shape, error=shape.error or str(error))


def with_keypoints(shape: Shape, values: object) -> Shape:
    """Return ``shape`` with the keypoints x, y, visibility, ...; without them and with the reason if invalid."""
    if not isinstance(values, list | tuple) or len(values) % KEYPOINT_VALUES:
        reason = f"keypoints {str(values)[:60]} are not x, y, visibility, ..."
        return replace(shape, error=shape.error or reason)
    try:
        return replace(shape, keypoints=parse_numbers(values, "keypoints"))
    except DataError as error:
        return replace(shape, error=shape.error or str(error))


def count_labeled(keypoints: Sequence[float]) -> int:
    """Return how many of ``keypoints`` are labeled, visible or hidden."""
    return sum(visibility > 0 for visibility in keypoints[2::KEYPOINT_VALUES])


def is_pair(part: object) -> bool:
    """Return whether ``part`` is a point: a list of x and y."""
    return isinstance(part, list | tuple) and len(part) == 2 and not any(isinstance(value, list) for value in part)


def _points(part: object) -> Polygon:
    if not isinstance(part, list | tuple):
        raise DataError(f"a polygon is {str(part)[:60]!r}, not a list of numbers")
    flat = [value for point in part for value in point] if all(is_pair(point) for point in part) else part
    if len(flat) % 2:
        raise DataError(f"a polygon has {len(flat)} numbers, an x without its y")
    return parse_numbers(flat, "polygon")
