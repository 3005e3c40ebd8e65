import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from toolchain import image_decoding
from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.image import IMAGE_TYPE, METADATA, OBJECTS_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.augment import images as step
from toolchain.augment.images import Config, run
from toolchain.errors import ConfigError, DataError

COMMON = [("row", pa.int64()), ("image", IMAGE_TYPE), ("width", pa.int64()), ("height", pa.int64())]
CLASSES = pa.schema([*COMMON, ("label", pa.int64())])
BOXES = pa.schema([*COMMON, ("objects", OBJECTS_TYPE), (METADATA, pa.string())])
FLIP = "- HorizontalFlip: {p: 1}"


def annotation(box: list[float], **more: Any) -> dict[str, Any]:
    plain = {"label": 0, "rotation": 0.0, "polygons": [], "mask": "", "crowd": False, "difficult": False}
    return plain | {"truncated": False, "occluded": False, "attributes": "{}", "box": box} | more


def image_row(row: int, height: int = 40, width: int = 60, kind: str = "PNG") -> dict[str, Any]:
    pixels = np.random.default_rng(row).integers(0, 256, (height, width, 3), np.uint8)
    image = {"bytes": image_decoding.encode(pixels, kind), "path": f"some/{row}.{kind.lower()}"}
    return {"row": row, "image": image, "width": width, "height": height, "label": row % 2, "metadata": "{}"}


def write_dataset(path: Path, schema: pa.Schema = CLASSES, **splits: list[dict[str, Any]]) -> Path:
    with new_dataset(path, schema, Work("test.make", None), labels=("one", "two")) as writer:
        for split, rows in splits.items():
            kept = [{name: row[name] for name in schema.names} for row in rows]
            writer.write(split, pa.Table.from_pylist(kept, schema=schema))
    return path


def augmented(tmp_path: Path, **settings: Any) -> Dataset:
    run(tmp_path / "in", tmp_path / "out", Config(**settings))
    return open_dataset(tmp_path / "out")


def pixels_of(row: dict[str, Any]) -> np.ndarray:
    return image_decoding.decode(row["image"]["bytes"], "it")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    rows = [image_row(row) for row in range(30)]
    return write_dataset(tmp_path / "in", train=rows[:20], validation=rows[20:25], test=rows[25:])


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    rows = [
        image_row(row) | {"objects": [annotation([5, 5, 25, 30]), annotation([30, 10, 55, 35])]} for row in range(12)
    ]
    return write_dataset(tmp_path / "in", BOXES, train=rows[:10], test=rows[10:])


def test_copies_keep_the_label_and_row_of_their_original(classes: Path, tmp_path: Path):
    rows = augmented(tmp_path, fraction=1.0, policy=FLIP).table("train").to_pylist()
    originals = {row["row"]: row for row in rows if not row["augmented"]}
    copies = [row for row in rows if row["augmented"]]
    assert len(originals) == len(copies) == 20
    for copy in copies:
        original = originals[copy["row"]]
        assert copy["label"] == original["label"]
        assert copy["image"]["path"] == f"some/{copy['row']}_augmented_0.png"
        assert np.array_equal(pixels_of(copy), pixels_of(original)[:, ::-1])


def test_other_splits_are_unchanged(classes: Path, tmp_path: Path):
    before, after = open_dataset(classes), augmented(tmp_path, fraction=1.0)
    for split in ("validation", "test"):
        rows = after.table(split)
        assert rows.column("augmented").to_pylist() == [False] * 5
        assert rows.drop_columns("augmented").equals(before.table(split))


def test_share_and_copies_set_the_number_of_copies(classes: Path, tmp_path: Path):
    rows = augmented(tmp_path, fraction=0.5, copies=3).table("train").to_pylist()
    numbers = [row["row"] for row in rows if row["augmented"]]
    assert 4 <= len(set(numbers)) <= 16
    assert all(numbers.count(row) == 3 for row in numbers)
    for nothing in ({"fraction": 0.0}, {"copies": 0}):
        run(tmp_path / "in", tmp_path / str(nothing), Config(**nothing))
        assert open_dataset(tmp_path / str(nothing)).rows("train") == 20


