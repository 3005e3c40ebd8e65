"""Shapes as files give them: what can be read of each, and why the rest cannot.

One shape that is broken must not end a conversion of a million. A reader keeps what it can and gives the reason in
``broken``; the check ``invalid_shape`` decides what happens to the object.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from toolchain.annotations.files import number
from toolchain.annotations.model import Box, Outline, envelope
from toolchain.errors import DataError

NOWHERE: Box = (0.0, 0.0, 0.0, 0.0)
POINT_PARTS = 3  # numbers of a key point: x, y and visibility
MIN_POINTS = 3  # of a polygon


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The geometry of one object, as far as it can be read."""

    box: Box = NOWHERE
    rotation: float = 0.0
    polygons: tuple[Outline, ...] = ()
    mask: str = ""
    keypoints: tuple[float, ...] = ()
    broken: str = ""  # why a part is left out; "" when none is


def attempt(read: Callable[[], Shape]) -> Shape:
    """Return what ``read`` returns; a shape without a box, and the reason, when it raises DataError."""
    try:
        return read()
    except DataError as error:
        return Shape(broken=str(error))


def numbers(values: Iterable[object], what: str) -> tuple[float, ...]:
    """Return ``values`` as finite numbers.

    Raises:
        DataError: one of them is none; ``what`` names them.
    """
    return tuple(number(value, what) for value in values)


def from_polygons(parts: Sequence[object]) -> Shape:
    """Return the polygons of ``parts``, and the box around all of their points.

    A part is a list x0, y0, x1, y1, ..., or of pairs x, y. A part without a number says nothing and is passed over. One
    with fewer than three points has no area: its points count for the box alone, as those of a rectangle do. The first
    reason why a part is left out becomes ``broken``.
    """
    whole: list[Outline] = []
    seen: list[Outline] = []
    reasons: list[str] = []
    for part in parts:
        if part is None or part == []:
            continue
        try:
            points = _points(part)
        except DataError as error:
            reasons.append(str(error))
            continue
        seen.append(points)
        if len(points) < 2 * MIN_POINTS:
            reasons.append(f"a polygon has {len(points) // 2} points, fewer than {MIN_POINTS}")
        else:
            whole.append(points)
    return Shape(box=envelope(tuple(seen)), polygons=tuple(whole), broken=reasons[0] if reasons else "")


def with_box(shape: Shape, box: Callable[[], Box]) -> Shape:
    """Return ``shape`` with ``box``; its own box stays, and the reason is given, when that raises DataError."""
    try:
        return replace(shape, box=box())
    except DataError as error:
        return replace(shape, broken=shape.broken or str(error))


def with_keypoints(shape: Shape, values: object) -> Shape:
    """Return ``shape`` with the key points ``values``: x, y, visibility, ...; without, and the reason, if broken."""
    if not isinstance(values, list | tuple) or len(values) % POINT_PARTS:
        reason = f"key points {str(values)[:60]} are not x, y, visibility, ..."
        return replace(shape, broken=shape.broken or reason)
    try:
        return replace(shape, keypoints=numbers(values, "key points"))
    except DataError as error:
        return replace(shape, broken=shape.broken or str(error))


def marked(keypoints: Sequence[float]) -> int:
    """Return how many of ``keypoints`` are marked, visible or not."""
    return sum(visibility > 0 for visibility in keypoints[2::POINT_PARTS])


def is_pair(part: object) -> bool:
    """Return whether ``part`` is a point: a list of x and y."""
    return isinstance(part, list | tuple) and len(part) == 2 and not any(isinstance(each, list) for each in part)


def _points(part: object) -> Outline:
    if not isinstance(part, list | tuple):
        raise DataError(f"a polygon is {str(part)[:60]!r}, not a list of numbers")
    flat = [value for point in part for value in point] if all(is_pair(point) for point in part) else part
    if len(flat) % 2:
        raise DataError(f"a polygon has {len(flat)} numbers, an x without its y")
    return numbers(flat, "polygon")
