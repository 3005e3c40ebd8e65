"""A conversion is whole, and what the target cannot hold is counted with examples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchain.annotations import (
    WRITABLE_FORMATS,
    AnnotatedImage,
    Annotation,
    Collection,
    Conversion,
    Finding,
    open_source,
    report_path,
)
from toolchain.annotations.conversion import convert_collection
from toolchain.annotations.masks import to_text
from toolchain.errors import ArtifactError, DataError

Draw = Callable[..., Path]
BOX = (1.0, 2.0, 11.0, 12.0)
OUTLINE = (1.0, 2.0, 11.0, 2.0, 11.0, 12.0)


def collection(*images: AnnotatedImage, labels: tuple[str, ...] = ("dog", "cat"), **parts: Any) -> Collection:
    return Collection(**{"format": "test", "labels": labels, "images": lambda: iter(images), **parts})


def image(*annotations: Annotation, **parts: Any) -> AnnotatedImage:
    return AnnotatedImage(
        **{"name": "a.png", "file": None, "width": 40, "height": 30, "annotations": annotations, **parts}
    )


def annotation(**parts: Any) -> Annotation:
    return Annotation(**{"label": "dog", "box": BOX, **parts})


def counts(findings: tuple[Finding, ...]) -> dict[str, int]:
    return {finding.rule: finding.count for finding in findings}


def lost(tmp_path: Path, target: str, *annotations: Annotation, task: str = "", **parts: Any) -> dict[str, int]:
    return counts(
        convert_collection(collection(image(*annotations, **parts)), tmp_path / target, target, task).unsupported
    )


def test_a_conversion_is_written_with_its_pictures_and_its_losses(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "source" / "a.png", 40, 30)
    done = convert_collection(collection(image(annotation(truncated=True), file=file)), tmp_path / "out", "yolo")
    assert done == Conversion(
        source_format="test",
        target_format="yolo",
        task="detect",
        images=1,
        objects=1,
        unsupported=(Finding(rule="flag: truncated", count=1, examples=("a.png: dog",)),),
        findings=(),
    )
    assert (tmp_path / "out" / "images" / "all" / "a.png").samefile(file)
    report = json.loads(report_path(tmp_path / "out").read_text())
    assert (report["format"], report["unsupported"][0]["count"]) == ("toolchain.conversion", 1)
    assert report_path(tmp_path / "out") == tmp_path / "out.conversion.json"


LOSSES: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "polygon",
        {"polygons": (OUTLINE,)},
        {"voc": "polygon (its box is kept)", "yolo detect": "polygon (its box is kept)"},
    ),
    (
        "polygons",
        {"polygons": (OUTLINE, OUTLINE)},
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
@pytest.mark.parametrize(("parts", "expected"), [pytest.param(p, e, id=name) for name, p, e in LOSSES])
def test_what_a_target_cannot_hold_is_counted(
    tmp_path: Path, target: str, parts: dict[str, Any], expected: dict[str, str]
):
    format_, _, task = target.partition(" ")
    found = lost(tmp_path, format_, annotation(**parts), task=task)
    if target in expected:
        assert found == {expected[target]: 1}
    elif target != "yolo segment":
        assert found == {}


def test_what_pictures_and_sources_say_is_counted_too(tmp_path: Path):
    metadata = {"@voc": {"xml": ["<folder>x</folder>"]}, "subset": "train2017", "@cvat": {"xml": ["<tag />"]}}
    source = collection(image(metadata=metadata, split="train"), metadata={"@coco": {"info": {"year": 2026}}})
    assert counts(convert_collection(source, tmp_path / "out", "yolo").unsupported) == {
        "COCO's own info of the whole source": 1,
        "VOC's own folder of an image": 1,
        "CVAT's own tag of an image": 1,
        "name of a split (becomes train, val, test or all)": 1,
    }


@pytest.mark.parametrize("target", [target for target in WRITABLE_FORMATS if target != "createml"])
def test_pictures_without_objects_and_labels_without_any_stay(tmp_path: Path, target: str):
    done = convert_collection(collection(image()), tmp_path / "out", target)
    assert (done.images, done.objects, done.unsupported) == (1, 0, ())
    again = open_source(tmp_path / "out", target)
    assert again.labels == ("dog", "cat")
    assert [p.annotations for p in again.images()] == [()]


def test_create_ml_has_no_list_of_labels_and_those_of_no_object_are_listed(tmp_path: Path):
    done = convert_collection(collection(image(annotation())), tmp_path / "out", "createml")
    assert [(loss.rule, loss.examples) for loss in done.unsupported] == [("label without an object", ("cat",))]


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
def test_names_with_spaces_and_folders_stay(tmp_path: Path, draw: Draw, target: str):
    file = draw(tmp_path / "x.png", 40, 30)
    source = collection(image(annotation(), name="my folder/a b.1.png", file=file, split="test"))
    convert_collection(source, tmp_path / "out", target)
    (found,) = open_source(tmp_path / "out").images()
    assert (found.name, found.split, len(found.annotations)) == ("my folder/a b.1.png", "test", 1)
    assert found.file
    assert found.file.samefile(file)


@pytest.mark.parametrize("target", ["voc", "yolo"])
def test_names_that_differ_in_their_ending_get_files_of_their_own(tmp_path: Path, target: str):
    source = collection(image(annotation()), image(annotation(), annotation(label="cat"), name="a.jpg"))
    done = convert_collection(source, tmp_path / "out", target)
    assert counts(done.findings)["image renamed because its name is taken"] == 1
    texts = [p for p in (tmp_path / "out").rglob("a*") if p.suffix in (".xml", ".txt")]
    assert sorted(p.stem for p in texts) == ["a", "a-2"]


def test_what_looks_wrong_is_told_and_kept_or_mended(tmp_path: Path):
    source = collection(
        image(annotation(box=(-5.0, 0.0, 5.0, 5.0)), annotation(box=(9.0, 9.0, 4.0, 4.0)), annotation(label="@class 9"))
    )
    kept = convert_collection(source, tmp_path / "kept", "coco")
    assert counts(kept.findings) == {
        "box reaches outside the image": 1,
        "box has swapped corners": 1,
        "label is not in the list": 1,
        "image is missing (its annotations are converted)": 1,
    }
    boxes = [t.box for p in open_source(tmp_path / "kept").images() for t in p.annotations]
    assert boxes == [(-5, 0, 5, 5), (9, 9, 4, 4)]
    convert_collection(source, tmp_path / "mended", "coco", fix=True)
    boxes = [t.box for p in open_source(tmp_path / "mended").images() for t in p.annotations]
    assert boxes == [(0, 0, 5, 5), (4, 4, 9, 9)]


def test_boxes_of_a_stored_picture_are_turned_for_yolo(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "a.jpg", 40, 30, "JPEG", orientation=6)
    source = collection(image(annotation(box=(0.0, 20.0, 10.0, 30.0)), name="a.jpg", file=file))
    done = convert_collection(source, tmp_path / "out", "yolo")
    (found,) = open_source(tmp_path / "out").images()
    assert (found.width, found.height, found.annotations[0].box) == (30, 40, pytest.approx((0, 0, 10, 10), abs=1e-6))
    assert counts(done.findings) == {"boxes rotated with the image's EXIF orientation": 1}


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path):
    with pytest.raises(DataError, match="has no image that can be converted"):
        convert_collection(collection(), tmp_path / "out", "coco")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        convert_collection(collection(image()), tmp_path / "out", "coco")
    assert not report_path(tmp_path / "out").exists()


def test_yolo_needs_a_size(tmp_path: Path):
    source = collection(image(annotation(), width=0, height=0), image(annotation(), name="b.png"))
    done = convert_collection(source, tmp_path / "out", "yolo")
    assert done.images == 1
    assert counts(done.findings)["image of unknown size (left out)"] == 1


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png"])
def test_nothing_is_written_outside_the_target(tmp_path: Path, draw: Draw, target: str, name: str):
    file = draw(tmp_path / "source" / "a.png", 40, 30)
    with pytest.raises(DataError, match="leads out of its folder"):
        convert_collection(collection(image(annotation(), name=name, file=file)), tmp_path / "deep" / "out", target)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.png", "deep", "source"]


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
def test_a_split_that_is_no_name_is_not_written_as_one(tmp_path: Path, draw: Draw, target: str):
    file = draw(tmp_path / "source" / "a.png", 40, 30)
    source = collection(image(annotation(), file=file, metadata={"subset": "../../evil"}))
    convert_collection(source, tmp_path / "out", target)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_hidden_name_is_made_visible(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "source" / ".a.png", 40, 30)
    done = convert_collection(collection(image(annotation(), file=file, name=".day/.a.png")), tmp_path / "out", "yolo")
    assert counts(done.findings) == {"image renamed because readers skip hidden files": 1}
    assert [found.name for found in open_source(tmp_path / "out").images()] == ["_.day/_.a.png"]
