"""Geometry of things: cut to a window, turned with their picture, scaled. Pixels from the picture's left upper edge."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from toolchain.annotations import masks
from toolchain.annotations.model import Box, Outline, Thing, envelope

XML_OF_POINTS = ("<part", "<polygon", "<point")  # elements of VOC with positions: no longer true when moved
Point = tuple[float, float]
MIRRORED = (2, 4, 5, 7)  # values of EXIF's orientation that show a picture in a mirror
CORNER_TOLERANCE = 1e-5  # of the picture's larger side: four corners that are a rectangle up to six written decimals
PLACES_OF_POINTS = (
    "bbox",
    "area",
    "points",
    "num_keypoints",
    "element",
    "corners",
)  # in what formats say: no longer true when moved


def corners(thing: Thing) -> Outline:
    """Return the four corners of ``thing``, clockwise from the left upper one of the box before its rotation."""
    left, top, right, bottom = thing.box
    x, y, angle = (left + right) / 2, (top + bottom) / 2, math.radians(thing.rotation)
    cos, sin = math.cos(angle), math.sin(angle)
    around = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return tuple(value for dx, dy in around for value in (x + dx * cos - dy * sin, y + dx * sin + dy * cos))


def oriented_box(points: Outline, tolerance: float) -> tuple[Box, float] | None:
    """Return the box with the four corners ``points``, and its rotation in degrees clockwise.

    None when they are no rectangle up to ``tolerance`` in pixels, or run counter-clockwise.
    """
    if len(points) != 8:
        return None
    x, y = sum(points[0::2]) / 4, sum(points[1::2]) / 4
    across, down = (points[2] - points[0], points[3] - points[1]), (points[4] - points[2], points[5] - points[3])
    width, height = math.hypot(*across), math.hypot(*down)
    angle = math.degrees(math.atan2(across[1], across[0]))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    found = corners(Thing(label="", box=box, rotation=angle))
    return (box, angle) if max(abs(a - b) for a, b in zip(found, points, strict=True)) <= tolerance else None


def covered(thing: Thing) -> Box:
    """Return the smallest upright box around ``thing``."""
    return envelope((corners(thing),)) if thing.rotation else thing.box


def reach(thing: Thing) -> Box:
    """Return the smallest upright box around ``thing`` and all its outlines."""
    return envelope((covered(thing), *thing.polygons))


def area(box: Box) -> float:
    """Return the area of ``box`` in square pixels; 0 when an edge is beyond its opposite."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def meet(box: Box, window: Box) -> Box:
    """Return what ``box`` and ``window`` share; without area when that is nothing."""
    left, top = max(box[0], window[0]), max(box[1], window[1])
    right, bottom = min(box[2], window[2]), min(box[3], window[3])
    return left, top, max(left, right), max(top, bottom)


def clip(thing: Thing, window: Box, size: tuple[int, int] | None = None) -> Thing:
    """Return the part of ``thing`` in ``window``; a turned box that reaches beyond becomes an outline.

    Args:
        thing: With a box that has area.
        window: In pixels of the picture.
        size: Width and height of the picture, when its mask is to be cut too; None: masks are as large as the window.
    """
    around = reach(thing)
    if meet(around, window) == around and not (thing.mask and size):
        keypoints = _points_inside(thing.keypoints, window)
        return thing if keypoints == thing.keypoints else replace(thing, keypoints=keypoints)
    box = covered(thing)
    outlines = (corners(thing),) if thing.rotation and not thing.polygons else thing.polygons
    kept = tuple(part for outline in outlines if len(part := clip_outline(outline, window)) >= 6)
    mask = _cut_mask(thing.mask, window, size) if thing.mask and size else thing.mask
    return replace(
        thing,
        box=meet(box, window),
        rotation=0.0,
        polygons=kept,
        mask=mask,
        keypoints=_points_inside(thing.keypoints, window),
        attributes=_stale_free(thing),
    )


def _points_inside(keypoints: tuple[float, ...], window: Box) -> tuple[float, ...]:
    """Return ``keypoints`` with those beyond ``window`` as not marked: 0, 0, 0."""
    left, top, right, bottom = window
    triples = zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)
    return tuple(
        v for x, y, seen in triples for v in ((x, y, seen) if left <= x <= right and top <= y <= bottom else (0.0,) * 3)
    )


