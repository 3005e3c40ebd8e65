"""labelme's JSON, one file per image. It is read, not written.

Polygons with the same label and group are one object. Other shapes than boxes, polygons and masks (circles, lines,
points) become the box around them, with their points among the attributes.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from toolchain.annotations import masks
from toolchain.annotations.files import json_format, parse_json, parse_number, safe_name
from toolchain.annotations.geometry import CORNER_TOLERANCE, oriented_box
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.shapes import Shape, from_polygons, is_pair, parse_numbers, shape_or_error
from toolchain.annotations.types import (
    LABELME,
    AnnotatedImage,
    Annotation,
    Box,
    Collection,
    bounding_box,
    non_empty,
)
from toolchain.errors import DataError
from toolchain.image_files import files_under, is_image, readable

FORMAT = "labelme"

POLYGON, RECTANGLE, MASK = "polygon", "rectangle", "mask"
ROTATION = "rotation"  # X-AnyLabeling's oriented box: four corners
SHAPE_KEYS = ("label", "points", "shape_type", "mask")  # that an Annotation holds
IMAGE_KEYS = ("shapes", "imagePath", "imageData", "imageWidth", "imageHeight")  # that an AnnotatedImage holds


def is_labelme(value: object) -> bool:
    """Return whether the JSON ``value`` has labelme's keys."""
    return isinstance(value, dict) and isinstance(value.get("shapes"), list) and "imagePath" in value


def read(folder: Path, images_dir: Path | None = None) -> Collection:
    """Return the annotations in the JSON files of ``folder`` and below; ``images_dir`` may hold the images."""
    labels: set[str] = set()
    lookup = ImageLookup(folder, images_dir)
    files = []
    for path in files_under(folder, ".json"):
        if json_format(path) == FORMAT and is_labelme(value := parse_json(path)):
            files.append(path)
            labels |= {str(shape.get("label", "")) for shape in value["shapes"]}

    def images() -> Iterator[AnnotatedImage]:
        return (_image(path, lookup) for path in files)

    return Collection(format=FORMAT, labels=tuple(sorted(labels)), images=images)


def _image(path: Path, lookup: ImageLookup) -> AnnotatedImage:
    value = parse_json(path)
    given = str(value["imagePath"])
    base = PurePosixPath(given.replace("\\", "/")).name
    has_data, has_image_name = bool(value.get("imageData")), is_image(Path(base))
    file = lookup.find(path, base, given) if has_image_name or not has_data else None
    embedded = _decode_base64(value["imageData"], path) if has_data and not file else None
    is_named = has_image_name or embedded is None
    name = base if is_named else f"{PurePosixPath(base or path.name).stem}{_suffix(embedded or b'')}"
    width, height = (int(parse_number(value.get(side) or 0, str(path))) for side in ("imageWidth", "imageHeight"))
    folder = path.relative_to(lookup.root).parent
    fields = {key: part for key, part in value.items() if key not in IMAGE_KEYS}
    return AnnotatedImage(
        name=safe_name(readable((folder / name).as_posix())),
        file=file,
        width=width,
        height=height,
        annotations=tuple(_annotations(value["shapes"], (width, height), path)),
        metadata=non_empty(**{LABELME: {**fields, **non_empty(imagePath=given if given != name else None)}}),
        embedded=embedded,
        folder=folder.as_posix(),
    )


def _suffix(data: bytes) -> str:
    """Return the suffix for an image file of ``data``; labelme writes JPEG or PNG."""
    return ".jpg" if data.startswith(b"\xff\xd8") else ".png"


def _annotations(shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Iterator[Annotation]:
    unique = count()
    groups: dict[object, list[dict[str, Any]]] = {}
    for shape in shapes:
        is_grouped = shape.get("group_id") is not None and (shape.get("shape_type") or POLYGON) == POLYGON
        groups.setdefault((shape.get("label"), shape["group_id"]) if is_grouped else next(unique), []).append(shape)
    for group in groups.values():
        yield _annotation(group, size, path)


def _annotation(shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Annotation:
    shape_type = str(shapes[0].get("shape_type") or POLYGON)
    shape = shape_or_error(lambda: _shape(shape_type, shapes, size, path))
    fields, *others = ({key: part for key, part in each.items() if key not in SHAPE_KEYS} for each in shapes)
    if any(other != fields for other in others):
        fields["others"] = others  # of the group's other polygons
    if shape_type not in (RECTANGLE, POLYGON, ROTATION, MASK):
        points = shapes[0].get("points")
        fields |= {"shape_type": shape_type, "points": points if shape.error else _flatten(points)}
    if shape_type == ROTATION:
        fields.pop("direction", None)  # the angle of the four corners, in radians
    return Annotation(
        label=str(shapes[0].get("label", "")),
        **vars(shape),
        attributes=non_empty(**{LABELME: non_empty(**fields)}),
    )


def _shape(shape_type: str, shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Shape:
    if shape_type == POLYGON and any(shape.get("points") for shape in shapes):
        return from_polygons([shape.get("points") for shape in shapes])
    points = parse_numbers(_flatten(shapes[0].get("points")), "points")
    if not points:
        raise DataError(f"a {shape_type} has no points")
    if shape_type == ROTATION and (oriented := oriented_box(points, CORNER_TOLERANCE * max(*size, 1))):
        return Shape(box=oriented[0], rotation=oriented[1])
    if shape_type == ROTATION:
        return from_polygons([points])
    box = bounding_box((points,))
    if shape_type == MASK:
        return replace(shape_or_error(lambda: Shape(mask=_mask(shapes[0], box, size, path))), box=box)
    return Shape(box=_circle_box(points) if shape_type == "circle" else box)


def _flatten(points: Any) -> list[Any]:
    """Return pairs of x and y as one list of numbers."""
    if not isinstance(points, list) or not all(is_pair(point) for point in points):
        raise DataError(f"points {str(points)[:60]} are not pairs of x and y")
    return [value for point in points for value in point]


def _circle_box(points: tuple[float, ...]) -> Box:
    """Return the box around a circle given by its center and a point on it."""
    x, y = points[:2]
    radius = float(np.hypot(points[2] - x, points[3] - y)) if len(points) >= 4 else 0.0
    return x - radius, y - radius, x + radius, y + radius


def _mask(shape: dict[str, Any], box: Box, size: tuple[int, int], path: Path) -> str:
    """Return the RLE of a mask that is given as a PNG whose top left pixel is at the first point."""
    from toolchain.image_decoding import decode

    data = _decode_base64(str(shape.get("mask")), path)
    part = (decode(data, f"{path}: a mask", channels=1)[:, :, 0] > 0).astype(np.uint8)
    left, top = round(box[0]), round(box[1])
    mask = np.zeros((size[1], size[0]), np.uint8)
    if left < 0 or top < 0 or top + part.shape[0] > size[1] or left + part.shape[1] > size[0]:
        raise DataError(f"{path}: a mask of {part.shape[1]} x {part.shape[0]} at {left}, {top} leaves its image")
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return masks.encode(mask)


def _decode_base64(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{path}: its embedded image is not base64: {error}") from error
