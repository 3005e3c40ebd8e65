"""Annotated images become a checked dataset of boxes."""

import importlib.util
import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toolchain.annotations import convert
from toolchain.annotations.rows import SOURCE_IMAGE
from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.data.annotations import Config, run
from toolchain.data.annotations.tiles import windows
from toolchain.errors import ConfigError, DataError
from toolchain.image_decoding import decode

SPEC = importlib.util.find_spec("deepforest")
HAS_DEEPFOREST = pytest.mark.skipif(SPEC is None, reason="deepforest is not installed")


def image(path: Path, width: int = 40, height: int = 30, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    image.save(path, exif=exif if orientation != 1 else None)


def voc(folder: Path, stem: str, *boxes: tuple[Any, ...], size: tuple[int, int] = (40, 30), name: str = "") -> None:
    """Write what LabelImg would of boxes (label, left, top, right, bottom)."""
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
        "</bndbox></object>"
        for label, a, b, c, d in boxes
    )
    head = (
        f"<filename>{name or stem + '.png'}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.xml").write_text(f"<annotation>{head}{objects}</annotation>", encoding="utf-8")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    image(folder / "a.png")
    image(folder / "b c.png")
    voc(folder, "a", ("cat", 0, 0, 10, 10), ("dog", 5, 5, 40, 30))
    voc(folder, "b c")
    return folder


def made(source: Path, tmp_path: Path, **settings: Any) -> Dataset:
    run(tmp_path / "dataset", Config(source=str(source), **settings))
    return open_dataset(tmp_path / "dataset")


def rows(dataset: Dataset, split: str = "all") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dataset.table(split).to_pylist()
    return found


def check(dataset: Dataset, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in dataset.notes["data.annotations"]["checks"] if c["check"] == name)
    return found


def test_a_row_is_an_image_with_its_objects(source: Path, tmp_path: Path):
    dataset = made(source, tmp_path)
    first, second = rows(dataset)
    assert dataset.labels == ("cat", "dog")
    assert (first["row"], first["source_image"], first["width"], first["height"]) == (0, "a.png", 40, 30)
    assert first["image"]["path"] == "a.png"
    assert first["image"]["bytes"] == (source / "a.png").read_bytes()
    assert [(annotation["label"], annotation["box"]) for annotation in first["objects"]] == [
        (0, [0, 0, 10, 10]),
        (1, [5, 5, 40, 30]),
    ]
    assert (second["source_image"], second["objects"]) == ("b c.png", [])


def test_the_note_has_statistics(source: Path, tmp_path: Path):
    note = made(source, tmp_path).notes["data.annotations"]["statistics"]
    assert note["objects_by_label"] == {"all": {"cat": 1, "dog": 1}}
    assert (note["rows"], note["rows_without_objects"], note["objects"]) == ({"all": 2}, 1, 2)
    assert note["width"][0] == 10 / 40
    assert note["height"][-1] == pytest.approx(25 / 30, abs=1e-4)
    assert sum(map(sum, note["positions"])) == 2
    assert note["positions"][1][1] == 1  # (5, 5) of 40 x 30 is in the second row and the second column of 8


def test_the_digest_is_checked(source: Path, tmp_path: Path):
    with pytest.raises(DataError, match=r"its SHA-256 is [0-9a-f]{64}, expected digest="):
        made(source, tmp_path, digest="0" * 64)
    assert not (tmp_path / "dataset").exists()


def test_all_failed_checks_are_reported_at_once(source: Path, tmp_path: Path):
    voc(source, "gone", ("cat", 0, 0, 1, 1))
    voc(source, "a", ("cow", 0, 0, 10, 10), size=(20, 20))
    with pytest.raises(DataError, match="image is missing") as raised:
        made(source, tmp_path, labels=["cat"])
    assert "label is not in the list" not in str(raised.value)  # its image fell before
    assert "annotated as 20 x 20, but it is 40 x 30" in str(raised.value)
    assert "missing_image=drop, size_mismatch=fix|drop|keep" in str(raised.value)
    assert not (tmp_path / "dataset").exists()


def test_dropped_images_are_recorded(source: Path, tmp_path: Path):
    voc(source, "gone", ("cat", 0, 0, 1, 1))
    (source / "bad.png").write_bytes(b"no image")
    voc(source, "bad", ("cat", 0, 0, 1, 1))
    dataset = made(source, tmp_path, missing_image="drop", unreadable_image="drop")
    assert {(d.rule, d.rows) for d in dataset.dropped} == {
        ("image is missing", 1),
        ("file is not an image, or is damaged", 1),
    }
    assert len(rows(dataset)) == 2


def test_a_truncated_image_is_found(source: Path, tmp_path: Path):
    file = source / "a.png"
    file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"a\.png is cut off or damaged"):
        made(source, tmp_path)


def test_labels_can_be_set_in_another_order(source: Path, tmp_path: Path):
    dataset = made(source, tmp_path, labels=["dog", "bird"], unknown_label="drop")
    assert dataset.labels == ("dog", "bird")
    assert [annotation["label"] for annotation in rows(dataset)[0]["objects"]] == [0]
    assert check(dataset, "unknown_label") == {
        "check": "unknown_label",
        "rule": "label is not in the list",
        "action": "drop",
        "count": 1,
        "examples": ["a.png: 'cat'"],
    }