def clip_outline(outline: Outline, window: Box) -> Outline:
    """Return the part of ``outline`` in ``window`` (Sutherland and Hodgman, 1974); empty when there is none."""
    points: list[Point] = list(zip(outline[0::2], outline[1::2], strict=True))
    for axis, edge, sign in ((0, window[0], 1), (0, window[2], -1), (1, window[1], 1), (1, window[3], -1)):
        points = _cut_at(points, axis, edge, sign)
    return tuple(value for point in points for value in point)


def moved(thing: Thing, x: float, y: float) -> Thing:
    """Return ``thing`` shifted by ``x`` to the right and ``y`` down; its mask is as it was."""
    return _mapped(thing, lambda point: (point[0] + x, point[1] + y))


def scaled(thing: Thing, x: float, y: float) -> Thing:
    """Return ``thing`` in a picture that is ``x`` times as wide and ``y`` times as high.

    A turned box becomes an outline. A mask cannot be scaled here and is left out by the caller.
    """
    if thing.rotation:
        thing = replace(thing, polygons=thing.polygons or (corners(thing),), box=covered(thing), rotation=0.0)
    return _mapped(thing, lambda point: (point[0] * x, point[1] * y))


def turned(thing: Thing, orientation: int, width: int, height: int) -> Thing:
    """Return ``thing`` of a picture stored as ``width`` x ``height`` as it lies once EXIF's ``orientation`` is applied.

    Orientations 1 to 8 are those of EXIF 2.32, tag 0x0112: 6 turns the picture clockwise, 8 the other way.
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
        return thing
    found = _mapped(thing, maps[orientation])
    mask = masks.encode(_turned_mask(masks.decode(thing.mask, width, height), orientation)) if thing.mask else ""
    return replace(found, rotation=-thing.rotation if orientation in MIRRORED else thing.rotation, mask=mask)


def _turned_mask(mask: masks.Mask, orientation: int) -> masks.Mask:
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    across = orientation in (2, 3, 6, 7)
    down = orientation in (3, 4, 7, 8)
    mask = mask[:, ::-1] if across else mask
    return np.ascontiguousarray(mask[::-1] if down else mask)


def _mapped(thing: Thing, where: Callable[[Point], Point]) -> Thing:
    """Return ``thing`` with its points mapped by ``where``, which keeps upright boxes upright."""
    (x0, y0), (x1, y1) = where((thing.box[0], thing.box[1])), where((thing.box[2], thing.box[3]))
    outlines = tuple(tuple(v for p in zip(o[0::2], o[1::2], strict=True) for v in where(p)) for o in thing.polygons)
    box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    keypoints = _mapped_points(thing.keypoints, where)
    return replace(thing, box=box, polygons=outlines, keypoints=keypoints, attributes=_stale_free(thing))


def _mapped_points(keypoints: tuple[float, ...], where: Callable[[Point], Point]) -> tuple[float, ...]:
    """Return ``keypoints`` mapped by ``where``; those that are not marked are nowhere, and stay at 0, 0."""
    triples = zip(keypoints[0::3], keypoints[1::3], keypoints[2::3], strict=True)
    return tuple(v for x, y, seen in triples for v in (*(where((x, y)) if seen else (x, y)), seen))


def _stale_free(thing: Thing) -> dict[str, Any]:
    """Return the attributes of ``thing`` without a format's own numbers for places, which hold no longer."""
    kept = {}
    for name, value in thing.attributes.items():
        if name.startswith("@") and isinstance(value, dict):
            value = {key: part for key, part in value.items() if key not in PLACES_OF_POINTS}
            if texts := [text for text in value.get("xml", []) if not text.startswith(XML_OF_POINTS)]:
                value["xml"] = texts
            else:
                value.pop("xml", None)
        if value != {} or not name.startswith("@"):
            kept[name] = value
    return kept


def _cut_at(points: list[Point], axis: int, edge: float, sign: int) -> list[Point]:
    """Return the part of a closed line on the side of ``edge`` where values are larger (``sign`` 1) or smaller (-1)."""
    kept: list[Point] = []
    for before, point in zip(points[-1:] + points[:-1], points, strict=True):
        was, is_ = sign * (before[axis] - edge) >= 0, sign * (point[axis] - edge) >= 0
        if was != is_:
            share = (edge - before[axis]) / (point[axis] - before[axis])
            crossing = before[1 - axis] + share * (point[1 - axis] - before[1 - axis])
            kept.append((edge, crossing) if axis == 0 else (crossing, edge))
        if is_:
            kept.append(point)
    return kept


def _cut_mask(text: str, window: Box, size: tuple[int, int]) -> str:
    left, top, right, bottom = (int(edge) for edge in window)
    return masks.encode(masks.decode(text, *size)[top:bottom, left:right])
