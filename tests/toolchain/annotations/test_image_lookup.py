"""Images are found where tools put them, and never outside the source."""

from pathlib import Path

import pytest

from toolchain.annotations.image_lookup import ImageLookup


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("annotation", "name", "image"),
    [
        ("a.xml", "a.png", "a.png"),
        ("annotations/a.xml", "a.png", "images/a.png"),
        ("annotations/train/a.xml", "a.png", "images/train/a.png"),
        ("train/labels/a.xml", "a.png", "train/images/a.png"),
        ("VOC2007/Annotations/a.xml", "a.png", "VOC2007/JPEGImages/a.png"),
        ("labels/a.json", "../images/a.png", "images/a.png"),
        ("labels/a.json", "..\\photos of mine\\a.png", "photos of mine/a.png"),
        ("labels/a.json", "a.png", "somewhere/else/A.PNG"),
        ("train/a.json", "a.png", "pool/a.png"),
    ],
)
def test_images_are_found_in_the_usual_folders(tmp_path: Path, annotation: str, name: str, image: str):
    fill(tmp_path, annotation, image)
    assert ImageLookup(tmp_path).find(tmp_path / annotation, name) == tmp_path / image


def test_images_dir_goes_first(tmp_path: Path):
    fill(tmp_path, "xml/day 1/a.xml", "xml/day 1/a.png", "photos/day 1/a.png")
    lookup = ImageLookup(tmp_path / "xml", tmp_path / "photos")
    assert lookup.find(tmp_path / "xml/day 1/a.xml", "a.png") == tmp_path / "photos/day 1/a.png"


def test_images_of_another_split_and_ambiguous_names_are_not_found(tmp_path: Path):
    fill(tmp_path, "train/a.xml", "val/a.png", "b.xml", "one/b.png", "two/b.png")
    lookup = ImageLookup(tmp_path)
    assert lookup.find(tmp_path / "train/a.xml", "a.png") is None
    assert lookup.find(tmp_path / "b.xml", "b.png") is None


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "../set/../secret.png"])
def test_a_name_never_leads_out_of_the_source(tmp_path: Path, name: str):
    fill(tmp_path, "secret.png", "set/a.xml")
    assert ImageLookup(tmp_path / "set").find(tmp_path / "set/a.xml", name) is None


def test_a_stem_finds_an_image_with_any_suffix(tmp_path: Path):
    fill(tmp_path, "Annotations/a.xml", "JPEGImages/A.JFIF", "elsewhere/b.png")
    lookup = ImageLookup(tmp_path)
    assert lookup.find_stem(tmp_path / "Annotations/a.xml", "gone", "a") == tmp_path / "JPEGImages/A.JFIF"
    assert lookup.find_stem(tmp_path / "Annotations/a.xml", "b") is None