def test_an_exif_rotation_is_applied_to_the_boxes_of_the_stored_image(tmp_path: Path):
    source = tmp_path / "source"
    image(source / "a.jpg", 40, 30, orientation=6)
    voc(source, "a", ("cat", 0, 20, 10, 30), size=(40, 30), name="a.jpg")
    row = rows(made(source, tmp_path))[0]
    assert (row["width"], row["height"]) == (30, 40)
    assert row["objects"][0]["box"] == [
        0,
        0,
        10,
        10,
    ]  # the left lower corner is the left upper one once it is apply_orientation
    assert decode(row["image"]["bytes"], "a", upright=False).shape == (40, 30, 3)
    assert Image.open(io.BytesIO(row["image"]["bytes"])).getexif().get(0x0112, 1) == 1


def test_boxes_of_the_upright_image_are_kept(tmp_path: Path):
    source = tmp_path / "source"
    image(source / "a.jpg", 40, 30, orientation=6)
    voc(source, "a", ("cat", 0, 20, 10, 40), size=(30, 40), name="a.jpg")
    dataset = made(source, tmp_path)
    assert rows(dataset)[0]["objects"][0]["box"] == [0, 20, 10, 40]
    assert check(dataset, "exif_rotation")["count"] == 1


def test_splits_of_the_source_are_kept_or_merged(tmp_path: Path, source: Path):
    lists = source / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b c\n")
    dataset = made(source, tmp_path)
    assert [row["source_image"] for row in rows(dataset, "train")] == ["a.png"]
    assert [row["source_image"] for row in rows(dataset, "validation")] == ["b c.png"]
    run(tmp_path / "one", Config(source=str(source), keep_splits=False))
    assert len(rows(open_dataset(tmp_path / "one"))) == 2


def test_images_without_a_split_beside_others_are_training_images(tmp_path: Path, source: Path):
    lists = source / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "test.txt").write_text("b c\n")
    dataset = made(source, tmp_path)
    assert {name: dataset.rows(name) for name in dataset.splits} == {"test": 1, "train": 1}
    assert dataset.notes["data.annotations"]["unsplit"]["count"] == 1


def test_large_images_are_tiled_and_name_their_image(tmp_path: Path):
    source = tmp_path / "source"
    image(source / "big.png", 100, 40)
    voc(source, "big", ("cat", 10, 10, 20, 20), ("cat", 45, 0, 75, 30), ("dog", 0, 0, 100, 40), size=(100, 40))
    dataset = made(source, tmp_path, tile_size=40, tile_overlap=10, keep_empty=False, zero_area="fail")
    found = rows(dataset)
    assert [row["image"]["path"] for row in found] == ["big@0-0.png", "big@30-0.png", "big@60-0.png"][: len(found)]
    assert {row[SOURCE_IMAGE] for row in found} == {"big.png"}
    assert found[0]["objects"][0]["box"] == [10, 10, 20, 20]
    assert found[1]["objects"][0]["box"] == [15, 0, 40, 30]  # 25 of 30 columns
    assert found[1]["objects"][0]["truncated"]
    note = dataset.notes["data.annotations"]["tiles"]
    assert note["lost"]["count"] == 1  # the dog fills the image, and at most 40 % of it are in a tile
    assert note["lost"]["examples"] == ["big.png: dog at 0, 0, 100, 40"]
    whole = decode((source / "big.png").read_bytes(), "big")
    assert (decode(found[1]["image"]["bytes"], "tile") == whole[:, 30:70]).all()


@pytest.mark.parametrize(("width", "height"), [(100, 40), (40, 40), (2299, 2472), (401, 1)])
def test_tiles_cover_the_image_and_overlap(width: int, height: int):
    found = list(windows(width, height, 400, 64))
    assert min(w[0] for w in found) == min(w[1] for w in found) == 0
    assert (max(w[2] for w in found), max(w[3] for w in found)) == (width, height)
    lefts = sorted({w[0] for w in found})
    assert all(after - before <= 400 - 64 for before, after in pairwise(lefts))


@HAS_DEEPFOREST
@pytest.mark.slow
def test_all_951_boxes_of_deepforest_are_kept(tmp_path: Path):
    dataset = made(Path("package:deepforest/data"), tmp_path, rename={"Tree": "Tree"})
    note = dataset.notes["data.annotations"]
    assert dataset.labels == ("Alive", "Dead", "Tree")
    assert all(found["count"] == 0 for found in note["checks"])
    assert note["tiles"]["lost"]["count"] == 0
    assert {row["source_image"] for batch in dataset.batches("all", [SOURCE_IMAGE]) for row in batch.to_pylist()} == {
        "2019_YELL_2_528000_4978000_image_crop2.png",
        "2019_YELL_2_541000_4977000_image_crop.png",
        "OSBS_029.tif",
        "SOAP_061.png",
    }


