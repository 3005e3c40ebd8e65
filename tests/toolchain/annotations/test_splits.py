"""Splits by folders, lists and fields are kept by one rule in every format."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from toolchain.annotations import open_source

Draw = Callable[..., Path]


def voc(folder: Path, name: str, inner: str = "") -> None:
    path = folder / f"{name}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f"<filename>{Path(name).name}.png</filename>"
    path.write_text(f"<annotation>{head}<size><width>40</width><height>30</height></size>{inner}</annotation>")


def labelme(folder: Path, name: str, **fields: object) -> None:
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    base = f"{Path(name).name}.png"
    path.write_text(json.dumps({"shapes": [], "imagePath": base, "imageWidth": 40, "imageHeight": 30, **fields}))


def cvat(folder: Path, name: str) -> None:
    path = folder / Path(name).parent / "annotations.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<annotations><image name="{Path(name).name}.png" width="40" height="30"/></annotations>')


def coco(folder: Path, name: str, **fields: object) -> None:
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    image = {"id": 1, "file_name": f"{Path(name).name}.png", "width": 40, "height": 30, **fields}
    path.write_text(json.dumps({"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))


def via(folder: Path, name: str, **fields: object) -> None:
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}
    regions = [{"shape_attributes": shape, "region_attributes": {"label": "cat"}}]
    entry = {"filename": f"{Path(name).name}.png", "size": 1, "regions": regions, "file_attributes": fields}
    path.write_text(json.dumps({"a": entry}))


def createml(folder: Path, name: str) -> None:
    path = folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{"image": f"{Path(name).name}.png", "annotations": []}]))


WRITERS = {"voc": voc, "labelme": labelme, "cvat": cvat, "coco": coco, "via": via, "createml": createml}


def splits(folder: Path) -> dict[str, str]:
    return {image.name: image.split for image in open_source(folder).images()}


def findings(folder: Path) -> dict[str, int]:
    return {finding.rule: finding.count for finding in open_source(folder).findings}


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("layout", ["{}", "{}/annotations", "site/{}"])
@pytest.mark.parametrize("with_images", [True, False])
def test_a_folder_around_annotations_gives_their_split(
    tmp_path: Path, draw: Draw, format_: str, layout: str, with_images: bool
):
    for number, folder in enumerate(("train", "valid", "Test_Set", "other")):
        WRITERS[format_](tmp_path, f"{layout.format(folder)}/p{number}")
        if with_images:
            draw(tmp_path / layout.format(folder) / f"p{number}.png", 40, 30)
    found = {Path(name).name: split for name, split in splits(tmp_path).items()}
    assert found == {"p0.png": "train", "p1.png": "validation", "p2.png": "test", "p3.png": "all"}


def test_the_folder_of_a_split_is_removed_from_names(tmp_path: Path, draw: Draw):
    for name in ("images/train/day 1/a", "images/test/a"):
        voc(tmp_path, name)
        draw(tmp_path / f"{name}.png", 40, 30)
    assert splits(tmp_path) == {"day 1/a.png": "train", "a.png": "test"}


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("where", ["{}.txt", "ImageSets/Main/{}.txt", "ImageSets/{}.txt", "splits/{}_list.txt"])
def test_a_list_gives_the_split_of_the_images_in_it(tmp_path: Path, draw: Draw, format_: str, where: str):
    names = {"train": ("a", "b c"), "val": ("d",), "test": ("e",)}
    for split, listed in names.items():
        path = tmp_path / where.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{name}\n" for name in listed))
        for name in listed:
            WRITERS[format_](tmp_path, f"set {name}/{name}" if format_ == "cvat" else name)
            draw(tmp_path / f"{name}.png", 40, 30)
    assert splits(tmp_path) == {"a.png": "train", "b c.png": "train", "d.png": "validation", "e.png": "test"}


@pytest.mark.parametrize(
    "line", ["JPEGImages/a.png Annotations/a.xml", "./JPEGImages/a.png", "D:\\set\\JPEGImages\\a.png"]
)
def test_a_list_can_contain_paths(tmp_path: Path, draw: Draw, line: str):
    voc(tmp_path / "Annotations", "a")
    draw(tmp_path / "JPEGImages" / "a.png", 40, 30)
    (tmp_path / "test.txt").write_text(line)
    assert splits(tmp_path) == {"a.png": "test"}
    assert findings(tmp_path) == {}


def test_conflicts_and_missing_images_of_lists_are_counted(tmp_path: Path, draw: Draw):
    for name in ("a", "b"):
        voc(tmp_path / "Annotations", name)
        draw(tmp_path / "JPEGImages" / f"{name}.png", 40, 30)
    main = tmp_path / "ImageSets" / "Main"
    main.mkdir(parents=True)
    (main / "train.txt").write_text("a\nb\n")
    (main / "val.txt").write_text("b\n")
    (main / "trainval.txt").write_text("a\nb\n")
    (main / "test.txt").write_text("b\ngone\n")
    (main / "cat_train.txt").write_text("a -1\nb 1\n")
    assert splits(tmp_path) == {"a.png": "train", "b.png": "test"}
    assert findings(tmp_path) == {
        "image in a list without an annotation": 1,
        "image in the lists of two splits (kept for test, else for validation)": 2,
    }


@pytest.mark.parametrize(
    ("format_", "write"),
    [
        ("voc", lambda folder, split: voc(folder, split, f"<split>{split}</split>")),
        ("labelme", lambda folder, split: labelme(folder, split, split=split)),
        ("labelme", lambda folder, split: labelme(folder, split, flags={"train": False, split: True, "dark": True})),
        ("via", lambda folder, split: via(folder, "c", split=split)),
        ("coco", lambda folder, split: coco(folder, f"{split}-x" if split == "all" else "c", split=split)),
    ],
)
def test_a_field_of_an_image_gives_its_split(tmp_path: Path, format_: str, write: Callable[[Path, str], None]):
    write(tmp_path, "val")
    assert list(splits(tmp_path).values()) == ["validation"]
    assert open_source(tmp_path).format == format_


def test_the_formats_own_split_goes_before_folders(tmp_path: Path):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "annotations.xml").write_text(
        '<annotations><image name="train/a.png" width="4" height="3" subset="Test"/></annotations>'
    )
    assert splits(tmp_path) == {"train/a.png": "test"}


@pytest.mark.parametrize("format_", ["cvat", "coco", "via", "createml"])
def test_the_name_of_an_annotation_file_gives_the_split(tmp_path: Path, format_: str):
    for split in ("train", "val"):
        WRITERS[format_](tmp_path / split, "x")
        (file,) = (tmp_path / split).iterdir()
        file.rename(tmp_path / f"{split}_annotations{file.suffix}")
        (tmp_path / split).rmdir()
        text = (tmp_path / f"{split}_annotations{file.suffix}").read_text()
        (tmp_path / f"{split}_annotations{file.suffix}").write_text(text.replace("x.png", f"{split}-1.png"))
    assert splits(tmp_path) == {"train-1.png": "train", "val-1.png": "validation"}
