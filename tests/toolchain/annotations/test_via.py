"""VGG Image Annotator's JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchain.annotations import AnnotatedImage, convert, open_source
from toolchain.errors import DataError

Draw = Callable[..., Path]
RECT = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def written(folder: Path, *regions: dict[str, Any], **parts: Any) -> Path:
    entry = {"filename": "a.png", "size": 100, "regions": list(regions), "file_attributes": {}, **parts}
    path = folder / "via.json"
    path.write_text(json.dumps({"a.png100": entry}))
    return path


def only(source: Path) -> AnnotatedImage:
    (image,) = open_source(source).images()
    return image


def test_every_shape_gets_a_box(tmp_path: Path, draw: Draw):
    draw(tmp_path / "a.png", 40, 30)
    polygon = {"name": "polygon", "all_points_x": [1, 5, 5], "all_points_y": [2, 2, 8]}
    written(
        tmp_path,
        region(RECT, type="cat", colour="red"),
        region(polygon, type="cat"),
        region({"name": "circle", "cx": 9, "cy": 8, "r": 2}, type="cat"),
        region({"name": "ellipse", "cx": 9, "cy": 8, "rx": 4, "ry": 2, "theta": 1.5707963267948966}, type="cat"),
        region({"name": "polyline", "all_points_x": [1, 2], "all_points_y": [3, 7]}, type="dog"),
    )
    image = only(tmp_path)
    assert image.file == tmp_path / "a.png"
    assert [annotation.box for annotation in image.annotations] == [
        (1, 2, 4, 6),
        (1, 2, 5, 8),
        (7, 6, 11, 10),
        pytest.approx((7, 4, 11, 12)),
        (1, 3, 2, 7),
    ]
    assert image.annotations[0].attributes == {"colour": "red"}
    assert image.annotations[1].polygons == ((1, 2, 5, 2, 5, 8),)
    assert image.annotations[2].attributes["@via"]["shape"]["r"] == 2
    assert open_source(tmp_path).labels == ("cat", "dog")


def test_projects_and_region_mappings_of_via_1_are_read(tmp_path: Path):
    entry = {"filename": "a.png", "regions": {"0": region(RECT, name="cat")}}
    for name, value in (("one", {"_via_settings": {}, "_via_img_metadata": {"k": entry}}), ("two", {"k": entry})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "via.json").write_text(json.dumps(value))
        assert [annotation.label for annotation in only(tmp_path / name).annotations] == ["cat"]


@pytest.mark.parametrize(
    ("attributes", "label"),
    [({"Label": "cat", "a": "b"}, "cat"), ({"animal": "cat"}, "cat"), ({"type": {"cat": True, "dog": False}}, "cat")],
)
def test_the_class_is_a_known_or_the_only_attribute(tmp_path: Path, attributes: dict[str, Any], label: str):
    assert [annotation.label for annotation in only(written(tmp_path, region(RECT, **attributes))).annotations] == [
        label
    ]


def test_several_unknown_attributes_are_rejected(tmp_path: Path):
    with pytest.raises(DataError, match="animal, colour"):
        open_source(written(tmp_path, region(RECT, animal="cat", colour="red")))


def test_regions_without_attributes_get_a_default_label_and_are_counted(tmp_path: Path):
    collection = open_source(written(tmp_path, region(RECT), region(RECT)))
    assert collection.labels == ("object",)
    assert [finding.count for finding in collection.findings] == [2]


def test_an_invalid_region_does_not_stop_reading(tmp_path: Path):
    error, line, whole = only(
        written(
            tmp_path,
            region({"name": "rect", "x": None, "y": 2, "width": 3, "height": 4}, name="cat"),
            region({"name": "polygon", "all_points_x": [1], "all_points_y": [2]}, name="cat"),
            region(RECT, name="cat"),
        )
    ).annotations
    assert (bool(error.error), bool(line.error), whole.error) == (True, True, "")


def test_unsupported_features_are_reported(tmp_path: Path, draw: Draw):
    (tmp_path / "in").mkdir()
    draw(tmp_path / "in" / "a.png", 40, 30)
    circle = region({"name": "circle", "cx": 9, "cy": 8, "r": 2}, name="cat")
    written(tmp_path / "in", circle, file_attributes={"caption": "x"})
    rules = {feature.rule for feature in convert(str(tmp_path / "in"), tmp_path / "out", "coco").unsupported}
    assert rules == {"VIA's own shape of an object", "VIA's own file_attributes of an image"}
