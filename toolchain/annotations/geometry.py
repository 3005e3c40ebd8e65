"""Geometry of annotations: clip, translate, scale and rotate them, in pixels from the image's top left corner."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.annotations import masks
from toolchain.annotations.types import Annotation, Box, Polygon, bounding_box

Point = tuple[float, float]
MIRRORED = (2, 4, 5, 7)  # EXIF orientations that show a mirrored image
CORNER_TOLERANCE = 1e-5  # of the image's longer side: four corners are a rectangle up to six written decimals
# Fields and XML elements of single formats that hold coordinates: no longer true once an annotation moves.
GEOMETRY_FIELDS = ("bbox", "area", "points", "num_keypoints", "element", "corners")
GEOMETRY_ELEMENTS = ("<part", "<polygon", "<point")  # of VOC


def corners(annotation: Annotation) -> Polygon:
    """Return the four corners of ``annotation``, clockwise from the top left one of the box before its rotation."""
    left, top, right, bottom = annotation.box
    x, y, angle = (left + right) / 2, (top + bottom) / 2, math.radians(annotation.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    offsets = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return tuple(value for dx, dy in offsets for value in (x + dx * cos - dy * sin, y + dx * sin + dy * cos))


def oriented_box(points: Polygon, tolerance: float) -> tuple[Box, float] | None:
    """Return the box with the four corners ``points``, and its rotation in degrees clockwise.

    None if they are not a rectangle up to ``tolerance`` in pixels, or run counterclockwise.
    """
    if len(points) != 8:
        return None
    x, y = sum(points[0::2]) / 4, sum(points[1::2]) / 4
    across, down = (points[2] - points[0], points[3] - points[1]), (points[4] - points[2], points[5] - points[3])
    width, height = math.hypot(*across), math.hypot(*down)
    angle = math.degrees(math.atan2(across[1], across[0]))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    found = corners(Annotation(label="", box=box, rotation=angle))
    return (box, angle) if max(abs(a - b) for a, b in zip(found, points, strict=True)) <= tolerance else None


def ellipse_box(x: float, y: float, rx: float, ry: float, angle: float) -> Box:
    """Return the box around the ellipse at ``x``, ``y`` with the radii ``rx``, ``ry``, rotated by ``angle`` radians."""
    across = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    down = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, x + across, y + down


def upright_box(annotation: Annotation) -> Box:
    """Return the smallest axis-aligned box around the box of ``annotation``."""
    return bounding_box((corners(annotation),)) if annotation.rotation else annotation.box


def outer_box(annotation: Annotation) -> Box:
    """Return the smallest axis-aligned box around the box and all polygons of ``annotation``."""
    return bounding_box((upright_box(annotation), *annotation.polygons))


def area(box: Box) -> float:
    """Return the area of ``box`` in square pixels; 0 if an edge is beyond its opposite."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def intersection(box: Box, window: Box) -> Box:
    """Return the intersection of ``box`` and ``window``; a box without area if they do not overlap."""
    left, top = max(box[0], window[0]), max(box[1], window[1])
    right, bottom = min(box[2], window[2]), min(box[3], window[3])
    return left, top, max(left, right), max(top, bottom)


def clip(annotation: Annotation, window: Box, size: tuple[int, int] | None = None) -> Annotation:
    """Return the part of ``annotation`` in ``window``; a rotated box that reaches beyond becomes a polygon.

    Args:
        annotation: With a box that has area.
        window: In pixels of the image.
        size: Width and height of the image, to clip the mask too; None: masks have the size of the window.
    """
    outer = outer_box(annotation)
    if intersection(outer, window) == outer and not (annotation.mask and size):
        keypoints = _clip_keypoints(annotation.keypoints, window)
        return annotation if keypoints == annotation.keypoints else replace(annotation, keypoints=keypoints)
    box = upright_box(annotation)
    becomes_polygon = annotation.rotation and not annotation.polygons
    polygons = (corners(annotation),) if becomes_polygon else annotation.polygons
    return replace(
        annotation,
        box=intersection(box, window),
        rotation=0.0,
        polygons=tuple(part for polygon in polygons if len(part := clip_polygon(polygon, window)) >= 6),
        mask=_clip_mask(annotation.mask, window, size) if annotation.mask and size else annotation.mask,
        keypoints=_clip_keypoints(annotation.keypoints, window),
        attributes=_without_stale_fields(annotation),
    )


def _clip_keypoints(keypoints: tuple[float, ...], window: Box) -> tuple[float, ...]:
    """Return ``keypoints`` with those outside ``window`` as not labeled: 0, 0, 0."""
    left, top, right, bottom = window
    return tuple(
        value
        for x, y, visibility in _triples(keypoints)
        for value in ((x, y, visibility) if left <= x <= right and top <= y <= bottom else (0.0,) * 3)
    )


def _clip_mask(text: str, window: Box, size: tuple[int, int]) -> str:
    left, top, right, bottom = (int(edge) for edge in window)
    return masks.encode(masks.decode(text, *size)[top:bottom, left:right])


