"""YOLO's images, texts and classes are found in every layout, and what is named and not there is refused or counted."""

from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.annotations import Collection, open_source
from toolchain.errors import DataError

Draw = Callable[..., Path]
LINE = "0 0.5 0.5 0.5 1.0"
MISSING = "missing_split: folder or list of images that does not exist"


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.fixture
def pair(tmp_path: Path, draw: Draw) -> Callable[..., None]:
    """A function that writes an image and its text, of one object of class ``number``."""

    def write(image: str, annotation: str, number: int = 0) -> None:
        draw(tmp_path / image, 40, 20)
        text(tmp_path / annotation, f"{number} 0.5 0.5 0.5 1.0")

    return write


def found(source: Path) -> list[tuple[str, str, list[str]]]:
    return [
        (p.name, p.split, [annotation.label for annotation in p.annotations])
        for p in open_source(source, "yolo").images()
    ]


def counts(collection: Collection) -> dict[str, int]:
    return {finding.rule: finding.count for finding in collection.findings}


# --- lists of classes ---


def test_each_class_list_applies_to_its_folder_and_those_below(tmp_path: Path, pair: Callable[..., None]):
    text(tmp_path / "classes.txt", "ant", "bee")
    text(tmp_path / "b" / "classes.txt", "cow", "bee")
    text(tmp_path / "c" / "labels" / "classes.txt", "dog")
    pair("a.png", "a.txt", 1)
    pair("b/inner/b.png", "b/inner/b.txt")
    pair("c/images/c.png", "c/labels/c.txt")
    assert found(tmp_path) == [
        ("a.png", "all", ["bee"]),
        ("b/inner/b.png", "all", ["cow"]),
        ("c/c.png", "all", ["dog"]),
    ]
    assert open_source(tmp_path).labels == ("ant", "bee", "cow", "dog")


def test_the_only_class_list_applies_everywhere(tmp_path: Path, pair: Callable[..., None]):
    text(tmp_path / "data" / "predefined_classes.txt", "ant", "bee")
    pair("images/a.png", "labels/a.txt", 1)
    assert found(tmp_path) == [("a.png", "all", ["bee"])]


def test_several_data_yaml_are_merged_by_the_names_of_classes(tmp_path: Path, pair: Callable[..., None]):
    for folder, names in (("one", "[ant, bee]"), ("two", "[bee, cow]")):
        pair(f"{folder}/images/train/{folder}.png", f"{folder}/labels/train/{folder}.txt")
        text(tmp_path / folder / "data.yaml", "train: images/train", f"names: {names}")
    assert found(tmp_path) == [("one.png", "train", ["ant"]), ("two.png", "train", ["bee"])]
    assert open_source(tmp_path).labels == ("ant", "bee", "cow")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("classes.txt", "ant"), ("obj.names", "bee")),
        (("data.yaml", "train: images\nnames: [ant]"), ("set.yaml", "train: images\nnames: [bee]")),
        (("data.yaml", "train: images\nnames: [ant]"), ("labels/classes.txt", "bee")),
        (("data.yaml", "train: images\nnames: {0: ant}"), ("classes.txt", "bee")),
        (("obj.data", "train = train.txt\nnames = obj.names"), ("classes.txt", "bee")),
        (("a/classes.txt", "ant"), ("b/classes.txt", "bee")),  # and neither is the text's user_attributes
    ],
)
def test_lists_that_differ_are_rejected_by_their_names(
    tmp_path: Path, pair: Callable[..., None], one: tuple[str, str], other: tuple[str, str]
):
    pair("images/a.png", "labels/a.txt")
    text(tmp_path / "train.txt", "images/a.png")
    if one[0] == "obj.data":
        text(tmp_path / "obj.names", "ant")
    for name, content in (one, other):
        text(tmp_path / name, content)
    with pytest.raises(DataError, match="differ: class 0 is 'ant'") as raised:
        open_source(tmp_path, "yolo")
    assert Path(other[0]).name in str(raised.value)


