"""A conversion is whole, and what the target cannot hold is counted with examples."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.annotations import annotation, collection, counts, image
from toolchain.annotations import (
    WRITABLE_FORMATS,
    Conversion,
    Finding,
    open_source,
    report_path,
)
from toolchain.annotations.conversion import convert_collection
from toolchain.errors import ArtifactError, DataError

Draw = Callable[..., Path]


def test_a_conversion_writes_images_and_a_report(tmp_path: Path, draw: Draw):
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


@pytest.mark.parametrize("target", [target for target in WRITABLE_FORMATS if target != "createml"])
def test_images_without_objects_and_unused_labels_are_kept(tmp_path: Path, target: str):
    done = convert_collection(collection(image()), tmp_path / "out", target)
    assert (done.images, done.objects, done.unsupported) == (1, 0, ())
    again = open_source(tmp_path / "out", target)
    assert again.labels == ("dog", "cat")
    assert [p.annotations for p in again.images()] == [()]


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
def test_names_with_spaces_and_folders_are_kept(tmp_path: Path, draw: Draw, target: str):
    file = draw(tmp_path / "x.png", 40, 30)
    source = collection(image(annotation(), name="my folder/a b.1.png", file=file, split="test"))
    convert_collection(source, tmp_path / "out", target)
    (found,) = open_source(tmp_path / "out").images()
    assert (found.name, found.split, len(found.annotations)) == ("my folder/a b.1.png", "test", 1)
    assert found.file
    assert found.file.samefile(file)


@pytest.mark.parametrize("target", ["voc", "yolo"])
def test_names_that_differ_only_in_their_suffix_get_separate_files(tmp_path: Path, target: str):
    source = collection(image(annotation()), image(annotation(), annotation(label="cat"), name="a.jpg"))
    done = convert_collection(source, tmp_path / "out", target)
    assert counts(done.findings)["image renamed because its name is taken"] == 1
    texts = [p for p in (tmp_path / "out").rglob("a*") if p.suffix in (".xml", ".txt")]
    assert sorted(p.stem for p in texts) == ["a", "a-2"]


def test_suspicious_annotations_are_reported_and_kept_or_fixed(tmp_path: Path):
    source = collection(
        image(annotation(box=(-5.0, 0.0, 5.0, 5.0)), annotation(box=(9.0, 9.0, 4.0, 4.0)), annotation(label="@class 9"))
    )
    kept = convert_collection(source, tmp_path / "kept", "coco")
    assert counts(kept.findings) == {
        "box reaches outside the image": 1,
        "box has swapped corners": 1,
        "label is not in the list (dropped)": 1,
        "image is missing (its annotations are converted)": 1,
    }
    assert (kept.objects, kept.dropped) == (2, {"label is not in the list": 1})
    assert json.loads(report_path(tmp_path / "kept").read_text())["dropped"] == kept.dropped
    boxes = [t.box for p in open_source(tmp_path / "kept").images() for t in p.annotations]
    assert boxes == [(-5, 0, 5, 5), (9, 9, 4, 4)]
    convert_collection(source, tmp_path / "fixed", "coco", fix=True)
    boxes = [t.box for p in open_source(tmp_path / "fixed").images() for t in p.annotations]
    assert boxes == [(0, 0, 5, 5), (4, 4, 9, 9)]


def test_boxes_of_a_stored_image_are_rotated_for_yolo(tmp_path: Path, draw: Draw):
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
    assert done.dropped == {"image of unknown size": 1}


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png"])
def test_nothing_is_written_outside_the_target(tmp_path: Path, draw: Draw, target: str, name: str):
    file = draw(tmp_path / "source" / "a.png", 40, 30)
    with pytest.raises(DataError, match="leads out of its folder"):
        convert_collection(collection(image(annotation(), name=name, file=file)), tmp_path / "deep" / "out", target)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.png", "deep", "source"]


@pytest.mark.parametrize("target", WRITABLE_FORMATS)
def test_an_unsafe_split_name_is_not_used_in_paths(tmp_path: Path, draw: Draw, target: str):
    file = draw(tmp_path / "source" / "a.png", 40, 30)
    source = collection(image(annotation(), file=file, metadata={"subset": "../../evil"}))
    convert_collection(source, tmp_path / "out", target)
    assert not list(tmp_path.rglob("*evil*"))


def test_a_hidden_name_is_made_visible(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "source" / ".a.png", 40, 30)
    done = convert_collection(collection(image(annotation(), file=file, name=".day/.a.png")), tmp_path / "out", "yolo")
    assert counts(done.findings) == {"image renamed because readers skip hidden files": 1}
    assert [found.name for found in open_source(tmp_path / "out").images()] == ["_.day/_.a.png"]