def clip_polygon(polygon: Polygon, window: Box) -> Polygon:
    """Return the part of ``polygon`` in ``window`` (Sutherland and Hodgman, 1974); empty if there is none."""
    points: list[Point] = list(zip(polygon[0::2], polygon[1::2], strict=True))
    for axis, edge, sign in ((0, window[0], 1), (0, window[2], -1), (1, window[1], 1), (1, window[3], -1)):
        points = _clip_at(points, axis, edge, sign)
    return tuple(value for point in points for value in point)


def _clip_at(points: list[Point], axis: int, edge: float, sign: int) -> list[Point]:
    """Return the part of a closed line on the side of ``edge`` with larger (``sign`` 1) or smaller (-1) values."""
    kept: list[Point] = []
    for before, point in zip(points[-1:] + points[:-1], points, strict=True):
        was_inside, is_inside = sign * (before[axis] - edge) >= 0, sign * (point[axis] - edge) >= 0
        if was_inside != is_inside:
            share = (edge - before[axis]) / (point[axis] - before[axis])
            crossing = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
            kept.append((edge, crossing) if axis == 0 else (crossing, edge))
        if is_inside:
            kept.append(point)
    return kept


def translate(annotation: Annotation, x: float, y: float) -> Annotation:
    """Return ``annotation`` shifted by ``x`` to the right and ``y`` down; its mask is unchanged."""
    return _map(annotation, lambda point: (point[0] + x, point[1] + y))


def scale(annotation: Annotation, x: float, y: float) -> Annotation:
    """Return ``annotation`` for an image that is ``x`` times as wide and ``y`` times as high.

    A rotated box becomes a polygon. Masks cannot be scaled; the caller leaves them out.
    """
    if annotation.rotation:
        polygons = annotation.polygons or (corners(annotation),)
        annotation = replace(annotation, polygons=polygons, box=upright_box(annotation), rotation=0.0)
    return _map(annotation, lambda point: (point[0] * x, point[1] * y))


def apply_orientation(annotation: Annotation, orientation: int, width: int, height: int) -> Annotation:
    """Return ``annotation`` as it lies once EXIF's ``orientation`` is applied to its image.

    ``width`` and ``height`` are those of the stored image. Orientations 1 to 8 are those of EXIF 2.32, tag 0x0112: 6
    rotates the image clockwise, 8 counterclockwise.
    """
    maps: dict[int, Callable[[Point], Point]] = {
        1: lambda p: p,
        2: lambda p: (width - p[0], p[1]),
        3: lambda p: (width - p[0], height - p[1]),
        4: lambda p: (p[0], height - p[1]),
        5: lambda p: (p[1], p[0]),
        6: lambda p: (height - p[1], p[0]),
        7: lambda p: (height - p[1], width - p[0]),
        8: lambda p: (p[1], width - p[0]),
    }
    if orientation == 1:
        return annotation
    mask = annotation.mask and masks.encode(_orient_mask(masks.decode(annotation.mask, width, height), orientation))
    rotation = -annotation.rotation if orientation in MIRRORED else annotation.rotation
    return replace(_map(annotation, maps[orientation]), rotation=rotation, mask=mask)


def _orient_mask(mask: masks.Mask, orientation: int) -> masks.Mask:
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    across = orientation in (2, 3, 6, 7)
    down = orientation in (3, 4, 7, 8)
    mask = mask[:, ::-1] if across else mask
    return np.ascontiguousarray(mask[::-1] if down else mask)


def _map(annotation: Annotation, move: Callable[[Point], Point]) -> Annotation:
    """Return ``annotation`` with its points mapped by ``move``, which keeps axis-aligned boxes axis-aligned."""
    left, top, right, bottom = annotation.box
    (x0, y0), (x1, y1) = move((left, top)), move((right, bottom))
    return replace(
        annotation,
        box=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)),
        polygons=tuple(_map_polygon(polygon, move) for polygon in annotation.polygons),
        keypoints=_map_keypoints(annotation.keypoints, move),
        attributes=_without_stale_fields(annotation),
    )


def _map_polygon(polygon: Polygon, move: Callable[[Point], Point]) -> Polygon:
    return tuple(value for point in zip(polygon[0::2], polygon[1::2], strict=True) for value in move(point))


def _map_keypoints(keypoints: tuple[float, ...], move: Callable[[Point], Point]) -> tuple[float, ...]:
    """Return ``keypoints`` mapped by ``move``; those that are not labeled stay at 0, 0."""
    return tuple(
        value
        for x, y, visibility in _triples(keypoints)
        for value in (*(move((x, y)) if visibility else (x, y)), visibility)
    )


def _triples(keypoints: tuple[float, ...]) -> "zip[tuple[float, float, float]]":
    """Return x, y and visibility of each of ``keypoints``."""
    return zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)


def _without_stale_fields(annotation: Annotation) -> dict[str, Any]:
    """Return the attributes of ``annotation`` without a format's own copies of coordinates."""
    kept = {}
    for name, value in annotation.attributes.items():
        if name.startswith("@") and isinstance(value, dict):
            value = {key: part for key, part in value.items() if key not in GEOMETRY_FIELDS}
            if elements := [text for text in value.get("xml", []) if not text.startswith(GEOMETRY_ELEMENTS)]:
                value["xml"] = elements
            else:
                value.pop("xml", None)
        if value != {} or not name.startswith("@"):
            kept[name] = value
    return kept
