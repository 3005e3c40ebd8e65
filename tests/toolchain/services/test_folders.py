import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from toolchain.errors import ConfigError, DataError
from toolchain.services.folders import digest_of_folder, fetch_folder, is_folder


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_local_folder_is_used_where_it_is(tmp_path: Path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/1.txt").write_text("a")
    folder = fetch_folder(str(tmp_path / "cats"), tmp_path / "scratch")
    assert folder.path == tmp_path / "cats"
    assert folder.sha256 == digest_of_folder(tmp_path / "cats")


def test_the_digest_of_a_folder_sees_names_and_bytes(tmp_path: Path):
    (tmp_path / "one.txt").write_text("a")
    before = digest_of_folder(tmp_path)
    (tmp_path / "one.txt").rename(tmp_path / "two.txt")
    renamed = digest_of_folder(tmp_path)
    (tmp_path / "two.txt").write_text("b")
    assert len({before, renamed, digest_of_folder(tmp_path)}) == 3


def test_a_zip_is_unpacked_without_what_a_mac_adds(tmp_path: Path):
    files = {"data/cats/1.txt": b"a", "data/dogs/2 3.txt": b"b", "__MACOSX/data/._1.txt": b"x", "data/.DS_Store": b"x"}
    archive = zipped(tmp_path / "a.zip", files)
    folder = fetch_folder(str(archive), tmp_path / "scratch")
    assert names(folder.path) == ["cats/1.txt", "dogs/2 3.txt"], "the one folder in it is the folder"


def test_a_tar_is_unpacked_without_links(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("cats/1.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"a"))
        link = tarfile.TarInfo("cats/passwords")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        entry = tarfile.TarInfo("dogs/2.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"b"))
    folder = fetch_folder(str(tmp_path / "a.tar.gz"), tmp_path / "scratch")
    assert names(folder.path) == ["cats/1.txt", "dogs/2.txt"]


def test_links_that_stay_in_an_archive_are_made_and_others_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, kind, leads_to in (
            ("set/linked", tarfile.SYMTYPE, "../real"),
            ("real/a.txt", tarfile.REGTYPE, ""),
            ("real/again.txt", tarfile.LNKTYPE, "real/a.txt"),
            ("set/out", tarfile.SYMTYPE, "../../.."),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, leads_to, 1 if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(b"a"))
    folder = fetch_folder(str(tmp_path / "a.tar"), tmp_path / "scratch").path
    assert (folder / "set/linked/a.txt").read_text() == (folder / "real/again.txt").read_text() == "a"
    assert not (folder / "set/out").exists()
    assert "links that lead out of the archive are left out: 1, such as set/out" in "".join(capsys.readouterr())


def test_a_link_in_a_zip_is_no_file_that_holds_its_target(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("real/a.txt", b"a")
        archive.writestr("other/b.txt", b"b")
        link = zipfile.ZipInfo("other/linked")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../real")
    folder = fetch_folder(str(tmp_path / "a.zip"), tmp_path / "scratch").path
    assert (folder / "other/linked/a.txt").read_text() == "a"


def test_nothing_is_written_through_a_link(tmp_path: Path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("up")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        entry = tarfile.TarInfo("up/evil.txt")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"a"))
    fetch_folder(str(tmp_path / "a.tar"), tmp_path / "scratch")
    assert not (tmp_path / "evil.txt").exists()


def test_a_zip_of_windows_has_folders(tmp_path: Path):
    folder = fetch_folder(str(zipped(tmp_path / "a.zip", {"cats\\1.txt": b"a", "b.txt": b"b"})), tmp_path / "scratch")
    assert names(folder.path) == ["b.txt", "cats/1.txt"]
    with pytest.raises(DataError, match="outside its folder"):
        fetch_folder(str(zipped(tmp_path / "b.zip", {"..\\..\\evil.txt": b"a"})), tmp_path / "other")


def test_a_name_in_utf_8_that_a_zip_does_not_declare(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"b.txt": b"", "X_.txt": b"a"})
    archive.write_bytes(archive.read_bytes().replace(b"X_.txt", "ü.txt".encode()))
    assert names(fetch_folder(str(archive), tmp_path / "scratch").path) == ["b.txt", "ü.txt"]


@pytest.mark.parametrize("beside", ["README.txt", "LICENSE", "README.roboflow.txt", "paper.PDF", "about.md"])
def test_documents_may_lie_beside_the_one_folder_of_an_archive(tmp_path: Path, beside: str):
    archive = zipped(tmp_path / "a.zip", {"set/cats/1.txt": b"a", beside: b"x"})
    assert names(fetch_folder(str(archive), tmp_path / "scratch").path) == ["cats/1.txt"]


def test_other_files_may_not(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"labels/1.txt": b"a", "classes.txt": b"x"})
    assert names(fetch_folder(str(archive), tmp_path / "scratch").path) == ["classes.txt", "labels/1.txt"]


def test_an_archive_that_would_write_elsewhere_is_rejected(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"../../evil.txt": b"a"})
    with pytest.raises(DataError, match=r"would write '../../evil.txt' outside its folder"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_zip_bomb_is_rejected_before_it_fills_the_disk(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {f"{n}.bin": bytes(30_000_000) for n in range(5)})
    assert archive.stat().st_size < 200_000
    with pytest.raises(DataError, match="unpacks to over 100 times its size"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_damaged_archive_is_reported(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"1.bin": bytes(range(256)) * 100}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[5_000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match="damaged or locked: Bad CRC-32"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_file_that_is_no_archive_is_reported(tmp_path: Path):
    (tmp_path / "a.zip").write_text("hello")
    with pytest.raises(DataError, match="neither a folder nor a ZIP or tar archive"):
        fetch_folder(str(tmp_path / "a.zip"), tmp_path / "scratch")


def test_a_folder_in_a_package_is_found_without_importing_it(tmp_path: Path):
    folder = fetch_folder("package:numpy/typing", tmp_path / "scratch")
    assert (folder.path / "mypy_plugin.py").is_file()
    with pytest.raises(ConfigError, match="the package numpy has no 'nothing'"):
        fetch_folder("package:numpy/nothing", tmp_path / "scratch")


@pytest.mark.parametrize(
    ("uri", "folder"), [("a.zip", True), ("s3://b/p/", True), ("s3://b/p.csv", False), ("none.csv.gz", False)]
)
def test_a_name_distinguishes_a_folder_from_a_file(uri: str, folder: bool):
    assert is_folder(uri) == folder