@pytest.mark.parametrize("other", ["ant", "ant\nbee\ncow", "Ant\nbee"])
def test_class_lists_with_equal_beginnings_are_merged(tmp_path: Path, pair: Callable[..., None], other: str):
    pair("images/a.png", "labels/a.txt", 1)
    text(tmp_path / "data.yaml", "train: images", "names: [ant, bee]")
    text(tmp_path / "labels" / "classes.txt", other)
    assert found(tmp_path) == [("a.png", "train", ["bee"])]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("names: [no, on, 007, 1.10]", ("no", "on", "007", "1.10")),  # YAML reads False, True, 7 and 1.1
        ("names: {'0': ant, '1': bee}", ("ant", "bee")),
        ("nc: 2", ("class_0", "class_1")),
    ],
)
def test_class_names_are_read_as_text(tmp_path: Path, pair: Callable[..., None], names: str, labels: tuple[str, ...]):
    pair("images/a.png", "labels/a.txt")
    text(tmp_path / "data.yaml", "train: images", names)
    assert open_source(tmp_path).labels == labels


# --- folders ---


@pytest.mark.parametrize(
    ("location", "image", "annotation"),
    [
        ("train", "train/images/a.png", "train/labels/a.txt"),
        ("train", "train/site/images/a.png", "train/site/labels/a.txt"),
        ("images/train", "images/train/a.png", "labels/train/a.txt"),
        ("Images/train", "Images/train/a.png", "Labels/train/a.txt"),
        ("images/train", "images/train/A.PNG", "labels/train/a.TXT"),
        ("images/train", "images/train/images/a.png", "labels/train/images/a.txt"),
        ("images/train", "images/train/a.png", "images/train/a.txt"),
        (".", "images/train/a.png", "labels/train/a.txt"),
        ("photos", "photos/a.png", "photos/a.txt"),
        ("/content/set/train/images", "train/images/a.png", "train/labels/a.txt"),
        ("C:\\Users\\me\\set\\train\\images", "train/images/a.png", "train/labels/a.txt"),
        ("../train/images", "train/images/a.png", "train/labels/a.txt"),
        ("./train/images/", "train/images/a.png", "train/labels/a.txt"),
    ],
)
def test_the_label_file_of_an_image_is_found(
    tmp_path: Path, pair: Callable[..., None], location: str, image: str, annotation: str
):
    pair(image, annotation)
    text(tmp_path / "data.yaml", f"train: {location}", "names: [ant]")
    ((name, split, labels),) = found(tmp_path)
    assert (name.rpartition("/")[2].lower(), split, labels) == ("a.png", "train", ["ant"])


def test_label_files_are_found_as_in_ultralytics(tmp_path: Path, pair: Callable[..., None]):
    """Its rule (img2label_paths): the last /images/ of a path becomes /labels/, the ending .txt."""
    images = [
        f"{a}images/{b}p{n}.png" for n, (a, b) in enumerate((("", ""), ("x/", ""), ("images/", "y/"), ("z/", "w/")))
    ]
    for image in images:
        before, _, after = f"/{image}".rpartition("/images/")
        pair(image, f"{before}/labels/{after.removesuffix('.png')}.txt".lstrip("/"))
    text(tmp_path / "data.yaml", "train: .", "names: [ant]")
    assert [labels for _, _, labels in found(tmp_path)] == [["ant"]] * 4


def test_other_keys_for_splits_are_read(tmp_path: Path, pair: Callable[..., None]):
    for key in ("training", "validation", "testing"):
        pair(f"{key}/images/{key}.png", f"{key}/labels/{key}.txt")
    text(
        tmp_path / "data.yaml",
        *(f"{key}: {key}/images" for key in ("training", "validation", "testing")),
        "names: [ant]",
    )
    assert [split for _, split, _ in found(tmp_path)] == ["train", "validation", "test"]


