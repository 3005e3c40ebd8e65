"""Each check fixes, drops, keeps or fails as its user chose, and counts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toolchain.annotations import AnnotatedImage, Annotation, Box, Collection, Finding
from toolchain.annotations.checks import CHECKS
from toolchain.annotations.checks.checker import Checker
from toolchain.errors import DataError

Draw = Callable[..., Path]


def image(*boxes: Box, label: str = "dog", **parts: Any) -> AnnotatedImage:
    annotations = tuple(Annotation(label=label, box=box) for box in boxes)
    return AnnotatedImage(
        **{"name": "a.png", "file": None, "width": 40, "height": 30, "annotations": annotations, **parts}
    )


def left(checker: Checker, *boxes: Box, **parts: Any) -> list[Box]:
    return [annotation.box for annotation in checker.check_annotations(image(*boxes, **parts)).annotations]


def checker(**actions: str) -> Checker:
    return Checker(actions, ("dog",))


@pytest.mark.parametrize(
    ("check", "box", "fixed"),
    [
        ("out_of_bounds", (-5, 2, 50, 20), (0, 2, 40, 20)),
        ("swapped_corners", (20, 10, 5, 2), (5, 2, 20, 10)),
        ("zero_area", (5, 5, 5, 10), None),
        ("zero_area", (50, 5, 60, 10), None),  # nothing of it is in the image
    ],
)
def test_problems_of_boxes_and_their_actions(check: str, box: Box, fixed: Box | None):
    for action in CHECKS[check].actions:
        made = checker(**{check: action})
        kept = left(made, (0, 0, 1, 1), box)[1:]
        assert made.found[check].count == 1
        assert made.found[check].examples == [
            f"a.png: dog at {', '.join(f'{edge:g}' for edge in made_box(check, box))}"
        ]
        if action == "fix":
            assert kept == [fixed]
        if action == "drop":
            assert kept == []
        if action == "keep":
            assert len(kept) == 1
        if action == "fail":
            with pytest.raises(DataError, match=CHECKS[check].rule):
                made.finish()
        else:
            made.finish()


def made_box(check: str, box: Box) -> Box:
    """Return the box that is reported of: one beyond its image was clipped to nothing before."""
    return (50, 5, 50, 10) if check == "zero_area" and box[0] == 50 else box


def test_rounding_errors_are_clipped_without_a_finding():
    made = checker(out_of_bounds="fail")
    assert left(made, (-0.00001, 0, 10, 30.00001)) == [(0, 0, 10, 30)]
    made.finish()


def test_duplicate_objects():
    made = checker()
    assert left(made, (0, 0, 5, 5), (0, 0, 5, 5), (0, 0, 5, 6)) == [(0, 0, 5, 5), (0, 0, 5, 6)]
    assert made.found["duplicate_object"].count == 1
    assert left(checker(duplicate_object="keep"), (0, 0, 5, 5), (0, 0, 5, 5)) == [(0, 0, 5, 5)] * 2


def test_unknown_labels():
    made = checker(unknown_label="drop")
    assert left(made, (0, 0, 5, 5), label="@class 7") == []
    assert made.found["unknown_label"].examples == ["a.png: class 7 has no name (1 class has a name)"]
    assert made.dropped_objects == {"unknown_label": 1}
    assert [finding.rule for finding in made.findings()] == ["label is not in the list (dropped)"]


def test_corners_of_a_rotated_box_may_be_out_of_bounds():
    annotation = Annotation(label="dog", box=(0, 0, 40, 30), rotation=45)
    made = checker(out_of_bounds="fail")
    assert made.check_annotations(image(annotations=(annotation,))).annotations == (annotation,)


def test_duplicate_names(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "a.png", 40, 30)
    for action, names in (("fix", ["a.png", "a-2.png"]), ("drop", ["a.png"]), ("fail", ["a.png"])):
        made = checker(duplicate_name=action)
        found = [made.check(image(file=file)), made.check(image(file=file))]
        assert [f[0].name for f in found if f] == names
        assert made.found["duplicate_name"].count == 1
    made = checker()
    assert made.check(image(file=file, split="train"))
    assert made.check(image(file=file, split="test"))
    made.finish()


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"<html>", "is not a")])
def test_files_that_are_not_images(tmp_path: Path, content: bytes, message: str):
    file = tmp_path / "a.png"
    file.write_bytes(content)
    made = checker()
    assert made.check(image(file=file)) is None
    with pytest.raises(DataError, match=message):
        made.finish()


def test_missing_images():
    made = checker(missing_image="drop")
    assert made.check(image()) is None
    made.finish()
    assert made.dropped_images["image is missing"].count == 1


def test_oversized_images(tmp_path: Path, draw: Draw):
    made = Checker({}, ("dog",), max_pixels=1000)
    assert made.check(image(file=draw(tmp_path / "a.png", 40, 30))) is None
    with pytest.raises(DataError, match=r"more pixels than max_pixels \(1 times, such as a\.png has 40 x 30 pixels"):
        made.finish()


def test_an_oversized_image_is_not_decoded(tmp_path: Path):
    file = tmp_path / "a.png"
    Image.new("1", (30_000, 30_000)).save(file)
    made = checker(oversized_image="drop")
    assert made.check(image(file=file)) is None
    assert made.found["oversized_image"].count == 1


def test_an_animation_keeps_its_first_frame(tmp_path: Path):
    file = tmp_path / "a.gif"
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    found = checker().check(image(file=file))
    assert found
    assert found[1].startswith(b"\x89PNG")
    assert checker(animated_image="drop").check(image(file=file)) is None


def test_size_mismatches(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "a.png", 80, 30)
    made = checker(size_mismatch="fix")
    found = made.check(image((10, 10, 20, 20), file=file))
    assert found
    assert (found[0].width, found[0].height, found[0].annotations[0].box) == (80, 30, (20, 10, 40, 20))
    assert made.found["size_mismatch"].examples == ["a.png: annotated as 40 x 30, but it is 80 x 30"]
    kept = checker(size_mismatch="keep").check(image((10, 10, 20, 20), file=file))
    assert kept
    assert (kept[0].width, kept[0].annotations[0].box) == (80, (10, 10, 20, 20))
    unsaid = checker().check(image(file=file, width=0, height=0))
    assert unsaid
    assert unsaid[0].width == 80


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "I;16"), ("PNG", "RGBA"), ("JPEG", "CMYK"), ("PNG", "L"), ("PNG", "P")]
)
def test_images_of_every_mode_are_kept_unchanged(tmp_path: Path, kind: str, mode: str):
    file = tmp_path / f"a.{kind.lower()}"
    Image.new(mode, (40, 30)).save(file, kind)
    found = checker().check(image(file=file))
    assert found
    assert found[1] == file.read_bytes()


def test_findings_of_the_source_are_counted():
    rule = "duplicate_ids: duplicate COCO image id"
    collection = Collection(
        format="coco",
        labels=(),
        images=lambda: iter(()),
        metadata={"origin": "shifted", "origin_evidence": "no 0"},
        findings=(Finding(rule=rule, count=3, examples=("a.json: 7",)),),
    )
    made = checker(duplicate_ids="fix")
    made.add_source(collection)
    made.finish()
    assert made.found["duplicate_ids"].count == 3
    assert made.found["one_based_coordinates"].examples == ["read as shifted: no 0"]
    made = checker(one_based_coordinates="fail")
    made.add_source(collection)
    with pytest.raises(DataError, match=r"duplicate COCO id.*VOC coordinates start at 1"):
        made.finish()


def test_images_with_duplicate_ids_can_be_dropped(tmp_path: Path, draw: Draw):
    file = draw(tmp_path / "a.png", 40, 30)
    made = checker(duplicate_ids="drop")
    metadata = {"@coco": {"id": 1}}
    found = [made.check(image(file=file, name=name, metadata=metadata)) for name in ("a.png", "b.png")]
    assert [bool(f) for f in found] == [True, False]


def test_an_out_of_bounds_polygon_is_clipped_with_its_box():
    polygon = (0.0, 0.0, 50.0, 0.0, 50.0, 20.0)
    annotation = Annotation(label="dog", box=(0, 0, 40, 20), polygons=(polygon,))
    made = checker()
    (found,) = made.check_annotations(image(annotations=(annotation,))).annotations
    assert max(found.polygons[0]) == 40
    assert made.found["out_of_bounds"].count == 1


def test_an_invalid_polygon_keeps_its_box_or_drops_the_object():
    annotation = Annotation(label="dog", box=(0, 0, 5, 5), error="a polygon has 2 points")
    boxless = Annotation(label="dog", box=(0, 0, 0, 0), error="bbox: None is not a number")
    for action, kept in (("fix", 1), ("drop", 0), ("fail", 0)):
        made = checker(invalid_shape=action)
        found = made.check_annotations(image(annotations=(annotation, boxless))).annotations
        assert [(t.box, t.error) for t in found] == [((0, 0, 5, 5), "")] * kept
        assert made.found["invalid_shape"].examples[0] == "a.png: dog: a polygon has 2 points"
        assert made.found["invalid_shape"].count == 2
    with pytest.raises(DataError, match="box, polygon or mask is not valid"):
        made.finish()
