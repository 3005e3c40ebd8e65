"""Features that a target format cannot represent are counted, with examples."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.annotations import POLYGON, annotation, collection, counts, image
from toolchain.annotations import Annotation
from toolchain.annotations.conversion import convert_collection
from toolchain.annotations.masks import to_text


def lost(tmp_path: Path, target: str, *annotations: Annotation, task: str = "", **parts: Any) -> dict[str, int]:
    return counts(
        convert_collection(collection(image(*annotations, **parts)), tmp_path / target, target, task).unsupported
    )


FEATURES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "polygon",
        {"polygons": (POLYGON,)},
        {"voc": "polygon (its box is kept)", "yolo detect": "polygon (its box is kept)"},
    ),
    (
        "polygons",
        {"polygons": (POLYGON, POLYGON)},
        {
            **dict.fromkeys(("voc", "yolo detect"), "polygon (its box is kept)"),
            "yolo segment": "several polygons of one object (joined by lines)",
            "cvat": "several polygons of one object (each becomes an object)",
        },
    ),
    (
        "another box",
        {"polygons": ((1.0, 2.0, 5.0, 2.0, 5.0, 12.0),)},
        {
            **dict.fromkeys(("voc", "yolo detect"), "polygon (its box is kept)"),
            "yolo segment": "box that does not match its polygon (the polygon is kept)",
            "cvat": "box that does not match its polygon (the polygon is kept)",
        },
    ),
    (
        "mask",
        {"mask": to_text([3, 2, 1195]), "box": (0.0, 3.0, 1.0, 5.0)},
        {
            **dict.fromkeys(("voc", "yolo detect"), "mask (its box is kept)"),
            "yolo segment": "mask (becomes a polygon along its pixels)",
        },
    ),
    (
        "another box than the mask's",
        {"mask": to_text([3, 2, 1195])},
        {
            **dict.fromkeys(("voc", "yolo detect"), "mask (its box is kept)"),
            "cvat": "box that does not match its mask (the mask is kept)",
        },
    ),
    (
        "rotation",
        {"rotation": 30.0},
        {
            "voc": "rotation of a box (its upright box is kept)",
            "yolo detect": "rotation of a box (its upright box is kept)",
        },
    ),
    (
        "crowd",
        {"crowd": True},
        dict.fromkeys(("voc", "yolo detect", "cvat"), "crowd (becomes one object)"),
    ),
    ("difficult", {"difficult": True}, {"yolo detect": "flag: difficult"}),
    ("occluded", {"occluded": True}, {"yolo detect": "flag: occluded"}),
    ("attribute", {"attributes": {"colour": "red"}}, {"yolo detect": "attribute: colour"}),
    (
        "number",
        {"attributes": {"age": 3}},
        {
            "yolo detect": "attribute: age",
            "voc": "type of an attribute (becomes text): age",
            "cvat": "type of an attribute (becomes text): age",
        },
    ),
    (
        "list",
        {"attributes": {"ages": [3]}},
        dict.fromkeys(("yolo detect", "voc", "cvat"), "attribute: ages"),
    ),
    (
        "track",
        {"attributes": {"track_id": 3}},
        {
            "yolo detect": "track",
            **dict.fromkeys(("voc", "coco", "cvat"), "track (its number is kept as an attribute)"),
        },
    ),
    (
        "of COCO",
        {"attributes": {"@coco": {"id": 5}}},
        dict.fromkeys(("voc", "cvat", "yolo detect"), "COCO's own id of an object"),
    ),
    (
        "of VOC",
        {"attributes": {"@voc": {"pose": "Left"}}},
        dict.fromkeys(("coco", "cvat", "yolo detect"), "VOC's own pose of an object"),
    ),
    ("nothing", {"attributes": {"@voc": {"pose": "Unspecified"}}}, {}),
    (
        "polyline",
        {"attributes": {"@cvat": {"element": '<polyline label="dog" points="1,2;3,4" />'}}},
        dict.fromkeys(("coco", "voc", "yolo detect"), "CVAT's own shape of an object"),
    ),
]


@pytest.mark.parametrize("target", ["voc", "coco", "cvat", "yolo detect", "yolo segment"])
@pytest.mark.parametrize(("parts", "expected"), [pytest.param(p, e, id=name) for name, p, e in FEATURES])
def test_unsupported_features_of_objects_are_counted(
    tmp_path: Path, target: str, parts: dict[str, Any], expected: dict[str, str]
):
    format_, _, task = target.partition(" ")
    found = lost(tmp_path, format_, annotation(**parts), task=task)
    if target in expected:
        assert found == {expected[target]: 1}
    elif target != "yolo segment":
        assert found == {}


def test_unsupported_metadata_of_images_and_sources_is_counted(tmp_path: Path):
    metadata = {"@voc": {"xml": ["<folder>x</folder>"]}, "subset": "train2017", "@cvat": {"xml": ["<tag />"]}}
    source = collection(image(metadata=metadata, split="train"), metadata={"@coco": {"info": {"year": 2026}}})
    assert counts(convert_collection(source, tmp_path / "out", "yolo").unsupported) == {
        "COCO's own info of the whole source": 1,
        "VOC's own folder of an image": 1,
        "CVAT's own tag of an image": 1,
        "name of a split (becomes train, val, test or all)": 1,
    }


def test_create_ml_has_no_label_list_and_unused_labels_are_reported(tmp_path: Path):
    done = convert_collection(collection(image(annotation())), tmp_path / "out", "createml")
    assert [(feature.rule, feature.examples) for feature in done.unsupported] == [("label without an object", ("cat",))]