def test_sample_settings_apply_to_the_sample_only(source: Path, tmp_path: Path):
    voc(source, "a", ("Alive", 0, 0, 10, 10), ("Dead", 5, 5, 40, 30))
    assert made(source, tmp_path).labels == ("Alive", "Dead")
    settings = Config().with_sample_settings()
    assert (settings.rename, settings.tile_size) == ({"Alive": "Tree", "Dead": "Tree"}, 400)
    assert Config(tile_size=640).with_sample_settings().tile_size == 640
    assert Config(rename={"Dead": "Snag"}).with_sample_settings().rename == {"Dead": "Snag"}
    assert Config(source=str(source)).with_sample_settings() == Config(source=str(source))


def test_an_image_in_two_splits_is_reported(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for split in ("train", "test"):
        image(source / split / f"{split}.png", 12, 10)
        voc(source / split, split, ("cat", 0, 0, 10, 10), size=(12, 10))
    (finding,) = made(source, tmp_path).notes["data.annotations"]["findings"]
    assert (finding["rule"], finding["count"]) == ("the same image is in two splits", 1)
    assert "test.png in test is train.png in train" in "".join(capsys.readouterr())


@pytest.mark.parametrize("key", ["val", "test"])
def test_a_missing_split_fails_or_is_dropped(tmp_path: Path, key: str):
    source = tmp_path / "source"
    image(source / "images" / "train" / "a.png")
    (source / "labels" / "train").mkdir(parents=True)
    (source / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (source / "data.yaml").write_text(f"train: images/train\n{key}: images/gone\nnames: [cat]\n")
    if key == "val":
        with pytest.raises(
            DataError, match=r"images/gone \(val in data\.yaml\)\); fix them, or set missing_split=drop"
        ):
            made(source, tmp_path)
    dataset = made(source, tmp_path, missing_split="drop")
    assert dataset.rows("train") == 1
    assert "images/gone" in dataset.notes["data.annotations"]["findings"][0]["examples"][0]


def test_the_error_contains_findings_if_nothing_is_left(tmp_path: Path):
    image(tmp_path / "source" / "a.png")
    (tmp_path / "source" / "b.xml").write_text("<annotation/>")
    with pytest.raises(DataError, match=r"no label \(image without an annotation file \(left out\): 1, such as a"):
        made(tmp_path / "source", tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "vocc"}, "format='vocc' is not known; give one of voc, yolo, coco, cvat, labelme"),
        ({"missing_image": "fix"}, "missing_image='fix' is not supported; give one of fail, drop"),
        ({"out_of_bounds": "clip"}, "out_of_bounds='clip' is not supported; give one of fix, drop, fail, keep"),
        ({"source": ""}, "source is empty"),
        ({"digest": "abc"}, "is not a SHA-256"),
        ({"labels": ["a", "a"]}, "has a duplicate"),
        ({"tile_size": 8}, "tile_size=8 is out of range"),
        ({"tile_size": 64, "tile_overlap": 40}, "tile_overlap=40 is out of range"),
        ({"tile_min_visibility": 0.0}, "tile_min_visibility=0.0 is out of range"),
        ({"origin": "one"}, "origin='one' is not known"),
    ],
)
def test_invalid_settings_are_rejected(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError) as raised:
        Config(**settings)
    assert message in str(raised.value)


def test_a_source_without_labels_or_images_is_rejected(tmp_path: Path):
    voc(tmp_path / "source", "a")
    with pytest.raises(DataError, match="has no label"):
        made(tmp_path / "source", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no annotations in a known format"):
        made(tmp_path / "empty", tmp_path)


def test_a_dataset_can_be_converted(source: Path, tmp_path: Path):
    made(source, tmp_path, tile_size=32, tile_overlap=0)
    done = convert(str(tmp_path / "dataset"), tmp_path / "coco", "coco")
    assert (done.source_format, done.images, done.objects) == ("dataset", 4, 3)  # the dog is in two tiles
    assert ("tile of an image", 4) in [(feature.rule, feature.count) for feature in done.unsupported]
    assert (tmp_path / "coco" / "images" / "default" / "b c@0-0.png").is_file()


def test_images_with_the_same_name_in_two_splits_are_kept_apart_when_merged(tmp_path: Path):
    folder = tmp_path / "source"
    for split in ("train", "val"):
        image(folder / "images" / split / "a.png")
        label = folder / "labels" / split / "a.txt"
        label.parent.mkdir(parents=True)
        label.write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [dog]\n")
    dataset = made(folder, tmp_path, keep_splits=False)
    assert [row["source_image"] for row in rows(dataset)] == ["train/a.png", "validation/a.png"]


def test_classes_can_be_renamed_and_merged(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    dataset = made(source, tmp_path, rename={"cat": "animal", "dog": "animal", "bird": "animal"})
    assert dataset.labels == ("animal",)
    assert [annotation["label"] for annotation in rows(dataset)[0]["objects"]] == [0, 0]
    assert "rename: the source has no label bird; it has cat, dog" in capsys.readouterr().out