def test_size_sets_the_size_of_copies(classes: Path, tmp_path: Path):
    for policy in ("light", "upright", FLIP):
        run(classes, tmp_path / policy[:3], Config(fraction=1.0, policy=policy, size=32))
        copies = [row for row in open_dataset(tmp_path / policy[:3]).table("train").to_pylist() if row["augmented"]]
        assert {pixels_of(row).shape for row in copies} == {(32, 32, 3)}
        assert {(row["height"], row["width"]) for row in copies} == {(32, 32)}
    kept = [row for row in augmented(tmp_path, fraction=1.0).table("train").to_pylist() if row["augmented"]]
    assert {(row["height"], row["width"]) for row in kept} == {(40, 60), (60, 40)}
    assert all(pixels_of(row).shape[:2] == (row["height"], row["width"]) for row in kept)


def test_boxes_move_with_the_image(boxes: Path, tmp_path: Path):
    copies = [
        row for row in augmented(tmp_path, fraction=1.0, policy=FLIP).table("train").to_pylist() if row["augmented"]
    ]
    assert len(copies) == 10
    assert all([o["box"] for o in copy["objects"]] == [[35, 5, 55, 30], [5, 10, 30, 35]] for copy in copies)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [FLIP, "- ElasticTransform: {p: 1, alpha: 1}"], ids=["native", "albumentations"])
def test_moved_objects_lose_key_points_and_format_fields(policy: str, tmp_path: Path):
    attributes = {"color": "red", "@coco": {"id": 7, "area": 500.0, "segmentation": [[5, 5, 25, 5, 25, 30]]}}
    row = image_row(0) | {
        "objects": [annotation([5, 5, 25, 30], keypoints=[6, 7, 2], attributes=json.dumps(attributes))],
        "metadata": json.dumps({"weather": "rain", "@coco": {"id": 3}}),
    }
    write_dataset(tmp_path / "in", BOXES, train=[row])
    original, copy = augmented(tmp_path, policy=policy).table("train").to_pylist()
    assert (original["objects"][0]["keypoints"], json.loads(original["objects"][0]["attributes"])) == (
        [6, 7, 2],
        attributes,
    )
    assert copy["objects"][0]["keypoints"] == []
    assert json.loads(copy["objects"][0]["attributes"]) == {"color": "red"}
    assert json.loads(copy["metadata"]) == {"weather": "rain"}


def test_pixel_transforms_keep_key_points_and_attributes(tmp_path: Path):
    attributes = {"@coco": {"area": 500.0}}
    row = image_row(0) | {
        "objects": [annotation([5, 5, 25, 30], keypoints=[6, 7, 2], attributes=json.dumps(attributes))]
    }
    write_dataset(tmp_path / "in", BOXES, train=[row])
    copy = augmented(tmp_path, policy="- RandomBrightnessContrast: {p: 1}").table("train").to_pylist()[1]
    assert (copy["objects"][0]["keypoints"], json.loads(copy["objects"][0]["attributes"])) == ([6, 7, 2], attributes)


NATIVE = "ShiftScaleRotate: {p: 1, shift_limit_x: [-0.18, -0.18], shift_limit_y: 0, scale_limit: 0, rotate_limit: 0}"


