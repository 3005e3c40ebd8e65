"""Class folders from practice; the README of each case gives its origin and the expected result."""

from pathlib import Path

import pytest
from PIL import Image

from toolchain.artifacts.dataset import open_dataset
from toolchain.data.images import Config, run
from toolchain.errors import DataError

CASES = Path(__file__).parents[3] / "cases" / "vision"
TWO = {"all": {"cat": 3, "dog": 3}}
# By case: the number of images by split and class, and the number of skipped files by reason.
EXPECTED = {
    "cls_apple_double": (TWO, {"hidden file or folder": 1}),
    "cls_ipynb_checkpoints": (TWO, {"hidden file or folder": 1}),
    "cls_mpo": ({"all": {"cat": 4, "dog": 3}}, {}),
    "cls_jfif_heic_avif": ({"all": {"cat": 4, "dog": 3}}, {"file with another suffix": 2}),
    "cls_training_set_test_set": ({"train": {"cat": 3, "dog": 3}, "test": {"cat": 2, "dog": 2}}, {}),
    "cls_missing_class_in_test": ({"train": {"a": 3, "b": 3, "c": 3}, "test": {"a": 2, "b": 0, "c": 2}}, {}),
    "cls_flat_test": ({"train": {"cat": 3, "dog": 3}}, {"image of a split folder without class folders": 1}),
    "cls_wrapper_folder": (TWO, {}),
    "cls_superscript_digit": ({"all": {"1": 3, "²": 3}}, {}),
    "cls_12bit": (TWO, {}),
    "cls_odd_modes": ({"all": {"cat": 7, "dog": 6}}, {}),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_class_folders_are_read_as_expected(name: str, tmp_path: Path):
    expected, skipped = EXPECTED[name]
    run(tmp_path / "dataset", Config(source=str(CASES / name / "input")))
    dataset = open_dataset(tmp_path / "dataset")
    found = {split: dict.fromkeys(dataset.labels, 0) for split in dataset.splits}
    for split in dataset.splits:
        for label in dataset.table(split, ["label"]).column("label").to_pylist():
            found[split][dataset.labels[label]] += 1
    assert found == expected
    assert dataset.notes["data.images"].get("skipped_files", {}) == skipped


def test_linked_classes_and_folders_are_followed(tmp_path: Path):
    source = CASES / "cls_symlinked_class" / "input" / "set"
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dog").symlink_to(source.parent / "real" / "dog")
    (tmp_path / "set" / "cat").mkdir()
    (tmp_path / "set" / "cat" / "inner").symlink_to(source.parent / "more" / "x")
    (tmp_path / "set" / "cat" / "loop").symlink_to(tmp_path / "set")
    result = run(tmp_path / "dataset", Config(source=str(tmp_path / "set")))
    assert (result.rows, result.classes) == (4, 2)
    assert open_dataset(tmp_path / "dataset").notes["data.images"]["skipped_files"] == {"link to a parent folder": 1}


def test_split_folders_without_training_are_an_error(tmp_path: Path):
    source = str(CASES / "cls_valid_only_splits" / "input")
    with pytest.raises(DataError, match=r"'test', 'val', named as splits, but no folder train.*split_folders=no"):
        run(tmp_path / "dataset", Config(source=source))
    run(tmp_path / "dataset", Config(source=source, split_folders="no"))
    assert open_dataset(tmp_path / "dataset").labels == ("test", "val")


def image_folders(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        folder = CASES / "cls_apple_double" / "input" / ("cat" if number % 2 else "dog")
        file = sorted(path for path in folder.iterdir() if not path.name.startswith("."))[number // 2 % 3]
        (root / name / file.name).write_bytes(file.read_bytes() + bytes(number))  # no duplicates
    return root


def test_split_folders_beside_other_folders_are_an_error(tmp_path: Path):
    names = ("train/cat", "train/dog", "test/cat", "test/dog", "extra/cat")
    source = str(image_folders(tmp_path / "set", *names))
    with pytest.raises(DataError, match=r"\('test', 'train'\) and others with images, such as 'extra'.*=yes.*=no"):
        run(tmp_path / "dataset", Config(source=source))
    run(tmp_path / "dataset", Config(source=source, split_folders="yes"))
    assert set(open_dataset(tmp_path / "dataset").splits) == {"train", "test"}


def test_two_folders_for_one_split_are_an_error(tmp_path: Path):
    source = image_folders(tmp_path / "set", "train/cat", "training/cat")
    with pytest.raises(DataError, match=r"two folders for the train split, 'train' and 'training'"):
        run(tmp_path / "dataset", Config(source=str(source)))


def test_images_beside_the_class_folders_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = image_folders(tmp_path / "set", "cat", "dog")
    (source / "cover.JPG").write_bytes((next((source / "cat").iterdir())).read_bytes())
    run(tmp_path / "dataset", Config(source=str(source)))
    assert "warning: 1 skipped: image outside a class folder, such as cover.JPG" in capsys.readouterr().out


def test_12_bit_images_get_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(tmp_path / "dataset", Config(source=str(CASES / "cls_12bit" / "input")))
    assert "16-bit images have no value above 4,095" in capsys.readouterr().out


def test_unsupported_pixel_values_are_an_error(tmp_path: Path):
    with pytest.raises(DataError, match=r"ct.tif has pixels from -1019 to \d+; whole numbers of 8 or 16 bits") as error:
        run(tmp_path / "dataset", Config(source=str(CASES / "cls_int16_tiff" / "input")))
    assert "damaged" not in str(error.value)


def test_parquet_files_keep_the_splits_in_their_names(tmp_path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((CASES / "cls_apple_double" / "input" / "dog").glob("dog*.jpg"))
    for number, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        rows = [{"image": {"bytes": files[number].read_bytes(), "path": "x.jpg"}, "label": number % 2}]
        (tmp_path / "set" / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set" / "data" / f"{name}.parquet")
    run(tmp_path / "dataset", Config(source=str(tmp_path / "set")))
    dataset = open_dataset(tmp_path / "dataset")
    assert {split: dataset.rows(split) for split in dataset.splits} == {"test": 1, "train": 2}


def draw_images(root: Path, *folders: str) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8), (number * 20, 0, 0)).save(root / folder / "a.png")
    return root


@pytest.mark.parametrize("name", ["seg_{0}/seg_{0}", "seg_{0}", "{0} flowers", "{0}/{0}"])
def test_folders_that_only_differ_in_a_split_name_are_splits(tmp_path: Path, name: str):
    folders = [f"{name.format(split)}/{label}" for split in ("train", "test") for label in ("cat", "dog")]
    run(tmp_path / "dataset", Config(source=str(draw_images(tmp_path / "set", *folders))))
    dataset = open_dataset(tmp_path / "dataset")
    assert (dataset.labels, dataset.rows("train"), dataset.rows("test")) == (("cat", "dog"), 2, 2)


def test_class_names_may_contain_a_split_name(tmp_path: Path):
    run(tmp_path / "dataset", Config(source=str(draw_images(tmp_path / "set", "train station", "test strip", "tower"))))
    assert open_dataset(tmp_path / "dataset").labels == ("test strip", "tower", "train station")


def test_split_folders_inside_class_folders_are_an_error(tmp_path: Path):
    source = str(draw_images(tmp_path / "set", "cat/train", "cat/test", "dog/train", "dog/test"))
    with pytest.raises(DataError, match=r"'test', 'train'\) inside the class folder 'cat'.*split_folders=no"):
        run(tmp_path / "dataset", Config(source=source))
    run(tmp_path / "dataset", Config(source=source, split_folders="no"))
    assert open_dataset(tmp_path / "dataset").rows("all") == 4
