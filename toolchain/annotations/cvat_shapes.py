"""Shapes in CVAT's XML: boxes, polygons and masks; others as a box around them, with their own element kept.

A skeleton's points are key points, as CVAT exports them to COCO: outside is 0 (not marked), occluded 1, else 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from toolchain.annotations import masks
from toolchain.annotations.files import number
from toolchain.annotations.model import CVAT, Box, Thing, clean, envelope, own
from toolchain.annotations.shapes import Shape, attempt, from_polygons, numbers
from toolchain.errors import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SHAPES = ("box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid", "skeleton")
HELD = ("box", "polygon", "mask")  # shapes that a Thing holds; of the others the element is kept
TRUE, FALSE = "true", "false"  # as CVAT writes a checkbox
FLAGS = ("difficult", "truncated")  # CVAT has no place of its own for these two: they become checkboxes
EDGES = ("xtl", "ytl", "xbr", "ybr")
WINDOW = ("left", "top", "width", "height")
KNOWN = {"label", "occluded", *EDGES, "rotation", "points", "rle", *WINDOW}
OTHERS = ("source", "z_order", "group_id")  # what a shape that is kept as its element says besides

Points = Mapping[str, Sequence[str]]  # the names of a skeleton's points, by its label


def thing_of(element: "Element", size: tuple[int, int], points: Points) -> Thing:
    """Return the object that ``element`` of a picture of ``size`` marks; what of it is broken is left out."""
    is_held = element.tag in HELD
    said: dict[str, Any] = {
        key: value for key, value in element.attrib.items() if key not in KNOWN and (is_held or key in OTHERS)
    }
    if not is_held:
        said["element"] = text_of(element)
    given = {a.get("name", ""): a.text or "" for a in element.iterfind("attribute")}
    flags: dict[str, Any] = {flag: given.pop(flag) == TRUE for flag in FLAGS if given.get(flag) == TRUE}
    return Thing(
        label=element.get("label", ""),
        **vars(_shape(element, size, points)),
        occluded=element.get("occluded") == "1",
        attributes={**own(given), **clean(**{CVAT: said})},
        **flags,
    )


def text_of(element: "Element") -> str:
    from xml.etree.ElementTree import tostring

    element.tail = None
    return tostring(element, encoding="unicode").strip()


def _shape(element: "Element", size: tuple[int, int], points: Points) -> Shape:
    if element.tag == "box":
        return attempt(lambda: Shape(box=_edges(element), rotation=_number(element, "rotation", "0")))
    if element.tag == "polygon":
        return attempt(lambda: from_polygons([_numbers(element)]))
    if element.tag == "mask":
        return _mask(element, size)
    if element.tag == "skeleton":
        return attempt(lambda: _skeleton(element, points.get(element.get("label", ""), ())))
    return attempt(lambda: Shape(box=_around(element)))


def _number(element: "Element", key: str, default: str | None = None) -> float:
    return number(element.get(key, default), f"{key} of a {element.tag}")


def _edges(element: "Element") -> Box:
    left, top, right, bottom = (_number(element, edge) for edge in EDGES)
    return left, top, right, bottom


def _numbers(element: "Element") -> tuple[float, ...]:
    values = [value for pair in element.get("points", "").split(";") if pair for value in pair.split(",")]
    if not values:
        raise DataError(f"a {element.tag} has no points")
    return numbers(values, f"points of a {element.tag}")


def _mask(element: "Element", size: tuple[int, int]) -> Shape:
    """Return the mask, and its window as its box, which stays where the mask is broken."""
    try:
        left, top, across, down = (int(_number(element, side)) for side in WINDOW)
    except DataError as error:
        return Shape(broken=str(error))

    def read() -> Shape:
        counts = [int(run) for run in numbers(element.get("rle", "").split(","), "rle of a mask")]
        return Shape(mask=masks.from_window(counts, (left, top, across, down), *size))

    return replace(attempt(read), box=(float(left), float(top), float(left + across), float(top + down)))


def _skeleton(element: "Element", names: Sequence[str]) -> Shape:
    """Return the points in the order of ``names``, and the box around those that are marked."""
    found: dict[str, tuple[float, float, float]] = {}
    for part in element.iterfind("points"):
        if part.get("outside") != "1":
            x, y = _numbers(part)[:2]
            found[part.get("label", "")] = (x, y, 1.0 if part.get("occluded") == "1" else 2.0)
    keypoints = tuple(value for name in names for value in found.get(name, (0.0, 0.0, 0.0)))
    around = tuple(value for x, y, _ in found.values() for value in (x, y))
    return Shape(box=envelope((around,)), keypoints=keypoints)


def _around(element: "Element") -> Box:
    """Return the box around a shape that is neither box, polygon, mask nor skeleton."""
    if element.tag == "ellipse":
        x, y, rx, ry = (_number(element, key) for key in ("cx", "cy", "rx", "ry"))
        angle = math.radians(_number(element, "rotation", "0"))
        across = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
        down = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
        return x - across, y - down, x + across, y + down
    if element.get("points"):
        return envelope((_numbers(element),))
    corners = [key for key in element.attrib if key[:1] in "xy" and key[1:3] in ("tl", "tr", "bl", "br")]
    xs, ys = ([_number(element, key) for key in corners if key[0] == axis] for axis in "xy")
    if not (xs and ys):
        raise DataError(f"a {element.tag} has no points")
    return min(xs), min(ys), max(xs), max(ys)
