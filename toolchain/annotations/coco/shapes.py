"""Shapes in COCO's JSON: boxes, polygons, both forms of RLE, and keypoints, as pycocotools reads them."""

import ast
from dataclasses import replace
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.shapes import (
    EMPTY_BOX,
    MIN_POINTS,
    Shape,
    from_polygons,
    is_pair,
    parse_numbers,
    shape_or_error,
    with_box,
    with_keypoints,
)
from toolchain.annotations.types import Box
from toolchain.errors import DataError

UNCOMPRESSED = "uncompressed"  # encoding of a mask that is given as plain counts, and is written as such again


def parse_shape(entry: dict[str, Any], size: tuple[int, int]) -> tuple[Shape, str | None]:
    """Return the shape of ``entry`` in an image of ``size``, and the encoding of its mask unless it is compressed."""
    value, encoding = entry.get("segmentation"), None
    if isinstance(value, dict):
        shape = shape_or_error(lambda: _mask(value, size))
        encoding = UNCOMPRESSED if shape.mask and isinstance(value.get("counts"), list) else None
    else:
        shape = shape_or_error(lambda: from_polygons(_polygons(value)))
    if bbox := entry.get("bbox"):
        shape = with_box(shape, lambda: _box(bbox))
    elif shape.box == EMPTY_BOX and not shape.error:
        shape = replace(shape, error="it has neither a bbox nor a segmentation")
    return (with_keypoints(shape, points) if (points := entry.get("keypoints")) else shape), encoding


def _box(bbox: Any) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DataError(f"bbox {str(bbox)[:60]} is not left, top, width, height")
    left, top, width, height = parse_numbers(bbox, "bbox")
    return left, top, left + width, top + height


def _polygons(value: Any) -> list[Any]:
    """Return the polygons of a segmentation, which can be one flat list, or have its points in pairs."""
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        raise DataError(f"segmentation {str(value)[:60]!r} is neither polygons nor RLE")
    is_flat = bool(value) and not any(isinstance(part, list | dict) for part in value)
    is_pairs = len(value) >= MIN_POINTS and all(is_pair(part) for part in value)
    return [value] if is_flat or is_pairs else value


def _mask(value: dict[str, Any], size: tuple[int, int]) -> Shape:
    """Return the mask of the RLE ``value``, which gives its size or has that of its image."""
    counts, own_size = value.get("counts"), mask_size(value)
    if counts is None:
        raise DataError("a mask has no counts")
    width, height = own_size if any(own_size) else size
    if all(size) and (width, height) != size:
        raise DataError(f"a mask is {width} x {height}, its image {size[0]} x {size[1]}")
    if isinstance(counts, list):
        text = masks.to_text([int(count) for count in parse_numbers(counts, "counts")])
    else:
        text = _rle_text(str(counts))
    if not (width and height) or sum(masks.to_counts(text)) != width * height:
        raise DataError(f"a mask's RLE does not add up to {width} x {height} pixels")
    return Shape(mask=text, box=masks.box_of(text, width, height))


def mask_size(value: Any) -> tuple[int, int]:
    """Return the width and height that the RLE ``value`` gives; zeros if it gives none."""
    size = value.get("size") if isinstance(value, dict) else None
    if not isinstance(size, list) or len(size) != 2:
        return 0, 0
    try:
        height, width = parse_numbers(size, "size")
    except DataError:
        return 0, 0
    return int(width), int(height)


def _rle_text(text: str) -> str:
    """Return RLE as it is, or the content of Python's bytes that were written with str(): b'...'."""
    if not text.startswith(("b'", 'b"')):
        return text
    try:
        return str(ast.literal_eval(text).decode("ascii"))
    except (ValueError, SyntaxError, UnicodeDecodeError) as error:
        raise DataError(f"RLE {text[:40]!r} is not valid") from error
