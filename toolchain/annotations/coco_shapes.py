"""Shapes in COCO's JSON: boxes, polygons, run lengths of both forms and key points, as pycocotools reads them."""

import ast
from dataclasses import replace
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.model import Box
from toolchain.annotations.shapes import (
    MIN_POINTS,
    NOWHERE,
    Shape,
    attempt,
    from_polygons,
    is_pair,
    numbers,
    with_box,
    with_keypoints,
)
from toolchain.errors import DataError

UNCOMPRESSED = "uncompressed"  # a mask that stood as plain counts, and is written so again


def shape_of(entry: dict[str, Any], size: tuple[int, int]) -> tuple[Shape, str | None]:
    """Return the geometry of ``entry`` in a picture of ``size``, and how its mask was written if that was otherwise."""
    value, form = entry.get("segmentation"), None
    if isinstance(value, dict):
        shape = attempt(lambda: _masked(value, size))
        form = UNCOMPRESSED if shape.mask and isinstance(value.get("counts"), list) else None
    else:
        shape = attempt(lambda: from_polygons(_parts(value)))
    if bbox := entry.get("bbox"):
        shape = with_box(shape, lambda: _box(bbox))
    elif shape.box == NOWHERE and not shape.broken:
        shape = replace(shape, broken="it has neither a bbox nor a segmentation")
    return (with_keypoints(shape, points) if (points := entry.get("keypoints")) else shape), form


def _box(bbox: Any) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DataError(f"bbox {str(bbox)[:60]} is not left, top, width, height")
    left, top, width, height = numbers(bbox, "bbox")
    return left, top, left + width, top + height


def _parts(value: Any) -> list[Any]:
    """Return the polygons of a segmentation: it can be one flat list, or have its points in pairs."""
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise DataError(f"segmentation {str(value)[:60]!r} is neither polygons nor run lengths")
    is_flat = bool(value) and not any(isinstance(part, list | dict) for part in value)
    is_pairs = len(value) >= MIN_POINTS and all(is_pair(part) for part in value)
    return [value] if is_flat or is_pairs else value


def _masked(value: dict[str, Any], size: tuple[int, int]) -> Shape:
    """Return the mask of the run lengths ``value``, which say their size or have that of their picture."""
    counts, own_size = value.get("counts"), size_of_mask(value)
    if counts is None:
        raise DataError("a mask has no counts")
    width, height = own_size if any(own_size) else size
    if all(size) and (width, height) != size:
        raise DataError(f"a mask is {width} x {height}, its picture {size[0]} x {size[1]}")
    if isinstance(counts, list):
        text = masks.to_text([int(count) for count in numbers(counts, "counts")])
    else:
        text = _text_of_bytes(str(counts))
    if not (width and height) or sum(masks.to_counts(text)) != width * height:
        raise DataError(f"a mask's run lengths do not add up to {width} x {height} pixels")
    return Shape(mask=text, box=masks.box_of(text, width, height))


def size_of_mask(value: Any) -> tuple[int, int]:
    """Return the width and height that the run lengths ``value`` say; zeros when they say none."""
    stated = value.get("size") if isinstance(value, dict) else None
    if not isinstance(stated, list) or len(stated) != 2:
        return 0, 0
    try:
        height, width = numbers(stated, "size")
    except DataError:
        return 0, 0
    return int(width), int(height)


def _text_of_bytes(text: str) -> str:
    """Return run lengths as they are; of Python's bytes that were written with str(), b'...', what is inside."""
    if not text.startswith(("b'", 'b"')):
        return text
    try:
        return str(ast.literal_eval(text).decode("ascii"))
    except (ValueError, SyntaxError, UnicodeDecodeError) as error:
        raise DataError(f"{text[:40]!r} are no run lengths") from error