@pytest.mark.parametrize(
    ("transform", "least", "left"),
    [  # the box 0, 10, 20, 30 moves 18 of its 20 pixels to the left: 10 % of it is left
        (NATIVE, 0.3, 0),
        (NATIVE, 0.05, 1),
        ("Affine: {p: 1, translate_percent: {x: [-0.18, -0.18], y: [0, 0]}}", 0.3, 0),
        ("Affine: {p: 1, translate_percent: {x: [-0.18, -0.18], y: [0, 0]}}", 0.05, 1),
        ("Crop: {p: 1, x_min: 18, y_min: 0, x_max: 100, y_max: 100}", 0.3, 0),
        ("Crop: {p: 1, x_min: 18, y_min: 0, x_max: 100, y_max: 100}", 0.05, 1),
    ],
)  # fmt: skip
def test_minimum_visibility_applies_to_every_transform(transform: str, least: float, left: int, tmp_path: Path):
    stays = annotation([60, 60, 90, 90])
    row = image_row(0, 100, 100) | {"objects": [annotation([0, 10, 20, 30]), stays]}
    write_dataset(tmp_path / "in", BOXES, train=[row])
    copy = augmented(tmp_path, policy=f"- {transform}", min_visibility=least).table("train").to_pylist()[1]
    assert len(copy["objects"]) == 1 + left


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path: Path):
    rows = [image_row(row, 16, 24) | {"objects": [annotation([5, 5, 15, 12])]} for row in range(200)]
    write_dataset(tmp_path / "in", BOXES, train=rows, test=rows[:2])
    for workers in (1, 3):
        run(tmp_path / "in", tmp_path / str(workers), Config(policy="strong", fraction=0.8, workers=workers))
    alone, three = (open_dataset(tmp_path / str(workers)) for workers in (1, 3))
    assert alone.digest == three.digest
    assert alone.notes == three.notes


def test_another_seed_makes_different_copies(classes: Path, tmp_path: Path):
    one = augmented(tmp_path, fraction=1.0)
    run(classes, tmp_path / "other", Config(fraction=1.0, seed=1))
    assert open_dataset(tmp_path / "other").digest != one.digest


def test_the_note_counts_boxes_by_transform(tmp_path: Path):
    """Of four boxes, the left half keeps one whole, two thirds of one, a fifth of one, and nothing of one."""
    objects = [
        annotation([10, 5, 20, 15]),
        annotation([10, 20, 40, 30]),
        annotation([26, 20, 46, 30]),
        annotation([40, 5, 50, 15]),
    ]
    write_dataset(tmp_path / "in", BOXES, train=[image_row(0) | {"objects": objects}])
    after = augmented(tmp_path, fraction=1.0, policy="- Crop: {x_max: 30, y_max: 40, p: 1}")
    note = after.notes["augment.images"]
    row = {
        "transform": "Crop",
        "boxes": 4,
        "kept": 1,
        "clipped": 1,
        "outside the image": 1,
        "below minimum visibility": 1,
    }
    assert note["boxes_by_transform"] == [row]
    assert (note["counts"]["boxes"], note["counts"]["boxes_kept"]) == (4, 2)
    copy = after.table("train").to_pylist()[1]
    assert [(o["box"], o["truncated"]) for o in copy["objects"]] == [([10, 5, 20, 15], False), ([10, 20, 30, 30], True)]


def test_the_note_has_examples_with_their_positions(classes: Path, tmp_path: Path):
    after = augmented(tmp_path, fraction=1.0, policy="medium")
    rows = after.table("train").to_pylist()
    examples = after.notes["augment.images"]["examples"]
    assert len(examples) == 6
    for example in examples:
        assert rows[example["original"]]["row"] == rows[example["copy"]]["row"] == example["row"]
        assert (rows[example["original"]]["augmented"], rows[example["copy"]]["augmented"]) == (False, True)
        assert "RandomRotate90" in example["transforms"]


