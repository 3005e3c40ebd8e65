"""labelme's JSON, one file a picture; it is only read.

Outlines with the same label and group are one object. What is neither box, outline nor mask (circles, lines, points)
is kept as a box around it, with its own points among the attributes.
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
from toolchain.annotations.files import kind_of_json, number, parse_json, tidy
from toolchain.annotations.geometry import CORNER_TOLERANCE, oriented_box
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import LABELME, Box, Collection, Picture, Thing, clean, envelope
from toolchain.annotations.shapes import Shape, attempt, from_polygons, is_pair, numbers
from toolchain.errors import DataError
from toolchain.image_files import files_under, is_image, readable

KIND = "labelme"

POLYGON, RECTANGLE, MASK = "polygon", "rectangle", "mask"
KNOWN = ("label", "points", "shape_type", "mask")
ROTATION = "rotation"  # X-AnyLabeling's oriented box: four corners


def is_labelme(value: object) -> bool:
    """Return whether the JSON ``value`` has labelme's parts."""
    return isinstance(value, dict) and isinstance(value.get("shapes"), list) and "imagePath" in value


def read(folder: Path, pictures: Path | None = None) -> Collection:
    """Return the annotations in the JSON files of ``folder`` and below; ``pictures`` is where these are, if apart."""
    labels: set[str] = set()
    images = ImageLookup(folder, pictures)
    files = []
    for path in files_under(folder, ".json"):
        if kind_of_json(path) == KIND and is_labelme(value := parse_json(path)):
            files.append(path)
            labels |= {str(shape.get("label", "")) for shape in value["shapes"]}

    def each() -> Iterator[Picture]:
        for path in files:
            yield _picture(path, images)

    return Collection(format=KIND, labels=tuple(sorted(labels)), pictures=each)


def _picture(path: Path, images: ImageLookup) -> Picture:
    value = parse_json(path)
    given = str(value["imagePath"])
    base = PurePosixPath(given.replace("\\", "/")).name
    inner = path.relative_to(images.root).parent
    width, height = (int(number(value.get(side) or 0, str(path))) for side in ("imageWidth", "imageHeight"))
    file = images.find(path, base, given) if is_image(Path(base)) or not value.get("imageData") else None
    embedded = None if file or not value.get("imageData") else _bytes(value["imageData"], path)
    shown = (
        base
        if is_image(Path(base)) or embedded is None
        else f"{PurePosixPath(base or path.name).stem}{_ending(embedded)}"
    )
    known = ("shapes", "imagePath", "imageData", "imageWidth", "imageHeight")
    said = {key: part for key, part in value.items() if key not in known}
    return Picture(
        name=tidy(readable((inner / shown).as_posix())),
        file=file,
        width=width,
        height=height,
        things=tuple(_things(value["shapes"], (width, height), path)),
        about=clean(**{LABELME: {**said, **clean(imagePath=given if given != shown else None)}}),
        embedded=embedded,
        folder=inner.as_posix(),
    )


def _ending(data: bytes) -> str:
    """Return the ending of the name of an image file that holds ``data``; labelme writes PNG where it has a choice."""
    return ".jpg" if data.startswith(b"\xff\xd8") else ".png"


def _things(shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Iterator[Thing]:
    fresh = count()
    groups: dict[object, list[dict[str, Any]]] = {}
    for shape in shapes:
        together = shape.get("group_id") is not None and (shape.get("shape_type") or POLYGON) == POLYGON
        groups.setdefault((shape.get("label"), shape["group_id"]) if together else next(fresh), []).append(shape)
    for group in groups.values():
        yield _thing(group, size, path)


def _thing(shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Thing:
    kind = str(shapes[0].get("shape_type") or POLYGON)
    shape = attempt(lambda: _shape(kind, shapes, size, path))
    said = {key: part for key, part in shapes[0].items() if key not in KNOWN}
    others = [{key: part for key, part in other.items() if key not in KNOWN} for other in shapes[1:]]
    if any(other != said for other in others):
        said["others"] = others  # of the group's other polygons
    if kind not in (RECTANGLE, POLYGON, ROTATION, MASK):
        points = shapes[0].get("points")
        said |= {"shape_type": kind, "points": points if shape.broken else _flat(points)}
    if kind == ROTATION:
        said.pop("direction", None)  # the angle of the four corners, in radians
    return Thing(
        label=str(shapes[0].get("label", "")),
        **vars(shape),
        attributes=clean(**{LABELME: clean(**said)}),
    )


def _shape(kind: str, shapes: list[dict[str, Any]], size: tuple[int, int], path: Path) -> Shape:
    if kind == POLYGON and any(shape.get("points") for shape in shapes):
        return from_polygons([shape.get("points") for shape in shapes])
    points = numbers(_flat(shapes[0].get("points")), "points")
    if not points:
        raise DataError(f"a {kind} has no points")
    if kind == ROTATION and (oriented := oriented_box(points, CORNER_TOLERANCE * max(*size, 1))):
        return Shape(box=oriented[0], rotation=oriented[1])
    if kind == ROTATION:
        return from_polygons([points])
    box = envelope((points,))
    if kind == MASK:
        return replace(attempt(lambda: Shape(mask=_mask(shapes[0], box, size, path))), box=box)
    return Shape(box=_circle(points) if kind == "circle" else box)


def _flat(points: Any) -> list[Any]:
    """Return points x, y as one list of numbers."""
    if not isinstance(points, list) or not all(is_pair(point) for point in points):
        raise DataError(f"points {str(points)[:60]} are not pairs of x and y")
    return [value for point in points for value in point]


def _circle(points: tuple[float, ...]) -> Box:
    """Return the box around a circle given by its middle and a point on it."""
    x, y = points[:2]
    radius = float(np.hypot(points[2] - x, points[3] - y)) if len(points) >= 4 else 0.0
    return x - radius, y - radius, x + radius, y + radius


def _mask(shape: dict[str, Any], box: Box, size: tuple[int, int], path: Path) -> str:
    """Return the run lengths of a mask that is given as a PNG whose left upper pixel is at the first point."""
    from toolchain.image_decoding import decode

    part = (decode(_bytes(str(shape.get("mask")), path), f"{path}: a mask", channels=1)[:, :, 0] > 0).astype(np.uint8)
    left, top = round(box[0]), round(box[1])
    whole = np.zeros((size[1], size[0]), np.uint8)
    if left < 0 or top < 0 or top + part.shape[0] > size[1] or left + part.shape[1] > size[0]:
        raise DataError(f"{path}: a mask of {part.shape[1]} x {part.shape[0]} at {left}, {top} leaves its picture")
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return masks.encode(whole)


def _bytes(text: str, path: Path) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"{path}: a picture in it is not base64: {error}") from error