@pytest.mark.parametrize("location", ["images/valid", "/content/set/valid/images", "../valid/images", "valid.txt"])
def test_a_location_that_does_not_exist_is_counted(tmp_path: Path, pair: Callable[..., None], location: str):
    pair("images/train/a.png", "labels/train/a.txt")
    pair("images/val/b.png", "labels/val/b.txt")
    text(tmp_path / "data.yaml", "train: images/train", f"val: {location}", "names: [ant]")
    collection = open_source(tmp_path)
    assert counts(collection) == {MISSING: 1, "image in no split of data.yaml (left out)": 1}
    assert [finding.examples for finding in collection.findings] == [
        (f"{location} (val in data.yaml)",),
        ("images/val/b.png",),
    ]


@pytest.mark.parametrize(
    "lines", [("train: gone/images", "val: gone/images"), ("train: images/gone",), ("val: /x/train.txt",)]
)
def test_a_config_without_existing_locations_is_rejected(
    tmp_path: Path, pair: Callable[..., None], lines: tuple[str, ...]
):
    pair("images/train/a.png", "labels/train/a.txt")
    text(tmp_path / "data.yaml", *lines, "names: [ant]")
    with pytest.raises(DataError, match=r"names images that do not exist: .*(gone|/x/train.txt)"):
        open_source(tmp_path)


def test_a_data_yaml_without_folders_applies_to_its_own_folder(tmp_path: Path, pair: Callable[..., None]):
    pair("images/train/a.png", "labels/train/a.txt")
    pair("images/val/b.png", "labels/val/b.txt")
    text(tmp_path / "data.yaml", "nc: 1", "names: [ant]")
    assert found(tmp_path) == [("a.png", "train", ["ant"]), ("b.png", "validation", ["ant"])]


def test_an_image_in_two_splits_is_kept_for_the_test(tmp_path: Path, pair: Callable[..., None]):
    for name in ("a", "b"):
        pair(f"images/{name}.png", f"labels/{name}.txt")
    text(tmp_path / "train.txt", "images/a.png", "images/b.png")
    text(tmp_path / "test.txt", "images/b.png", "images/b.png")
    text(tmp_path / "data.yaml", "train: train.txt", "test: test.txt", "names: [ant]")
    assert [entry[:2] for entry in found(tmp_path)] == [("a.png", "train"), ("b.png", "test")]
    assert counts(open_source(tmp_path)) == {"image in two splits (kept for test, else for validation)": 1}


def test_the_same_folder_for_training_and_validation_is_not_split(tmp_path: Path, pair: Callable[..., None]):
    pair("images/a.png", "labels/a.txt")
    text(tmp_path / "data.yaml", "train: ./images/", "validation: images", "names: [ant]")
    assert found(tmp_path) == [("a.png", "all", ["ant"])]


@pytest.mark.parametrize(
    "line", ["data/obj_train_data/a b.png", "/home/me/set/obj_train_data/a b.png", "obj_train_data\\a b.png"]
)
def test_darknet_lists_are_read_and_missing_ones_counted(tmp_path: Path, pair: Callable[..., None], line: str):
    pair("obj_train_data/a b.png", "obj_train_data/a b.txt")
    text(tmp_path / "obj.names", "ant")
    text(tmp_path / "train.txt", line)
    text(
        tmp_path / "obj.data",
        "classes=1",
        "train=data/train.txt",
        "valid=data/test.txt",
        "names=data/obj.names",
        "backup=b",
    )
    assert found(tmp_path) == [("a b.png", "train", ["ant"])]
    (finding,) = open_source(tmp_path).findings
    assert (finding.rule, finding.examples) == (MISSING, ("data/test.txt (valid in obj.data)",))


def test_labelimgs_folders_and_lists_of_splits_are_kept(tmp_path: Path, pair: Callable[..., None]):
    text(tmp_path / "classes.txt", "ant")
    pair("train/a.png", "train/a.txt")
    pair("Test/b.png", "Test/b.txt")
    pair("more/c.png", "more/c.txt")
    text(tmp_path / "val.txt", "more/c.png")
    assert sorted(found(tmp_path)) == [
        ("a.png", "train", ["ant"]),
        ("b.png", "test", ["ant"]),
        ("more/c.png", "validation", ["ant"]),
    ]


