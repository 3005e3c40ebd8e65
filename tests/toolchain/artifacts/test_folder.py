import errno
import os
from pathlib import Path

import pytest

from toolchain.artifacts.folder import (
    disk_fault,
    disk_space_reported,
    link_or_copy,
    new_folder,
    read_json,
    write_file,
    write_json,
)
from toolchain.errors import ArtifactError, StorageFullError


def test_a_folder_is_there_when_its_block_ends_well(tmp_path: Path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "file").read_text() == "x"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt()], ids=["failure", "Ctrl-C"])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: BaseException):
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "file").write_text("x")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_replaces_an_empty_folder(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "out" / "file").exists()


def test_never_overwrites(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"), new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "file").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_clear_line(tmp_path: Path, number: int):
    with pytest.raises(StorageFullError, match="no space is left"), new_folder(tmp_path / "out"):
        raise OSError(number, "full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOSPC, StorageFullError), (errno.EROFS, ArtifactError), (errno.EACCES, ArtifactError)],
)
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
):
    file = tmp_path / "a.json"
    write_file(file, b"old")

    def fails(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(kind, match=r"a\.json"):
        write_file(file, b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.json", b"old")]


def test_other_faults_of_the_system_stay_what_they_are(tmp_path: Path):
    with pytest.raises(PermissionError), disk_space_reported(tmp_path):
        raise PermissionError(errno.EACCES, "no")


def test_json_comes_back(tmp_path: Path):
    write_json(tmp_path / "a.json", {"format": "toolchain.x", "text": "é"})
    assert read_json(tmp_path / "a.json", "toolchain.x") == {"format": "toolchain.x", "text": "é"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": "other"}', "describes 'other'"),
        (b"[1]", "describes 'list'"),
        (b"{", "is damaged"),
        (b"\xff", "is damaged"),
    ],
)
def test_rejects_json_that_is_not_what_it_should_be(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_json(tmp_path / "a.json", "toolchain.x")


def test_shows_which_file_a_foreign_folder_lacks(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"has no a\.json"):
        read_json(tmp_path / "a.json", "toolchain.x")


def test_links_share_their_bytes_and_folders_come_whole(tmp_path: Path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_text("x")
    link_or_copy(tmp_path / "in", tmp_path / "folder")
    link_or_copy(tmp_path / "in" / "deep" / "file", tmp_path / "new" / "file")
    assert (tmp_path / "folder" / "deep" / "file").read_text() == "x"
    assert (tmp_path / "new" / "file").samefile(tmp_path / "in" / "deep" / "file")


def test_copies_where_links_are_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(source: str, target: str) -> None:
        raise OSError(errno.EXDEV, "another disk")

    (tmp_path / "file").write_text("x")
    monkeypatch.setattr("os.link", refuse)
    link_or_copy(tmp_path / "file", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "x"
    assert not (tmp_path / "copy").samefile(tmp_path / "file")


@pytest.mark.parametrize("name", ["missing/file", "x" * 300], ids=["missing folder", "long name"])
def test_a_path_that_cannot_be_is_a_line_and_no_traceback(tmp_path: Path, name: str):
    with pytest.raises(OSError, match=r"\S") as caught:
        (tmp_path / name).write_bytes(b"")
    assert str(tmp_path / name) in (disk_fault(caught.value) or "")
