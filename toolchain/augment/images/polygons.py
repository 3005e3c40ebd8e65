"""Geometry of polygons: envelopes, rotation and clipping to an image."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from toolchain.augment.images.operations import Shape

Points = NDArray[np.float64]  # (n, 2): x, y in pixels, measured at pixel edges


def envelope(points: Points) -> tuple[float, float, float, float]:
    """Return the smallest upright box around ``points``: left, top, right, bottom."""
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right, bottom


def corners(box: tuple[float, float, float, float]) -> Points:
    """Return the corners of ``box``, clockwise from the top left one."""
    left, top, right, bottom = box
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def rotate(points: Points, degrees: float) -> Points:
    """Return ``points`` rotated clockwise around their center."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    center = points.mean(axis=0)
    rotated: Points = (points - center) @ np.array([[cosine, sine], [-sine, cosine]]) + center
    return rotated


def clip_polygons(polygons: Iterable[Points], shape: Shape) -> tuple[Points, ...]:
    """Return the parts of ``polygons`` inside an image of ``shape``; parts without area are removed."""
    return tuple(part for polygon in polygons if len(part := _clip(polygon, shape)) >= 3)


def _clip(points: Points, shape: Shape) -> Points:
    """Return the part of the polygon ``points`` inside an image of ``shape`` (Sutherland and Hodgman, 1974)."""
    for axis, limit, sign in ((0, 0, 1), (0, shape[1], -1), (1, 0, 1), (1, shape[0], -1)):
        if not len(points):
            break
        depth = sign * (points[:, axis] - limit)  # positive inside
        kept: list[Points] = []
        for index in range(len(points)):
            before, now = depth[index - 1], depth[index]
            if (before < 0) != (now < 0):
                step = before / (before - now)
                kept.append(points[index - 1] + step * (points[index] - points[index - 1]))
            if now >= 0:
                kept.append(points[index])
        points = np.array(kept, np.float64).reshape(-1, 2)
    return points
