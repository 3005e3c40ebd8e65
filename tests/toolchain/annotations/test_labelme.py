"""labelme's JSON."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toolchain.annotations import AnnotatedImage, geometry, open_source
from toolchain.annotations.masks import decode

Draw = Callable[..., Path]


def written(folder: Path, *shapes: dict[str, Any], **parts: Any) -> Path:
    value = {
        "version": "5.8.3",
        "flags": {},
        "imagePath": "a b.png",
        "imageData": None,
        "imageWidth": 8,
        "imageHeight": 6,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "a b.json"
    path.write_text(json.dumps({**value, "shapes": list(shapes), **parts}), encoding="utf-8")
    return path


def shape(kind: str, *points: tuple[float, float], **parts: Any) -> dict[str, Any]:
    return {
        "label": "cat",
        "points": [list(p) for p in points],
        "shape_type": kind,
        "group_id": None,
        "flags": {},
        **parts,
    }


def png(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def only(folder: Path) -> AnnotatedImage:
    (image,) = open_source(folder).images()
    return image


def test_shapes(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a b.png", 8, 6)
    mask = Image.new("1", (2, 2))
    mask.putpixel((1, 0), 1)
    written(
        tmp_path,
        shape("rectangle", (5, 4), (1, 2)),
        shape("polygon", (0, 0), (2, 0), (2, 2), group_id=1, description="left"),
        shape("polygon", (4, 0), (6, 0), (6, 2), group_id=1),
        shape("circle", (4, 3), (4, 5)),
        shape("mask", (3, 1), (4, 2), mask=png(mask)),
    )
    image = only(tmp_path)
    rectangle, polygons, circle, masked = image.annotations
    assert (image.file, image.width, image.height) == (tmp_path / "a b.png", 8, 6)
    assert rectangle.box == (1, 2, 5, 4)
    assert polygons.polygons == ((0, 0, 2, 0, 2, 2), (4, 0, 6, 0, 6, 2))
    assert polygons.attributes["@labelme"]["description"] == "left"
    assert circle.box == (2, 1, 6, 5)
    assert circle.attributes["@labelme"] == {"shape_type": "circle", "points": [4, 3, 4, 5]}
    assert decode(masked.mask, 8, 6)[1, 4] == 1
    assert decode(masked.mask, 8, 6).sum() == 1


def test_an_embedded_image_is_used_if_there_is_no_file(tmp_path: Path, draw: Draw):
    written(tmp_path, imageData=png(Image.new("RGB", (8, 6))))
    assert only(tmp_path).embedded
    draw(tmp_path / "a b.png", 8, 6)
    assert only(tmp_path).embedded is None


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape("polygon"), "has no points"),
        (shape("polygon", (0, 0), (1, 1)) | {"points": [[0, "x"]]}, "'x' is not a number"),
        (shape("rectangle", (0, 0)) | {"points": [[0, None], [1, 1]]}, "None is not a number"),
        (shape("circle", (0, 0)) | {"points": [[0], [1, 1]]}, "not pairs of x and y"),
        (shape("mask", (7, 5), (8, 6), mask=png(Image.new("1", (4, 4)))), "leaves its image"),
        (shape("mask", (0, 0), (1, 1), mask="%%"), "is not base64"),
    ],
)
def test_an_invalid_shape_does_not_stop_reading(tmp_path: Path, bad: dict[str, Any], message: str):
    written(tmp_path, bad, shape("rectangle", (5, 4), (1, 2)))
    error, whole = only(tmp_path).annotations
    assert message in error.error
    assert (whole.error, whole.box) == ("", (1, 2, 5, 4))


def test_an_invalid_mask_keeps_its_box(tmp_path: Path):
    written(tmp_path, shape("mask", (1, 1), (3, 2), mask="%%"))
    (found,) = only(tmp_path).annotations
    assert (found.box, found.mask, bool(found.error)) == ((1, 1, 3, 2), "", True)


def test_a_polygon_of_two_points_becomes_a_box(tmp_path: Path):
    written(tmp_path, shape("polygon", (5, 4), (1, 2)))
    (found,) = only(tmp_path).annotations
    assert (found.box, found.polygons) == ((1, 2, 5, 4), ())
    assert "2 points" in found.error


def test_one_invalid_polygon_of_a_group_keeps_the_others(tmp_path: Path):
    written(tmp_path, shape("polygon", (0, 0), (2, 0), (2, 2), group_id=1), shape("polygon", (4, 0), group_id=1))
    (found,) = only(tmp_path).annotations
    assert found.polygons == ((0, 0, 2, 0, 2, 2),)
    assert "1 points" in found.error


def test_four_corners_of_x_anylabeling_are_an_oriented_box(tmp_path: Path):
    corners = ((3, 1), (5, 3), (4, 4), (2, 2))  # by hand: sides of 2 and 1 times the square root of 2, turned by 45
    written(tmp_path, shape("rotation", *corners, direction=0.785398))
    (found,) = only(tmp_path).annotations
    assert found.rotation == pytest.approx(45)
    width, height = found.box[2] - found.box[0], found.box[3] - found.box[1]
    assert (width, height) == (pytest.approx(2 * 2**0.5), pytest.approx(2**0.5))
    assert geometry.corners(found) == pytest.approx([v for corner in corners for v in corner])


def test_the_fields_of_each_polygon_of_a_group_are_kept(tmp_path: Path):
    triangle = ((0, 0), (2, 0), (2, 2))
    written(tmp_path, *(shape("polygon", *triangle, group_id=1, description=text) for text in ("one", "two")))
    (found,) = only(tmp_path).annotations
    fields = found.attributes["@labelme"]
    assert (fields["description"], fields["others"][0]["description"]) == ("one", "two")
