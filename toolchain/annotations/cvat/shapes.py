"""Parse shapes in CVAT's XML: boxes, polygons and masks; others as the box around them, with their own element kept.

A skeleton's points are keypoints, as CVAT exports them to COCO: outside is 0 (not labeled), occluded 1, else 2.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from toolchain.annotations import masks
from toolchain.annotations.files import parse_number, xml_text
from toolchain.annotations.geometry import ellipse_box
from toolchain.annotations.shapes import Shape, from_polygons, parse_numbers, shape_or_error
from toolchain.annotations.types import CVAT, Annotation, Box, bounding_box, non_empty, user_attributes
from toolchain.errors import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SHAPES = ("box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid", "skeleton")
SUPPORTED_SHAPES = ("box", "polygon", "mask")  # that an Annotation represents; of the others the element is kept
TRUE, FALSE = "true", "false"  # as CVAT writes a checkbox
CHECKBOX_FLAGS = ("difficult", "truncated")  # flags that CVAT has no field for: they become checkboxes
EDGES = ("xtl", "ytl", "xbr", "ybr")
WINDOW = ("left", "top", "width", "height")
SHAPE_KEYS = {"label", "occluded", *EDGES, "rotation", "points", "rle", *WINDOW}  # that an Annotation holds
KEPT_KEYS = ("source", "z_order", "group_id")  # of a shape whose element is kept

PointNames = Mapping[str, Sequence[str]]  # the names of a skeleton's points, by its label


def parse_annotation(element: "Element", size: tuple[int, int], points: PointNames) -> Annotation:
    """Return the object that ``element`` of an image of ``size`` marks, without the parts that are not valid."""
    is_supported = element.tag in SUPPORTED_SHAPES
    fields: dict[str, Any] = {
        key: value
        for key, value in element.attrib.items()
        if key not in SHAPE_KEYS and (is_supported or key in KEPT_KEYS)
    }
    if not is_supported:
        fields["element"] = xml_text(element)
    attributes = {a.get("name", ""): a.text or "" for a in element.iterfind("attribute")}
    flags: dict[str, Any] = {
        flag: attributes.pop(flag) == TRUE for flag in CHECKBOX_FLAGS if attributes.get(flag) == TRUE
    }
    return Annotation(
        label=element.get("label", ""),
        **vars(_shape(element, size, points)),
        occluded=element.get("occluded") == "1",
        attributes={**user_attributes(attributes), **non_empty(**{CVAT: fields})},
        **flags,
    )


def _shape(element: "Element", size: tuple[int, int], points: PointNames) -> Shape:
    if element.tag == "box":
        return shape_or_error(lambda: Shape(box=_box(element), rotation=_number(element, "rotation", "0")))
    if element.tag == "polygon":
        return shape_or_error(lambda: from_polygons([_points(element)]))
    if element.tag == "mask":
        return _mask(element, size)
    if element.tag == "skeleton":
        return shape_or_error(lambda: _skeleton(element, points.get(element.get("label", ""), ())))
    return shape_or_error(lambda: Shape(box=_outer_box(element)))


def _number(element: "Element", key: str, default: str | None = None) -> float:
    return parse_number(element.get(key, default), f"{key} of a {element.tag}")


def _box(element: "Element") -> Box:
    left, top, right, bottom = (_number(element, edge) for edge in EDGES)
    return left, top, right, bottom


def _points(element: "Element") -> tuple[float, ...]:
    values = [value for pair in element.get("points", "").split(";") if pair for value in pair.split(",")]
    if not values:
        raise DataError(f"a {element.tag} has no points")
    return parse_numbers(values, f"points of a {element.tag}")


def _mask(element: "Element", size: tuple[int, int]) -> Shape:
    """Return the mask with its window as its box, which is kept if the mask is not valid."""
    try:
        left, top, across, down = (int(_number(element, side)) for side in WINDOW)
    except DataError as error:
        return Shape(error=str(error))

    def read() -> Shape:
        counts = [int(run) for run in parse_numbers(element.get("rle", "").split(","), "rle of a mask")]
        return Shape(mask=masks.from_window(counts, (left, top, across, down), *size))

    return replace(shape_or_error(read), box=(float(left), float(top), float(left + across), float(top + down)))


def _skeleton(element: "Element", names: Sequence[str]) -> Shape:
    """Return the points in the order of ``names``, and the box around those that are labeled."""
    found: dict[str, tuple[float, float, float]] = {}
    for part in element.iterfind("points"):
        if part.get("outside") != "1":
            x, y = _points(part)[:2]
            found[part.get("label", "")] = (x, y, 1.0 if part.get("occluded") == "1" else 2.0)
    keypoints = tuple(value for name in names for value in found.get(name, (0.0, 0.0, 0.0)))
    labeled = tuple(value for x, y, _ in found.values() for value in (x, y))
    return Shape(box=bounding_box((labeled,)), keypoints=keypoints)


def _outer_box(element: "Element") -> Box:
    """Return the box around a shape that is neither box, polygon, mask nor skeleton."""
    if element.tag == "ellipse":
        x, y, rx, ry = (_number(element, key) for key in ("cx", "cy", "rx", "ry"))
        return ellipse_box(x, y, rx, ry, math.radians(_number(element, "rotation", "0")))
    if element.get("points"):
        return bounding_box((_points(element),))
    corners = [key for key in element.attrib if key[:1] in "xy" and key[1:3] in ("tl", "tr", "bl", "br")]
    xs, ys = ([_number(element, key) for key in corners if key[0] == axis] for axis in "xy")
    if not (xs and ys):
        raise DataError(f"a {element.tag} has no points")
    return min(xs), min(ys), max(xs), max(ys)
