"""The rules for files in folders."""

import os
import unicodedata
from pathlib import Path

import pytest

from toolchain.image_files import (
    BROKEN_LINK,
    FORBIDDEN,
    HIDDEN,
    IMAGE_SUFFIXES,
    LOOP,
    OTHER_SUFFIX,
    child,
    descendant,
    files_in,
    files_under,
    folders_in,
    is_image,
    list_files,
    name_key,
    readable,
)

LATIN = os.fsdecode("café.jpg".encode("latin-1"))  # as a file that an old system wrote is called here


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(folder: Path, *paths: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_skipped_files_are_listed_by_reason(tmp_path: Path):
    fill(tmp_path, "b/z.JPG", "a.jfif", "._a.jpg", ".git/x.jpg", "b/.ipynb_checkpoints/z.jpg", "Thumbs.db", "notes.txt")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    found = list_files(tmp_path, *IMAGE_SUFFIXES)
    assert names(tmp_path, *found.files) == ["a.jfif", "b/z.JPG"]
    assert {reason: names(tmp_path, *paths) for reason, paths in found.skipped.items()} == {
        HIDDEN: ["._a.jpg", ".git", "Thumbs.db", "b/.ipynb_checkpoints"],
        BROKEN_LINK: ["gone.jpg"],
        OTHER_SUFFIX: ["notes.txt"],
    }


def test_links_are_followed_except_to_a_parent_folder(tmp_path: Path):
    fill(tmp_path, "set/real/a.jpg", "other/b.jpg")
    (tmp_path / "set/other").symlink_to("../other")
    (tmp_path / "set/again").symlink_to("real/a.jpg")
    (tmp_path / "other/up").symlink_to("../set")
    (tmp_path / "set/self").symlink_to(".")
    found = list_files(tmp_path / "set")
    assert names(tmp_path / "set", *found.files) == ["again", "other/b.jpg", "real/a.jpg"]
    assert names(tmp_path / "set", *found.skipped[LOOP]) == ["other/up", "self"]


def test_files_and_folders_of_a_single_folder(tmp_path: Path):
    fill(tmp_path, "a.YML", "b.yaml", "._b.yaml", "inner/c.yaml", ".hidden/d.yaml")
    assert names(tmp_path, *files_in(tmp_path, ".yaml", ".yml")) == ["a.YML", "b.yaml"]
    assert names(tmp_path, *folders_in(tmp_path)) == ["inner"]
    assert files_in(tmp_path / "gone") == files_under(tmp_path / "gone") == []


def test_a_child_is_found_in_any_case_and_unicode_normalization(tmp_path: Path):
    decomposed = unicodedata.normalize("NFD", "Bäume.JPG")
    fill(tmp_path, f"Images/{decomposed}", LATIN)
    assert descendant(tmp_path, "images/bäume.jpg") == tmp_path / "Images" / decomposed
    assert child(tmp_path, "café.jpg") == tmp_path / LATIN
    assert descendant(tmp_path / "Images", "../café.jpg") is None


def test_an_exact_name_goes_first_and_ambiguous_names_are_not_found(tmp_path: Path):
    fill(tmp_path, "A.jpg", "a.jpg")
    assert child(tmp_path, "a.jpg") == tmp_path / "a.jpg"
    assert child(tmp_path, "a.JPG") is None


def test_a_file_added_later_is_found(tmp_path: Path):
    assert child(tmp_path, "a.jpg") is None
    fill(tmp_path, "A.jpg")
    os.utime(tmp_path, ns=(1, 1))
    assert child(tmp_path, "a.jpg") == tmp_path / "A.jpg"


@pytest.mark.parametrize("name", ["a.jpg", "日本.png", "ü"])
def test_a_readable_name_is_unchanged(name: str):
    assert readable(name) == name


def test_a_name_that_is_not_utf_8_becomes_text():
    assert readable(LATIN) == "café.jpg"
    assert readable("\udc85\udc97.jpg") == "…—.jpg"  # Windows-1252
    readable("half \ud83d of an emoji").encode("utf-8")
    assert name_key(LATIN) == name_key("CAFÉ.JPG")


def test_suffixes_of_images(tmp_path: Path):
    assert all(is_image(tmp_path / name) for name in ("a.JPG", "a.jfif", "a.mpo", "a.TIF", "a.pbm"))
    assert not is_image(tmp_path / "a.txt")


def test_a_folder_without_read_permission_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path, "open/a.jpg", "closed/b.jpg")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # a test that runs as root could read it
    found = list_files(tmp_path)
    assert names(tmp_path, *found.files, *found.skipped[FORBIDDEN]) == ["open/a.jpg", "closed"]