def test_a_policy_that_loses_many_boxes_gets_a_warning(boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    augmented(tmp_path, fraction=1.0, policy="- Crop: {x_max: 30, y_max: 40, p: 1}")
    printed = capsys.readouterr().out
    assert "warning: the policy loses 50% of 20 boxes, more than 20%: Crop drops most (10 outside the image)" in printed


def test_a_policy_that_loses_every_box_is_an_error(boxes: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"loses all 100 boxes: Crop drops most .*outside the image"):
        augmented(tmp_path, fraction=1.0, policy="- Crop: {x_max: 4, y_max: 4, p: 1}")
    assert not (tmp_path / "out").exists()


def test_no_copy_loses_all_its_boxes(boxes: Path, tmp_path: Path):
    policy = "- RandomResizedCrop: {scale: [0.05, 0.2]}"
    result = run(boxes, tmp_path / "out", Config(fraction=1.0, copies=3, policy=policy, min_visibility=0.5))
    after = open_dataset(tmp_path / "out")
    assert all(row["objects"] for row in after.table("train").to_pylist())
    assert result.copies + result.skipped == 30
    assert after.notes["augment.images"]["counts"]["retries"] > 0


def test_an_image_without_objects_gets_copies_without_objects(tmp_path: Path):
    write_dataset(tmp_path / "in", BOXES, train=[image_row(0) | {"objects": []}])
    rows = augmented(tmp_path, fraction=1.0).table("train").to_pylist()
    assert [(row["augmented"], row["objects"]) for row in rows] == [(False, []), (True, [])]


@pytest.mark.parametrize("policy", ["light", "medium", "strong"])
def test_mirrors_are_rejected_if_they_change_the_label(classes: Path, tmp_path: Path, policy: str):
    with pytest.raises(ConfigError, match=r"RandomRotate90 \(rotates\), HorizontalFlip \(mirrors\).*upright"):
        augmented(tmp_path, policy=policy, flip_changes_label=True)


def test_small_rotations_are_accepted_if_mirrors_are_not(classes: Path, tmp_path: Path):
    assert augmented(tmp_path, policy="upright", fraction=1.0, flip_changes_label=True).rows("train") == 40
    with pytest.raises(ConfigError, match=r"Rotate \(rotates by 90 degrees, more than 30\)"):
        run(classes, tmp_path / "no", Config(policy="- OneOf: [Rotate, Blur]", flip_changes_label=True))


def test_unsuitable_datasets_are_rejected(classes: Path, tmp_path: Path):
    schema = pa.schema([("text", pa.string()), ("row", pa.int64())])
    write_dataset(tmp_path / "texts", schema, train=[{"text": "hello", "row": 0}])
    with pytest.raises(DataError, match="has no images in a column 'image', its columns are text, row"):
        run(tmp_path / "texts", tmp_path / "no", Config())
    write_dataset(tmp_path / "empty", train=[], test=[image_row(0)])
    with pytest.raises(DataError, match="no rows in its train split"):
        run(tmp_path / "empty", tmp_path / "no", Config())
    write_dataset(tmp_path / "unsplit", all=[image_row(0)])
    with pytest.raises(DataError, match="no split 'train'"):
        run(tmp_path / "unsplit", tmp_path / "no", Config())
    augmented(tmp_path)
    with pytest.raises(DataError, match="already augmented"):
        run(tmp_path / "out", tmp_path / "no", Config())


def test_a_damaged_image_is_named(tmp_path: Path):
    for kind in ("PNG", "JPEG"):
        bad = image_row(7, kind=kind)
        bad["image"] |= {"bytes": bad["image"]["bytes"][:1500]}
        write_dataset(tmp_path / kind, train=[bad])
        with pytest.raises(DataError, match=rf"the image of row 7 \(some/7.{kind.lower()}\) is cut off or damaged"):
            run(tmp_path / kind, tmp_path / "no", Config(fraction=1.0))


@pytest.mark.parametrize(
    "setting",
    [{"copies": 21}, {"fraction": 1.5}, {"size": -1}, {"min_visibility": 2}, {"max_boxes_lost": -1}, {"workers": -1}],
)
def test_invalid_settings_are_rejected(setting: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Config(**setting)


def test_config_imports_no_image_library():
    code = (
        "import sys; from toolchain.augment.images import Config; Config(policy='medium')\n"
        "assert not {'cv2', 'albumentations', 'pycocotools', 'simplejpeg'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_column_of_copies_has_the_name_that_other_steps_read():
    assert step.AUGMENTED == "augmented"