def test_a_data_yaml_can_be_the_source(tmp_path: Path, pair: Callable[..., None]):
    pair("images/a.png", "labels/a.txt")
    for name in ("one", "two"):
        text(tmp_path / f"{name}.yaml", "train: images", f"names: [{name}]")
    assert open_source(tmp_path / "two.yaml").labels == ("two",)


def test_a_second_data_file_that_agrees_is_reported(tmp_path: Path, pair: Callable[..., None]):
    pair("images/a.png", "labels/a.txt")
    for name in ("data", "fold_2"):
        text(tmp_path / f"{name}.yaml", "train: images", "names: [ant]")
    (finding,) = open_source(tmp_path).findings
    assert (finding.rule, finding.examples) == (
        "dataset file ignored in favor of data.yaml",
        ("fold_2.yaml",),
    )


@pytest.mark.parametrize("line", ["0.000000000000000000e+00 5.0e-01 5.0e-01 5.0e-01 1.0e+00", "0.0 .5 .5 .5 1"])
def test_numbers_in_other_notations_are_yolo_lines(tmp_path: Path, draw: Draw, line: str):
    draw(tmp_path / "a.png", 40, 20)
    text(tmp_path / "a.txt", line)
    text(tmp_path / "classes.txt", "ant")
    (image,) = open_source(tmp_path).images()
    assert (image.annotations[0].label, image.annotations[0].box) == ("ant", (10, 0, 30, 20))


@pytest.mark.parametrize("line", ["² 0.5 0.5 0.5 0.5", "dog 1 2 3 4", "0.5 0.5 0.5 0.5 0.5", "0 nan 0 0 0"])
def test_other_lines_are_not_yolo(tmp_path: Path, line: str):
    text(tmp_path / "a.txt", line)
    text(tmp_path / "classes.txt", "ant")
    with pytest.raises(DataError, match="no annotations in a known format"):
        open_source(tmp_path)


def test_a_source_without_any_label_file_is_rejected(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "a.png", 40, 20)
    text(tmp_path / "label" / "a.csv", LINE)
    text(tmp_path / "data.yaml", "train: images", "names: [ant]")
    with pytest.raises(DataError, match=r"none of its 1 images has a text file, for example a\.png"):
        open_source(tmp_path)


def test_a_split_without_a_label_file_is_counted(tmp_path: Path, pair: Callable[..., None], draw: Draw):
    pair("images/train/a.png", "labels/train/a.txt")
    draw(tmp_path / "images" / "test" / "b.png", 40, 20)
    text(tmp_path / "data.yaml", "train: images/train", "test: images/test", "names: [ant]")
    findings = {finding.rule: finding.examples for finding in open_source(tmp_path).findings}
    assert findings["split without a text file (read as images without objects)"] == ("test",)


@pytest.mark.parametrize("extra", ["1: x", "on: y", "? [1, 2]\n: z"])
def test_unusual_keys_are_ignored(tmp_path: Path, pair: Callable[..., None], extra: str):
    pair("images/a.png", "labels/a.txt")
    text(tmp_path / "data.yaml", "train: images", "names: [ant]")
    text(tmp_path / "other.yaml", extra)
    assert found(tmp_path) == [("a.png", "train", ["ant"])]


@pytest.mark.parametrize("config", ["nc: two\ntrain: images", "names: 2023-13-45\ntrain: images", "names: {a: 0}"])
def test_an_invalid_data_yaml_is_rejected_with_one_line(tmp_path: Path, pair: Callable[..., None], config: str):
    pair("images/a.png", "labels/a.txt")
    text(tmp_path / "data.yaml", config)
    with pytest.raises(DataError, match=r"data\.yaml") as raised:
        open_source(tmp_path)
    assert "\n" not in str(raised.value)
