"""YOLO in the layouts of Ultralytics, Darknet (CVAT) and LabelImg."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.annotations import AnnotatedImage, Annotation, open_source, write
from toolchain.annotations.geometry import corners
from toolchain.annotations.yolo.writer import join_polygons
from toolchain.errors import DataError

Draw = Callable[..., Path]


def text(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def images(folder: Path, **settings: str) -> list[AnnotatedImage]:
    return list(open_source(folder, **settings).images())  # type: ignore[arg-type]


@pytest.fixture
def labelimg(tmp_path: Path, draw: Draw) -> Path:
    """A folder as LabelImg leaves it."""
    draw(tmp_path / "a b.png", 40, 20)
    text(tmp_path / "classes.txt", "dog", "big cat")
    text(tmp_path / "a b.txt", "1 0.5 0.5 0.5 1.0")
    return tmp_path


def test_labelimg(labelimg: Path, draw: Draw):
    draw(labelimg / "empty.png", 8, 8)
    first, second = images(labelimg)
    assert (first.name, first.width, first.height) == ("a b.png", 40, 20)
    assert first.annotations == (Annotation(label="big cat", box=(10, 0, 30, 20)),)
    assert (second.name, second.annotations) == ("empty.png", ())


@pytest.mark.parametrize("names", ["[dog, big cat]", "{0: dog, 1: big cat}", "{1: big cat, 0: dog}"])
def test_ultralytics(tmp_path: Path, draw: Draw, names: str):
    for split in ("train", "val"):
        draw(tmp_path / "images" / split / "day 1" / "a.png", 40, 20)
        text(tmp_path / "labels" / split / "day 1" / "a.txt", "1 0.5 0.5 0.5 1.0")
    text(
        tmp_path / "data.yaml", "path: /on/another/machine", "train: images/train", "val: images/val", f"names: {names}"
    )
    collection = open_source(tmp_path)
    assert collection.labels == ("dog", "big cat")
    assert [(p.name, p.split, len(p.annotations)) for p in collection.images()] == [
        ("day 1/a.png", "train", 1),
        ("day 1/a.png", "validation", 1),
    ]


def test_roboflow_puts_splits_outside(tmp_path: Path, draw: Draw):
    draw(tmp_path / "train" / "images" / "a.png", 40, 20)
    text(tmp_path / "train" / "labels" / "a.txt", "0 0.5 0.5 0.5 1.0")
    text(tmp_path / "data.yaml", "train: ../train/images", "val: ../valid/images", "names: [dog]")
    (image,) = images(tmp_path)
    assert (image.split, len(image.annotations)) == ("train", 1)


def test_a_list_of_images(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "train" / "a b.png", 40, 20)
    text(tmp_path / "labels" / "train" / "a b.txt", "0 0.5 0.5 0.5 1.0")
    text(tmp_path / "train.txt", "./images/train/a b.png")
    text(tmp_path / "data.yaml", "train: train.txt", "names: [dog]")
    (image,) = images(tmp_path)
    assert (image.name, image.split, len(image.annotations)) == ("a b.png", "train", 1)


def test_cvats_yolo_with_subsets_spaces_and_folders(tmp_path: Path, draw: Draw):
    draw(tmp_path / "obj_train_data" / "my folder" / "frame 1.png", 40, 20)
    text(tmp_path / "obj_train_data" / "my folder" / "frame 1.txt", "0 0.5 0.5 0.5 1.0")
    draw(tmp_path / "obj_valid_data" / "b.png", 40, 20)
    text(tmp_path / "obj_valid_data" / "b.txt")
    text(tmp_path / "obj.names", "dog")
    text(tmp_path / "train.txt", "data/obj_train_data/my folder/frame 1.png")
    text(tmp_path / "valid.txt", "data/obj_valid_data/b.png")
    text(
        tmp_path / "obj.data",
        "classes = 1",
        "train = data/train.txt",
        "valid = data/valid.txt",
        "names = data/obj.names",
    )
    first, second = images(tmp_path)
    assert (first.name, first.split, len(first.annotations)) == ("my folder/frame 1.png", "train", 1)
    assert (second.name, second.split, second.annotations) == ("b.png", "validation", ())


def test_a_class_beyond_the_list_has_no_name(labelimg: Path):
    text(labelimg / "a b.txt", "2 0.5 0.5 0.5 1.0", "-1 0.5 0.5 0.5 1.0")
    assert [annotation.label for annotation in images(labelimg)[0].annotations] == ["@class 2", "@class -1"]


def test_polygons_and_oriented_boxes_are_reported_apart(labelimg: Path):
    square = "0 0.25 0.0 0.75 0.0 0.75 1.0 0.25 1.0"
    text(labelimg / "a b.txt", square)
    (annotation,) = images(labelimg)[0].annotations
    assert (annotation.polygons, annotation.rotation) == ((), 0)
    assert annotation.box == pytest.approx((10, 0, 30, 20))
    (annotation,) = images(labelimg, task="segment")[0].annotations
    assert annotation.polygons == ((10, 0, 30, 0, 30, 20, 10, 20),)
    text(labelimg / "a b.txt", square, "0 0.25 0.0 0.75 0.0 0.75 1.0")  # 7 numbers: polygons
    assert all(annotation.polygons for annotation in images(labelimg)[0].annotations)


def test_an_oriented_box_is_rotated_clockwise(labelimg: Path):
    text(labelimg / "a b.txt", "0 0.75 0.0 0.75 1.0 0.25 1.0 0.25 0.0")  # begins at the right upper corner
    (annotation,) = images(labelimg)[0].annotations
    assert annotation.rotation == pytest.approx(90)
    assert corners(annotation) == pytest.approx((30, 0, 30, 20, 10, 20, 10, 0))


def test_four_corners_that_are_not_a_rectangle_are_a_polygon(labelimg: Path):
    text(labelimg / "a b.txt", "0 0.1 0.1 0.9 0.2 0.8 0.9 0.2 0.8")
    (annotation,) = images(labelimg)[0].annotations
    assert len(annotation.polygons[0]) == 8


@pytest.mark.parametrize(
    ("shape", "line", "points"),
    [
        ("[2, 3]", "0 0.5 0.5 0.5 1 0.1 0.2 2 0.3 0.4 1", (4, 4, 2, 12, 8, 1)),
        ("[2, 2]", "0 0.5 0.5 0.5 1 0.1 0.2 0.3 0.4", (4, 4, 2, 12, 8, 2)),
        ("[1, 3]", "0 0.5 0.5 0.5 1 0 0 0", (0, 0, 0)),
    ],
)
def test_keypoints_are_read_in_pixels_and_written_again(
    tmp_path: Path, draw: Draw, shape: str, line: str, points: tuple[float, ...]
):
    draw(tmp_path / "images" / "a.png", 40, 20)
    text(tmp_path / "labels" / "a.txt", line)
    text(tmp_path / "data.yaml", "train: images", "names: [dog]", f"kpt_shape: {shape}", "flip_idx: [0]")
    collection = open_source(tmp_path)
    (image,) = collection.images()
    assert image.annotations[0].keypoints == pytest.approx(points)
    write(tmp_path / "again", collection, collection.images(), "yolo", "pose")
    assert (tmp_path / "again/labels/train/a.txt").read_text() == f"{line}\n"
    config = yaml.safe_load((tmp_path / "again/data.yaml").read_text())
    assert (config["kpt_shape"], config["flip_idx"]) == (yaml.safe_load(shape), [0])


def test_keypoints_without_kpt_shape_have_visibility_if_all_third_values_are(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "a.png", 40, 20)
    text(tmp_path / "data.yaml", "train: images", "names: [dog]", "task: pose")
    for line, points in (("0.1 0.2 2 0.3 0.4 1", (4, 4, 2, 12, 8, 1)), ("0.1 0.2 0.3 0.4", (4, 4, 2, 12, 8, 2))):
        text(tmp_path / "labels" / "a.txt", f"0 0.5 0.5 0.5 1 {line}")
        assert images(tmp_path)[0].annotations[0].keypoints == pytest.approx(points)


def test_several_polygons_are_joined_without_area():
    squares = ((0.0, 0.0, 1.0, 0.0, 1.0, 1.0), (5.0, 5.0, 6.0, 5.0, 6.0, 6.0))
    whole = join_polygons(squares)
    xs, ys = whole[0::2], whole[1::2]
    area = abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2
    assert area == pytest.approx(1.0)  # two triangles of half a pixel


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5", "3 numbers; a box has 5"),
        ("0 0.5 0.5 0.5 0.5 0.5 0.5 0.5", "8 numbers"),
        ("0 0.5 0.5 inf 0.5", "'inf' is not a finite number"),
    ],
)
def test_an_invalid_line_is_named_and_does_not_stop_reading(labelimg: Path, line: str, message: str):
    text(labelimg / "a b.txt", "0 0.5 0.5 0.5 0.5", line)
    whole, error = images(labelimg, format_="yolo")[0].annotations
    assert whole.error == ""
    assert message in error.error
    assert "a b.txt, line 2" in error.error


def test_class_numbers_in_other_notations_are_read(labelimg: Path):
    text(labelimg / "a b.txt", "0.000000000000000000e+00 0.5 0.5 0.5 0.5", "dog 0.5 0.5 0.5 0.5")
    assert [annotation.label for annotation in images(labelimg, format_="yolo")[0].annotations] == ["dog", "@class dog"]


@pytest.mark.parametrize(
    ("config", "message"),
    [("names: {0: a, 2: b}", "without a gap"), ("names: 3", "give a list"), ("names: [a", "is not YAML")],
)
def test_bad_names_are_rejected(tmp_path: Path, config: str, message: str):
    text(tmp_path / "data.yaml", "train: images", config)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path, "yolo")


FRACTIONS = st.integers(0, 10**6).map(lambda n: f"{n / 10**6:.6f}")


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(FRACTIONS, min_size=8, max_size=8), min_size=1, max_size=4),
    st.integers(1, 900),
    st.integers(1, 900),
)
def test_corners_with_six_decimals_are_written_again_unchanged(rows: list[list[str]], width: int, height: int):
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        for task, numbers in (("detect", 4), ("segment", 6), ("obb", 8)):
            lines = [" ".join(["0", *row[:numbers]]) for row in rows]
            text(one / "a.txt", *lines)
            text(one / "classes.txt", "dog")
            Image.new("L", (width, height)).save(one / "a.png")
            collection = open_source(one, task=task)
            write(two / task, collection, collection.images(), "yolo", task)
            again = (two / task / "labels" / "all" / "a.txt").read_text().splitlines()
            for before, after in zip(lines, again, strict=True):
                assert [float(n) for n in after.split()] == pytest.approx([float(n) for n in before.split()], abs=1e-6)


def test_cvats_ultralytics_export_lists_images_in_a_missing_folder(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "train" / "day 1" / "a b.png", 40, 20)
    text(tmp_path / "labels" / "train" / "day 1" / "a b.txt", "0 0.5 0.5 0.5 1.0")
    text(tmp_path / "train.txt", "data/images/train/day 1/a b.png")
    text(tmp_path / "data.yaml", "path: .", "train: train.txt", "names: {0: dog}")
    (image,) = images(tmp_path)
    assert (image.name, image.split, len(image.annotations)) == ("day 1/a b.png", "train", 1)
    assert image.file


def test_missing_text_files_are_reported(labelimg: Path, draw: Draw):
    draw(labelimg / "b.png", 8, 8)
    text(labelimg / "README.txt", "These are dogs and cats of our own.")
    collection = open_source(labelimg)
    assert [(finding.rule, finding.examples) for finding in collection.findings] == [
        ("image without a text file (read as an image without objects)", ("b.png",)),
        ("text file without an image that is not YOLO (left out)", ("README.txt",)),
    ]
    assert len(list(collection.images())) == 2


@pytest.mark.parametrize(
    "line", ["../../images/secret.png", "/home/me/images/secret.png", "C:\\images\\..\\..\\secret.png"]
)
def test_a_list_cannot_lead_out_of_the_folder(tmp_path: Path, draw: Draw, line: str):
    draw(tmp_path / "images" / "secret.png", 4, 4)
    text(tmp_path / "labels" / "secret.txt", "0 0.5 0.5 0.5 1.0")
    folder = tmp_path / "source" / "inner"
    text(folder / "train.txt", line)
    text(folder / "data.yaml", "train: train.txt", "names: [dog]")
    (image,) = images(folder)
    assert (image.name, image.file, image.annotations) == ("secret.png", None, ())


def test_a_list_with_paths_of_another_machine_is_read(tmp_path: Path, draw: Draw):
    draw(tmp_path / "images" / "a.png", 40, 20)
    text(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.5 1.0")
    text(tmp_path / "train.txt", "/content/data/images/a.png")
    text(tmp_path / "data.yaml", "train: train.txt", "names: [dog]")
    (image,) = images(tmp_path)
    assert (image.name, len(image.annotations), image.file is not None) == ("a.png", 1, True)


def test_predictions_with_scores_are_boxes(labelimg: Path):
    text(labelimg / "a b.txt", "1 0.5 0.5 0.5 1.0 0.9", "0 0.5 0.5 0.5 0.5 0.8")
    assert [(annotation.label, annotation.box) for annotation in images(labelimg)[0].annotations] == [
        ("big cat", (10, 0, 30, 20)),
        ("dog", (10, 5, 30, 15)),
    ]


@pytest.mark.parametrize("count", ["1000000000000", "true", "-1", "0"])
def test_an_invalid_number_of_classes_is_rejected(tmp_path: Path, count: str):
    text(tmp_path / "data.yaml", "train: images", f"nc: {count}")
    with pytest.raises(DataError, match=r"nc is .*; give the number of classes"):
        open_source(tmp_path)
