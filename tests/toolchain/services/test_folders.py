import io
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


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"../../evil.txt": b"a"})
    with pytest.raises(DataError, match=r"would write '../../evil.txt' outside its folder"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_zip_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {f"{n}.bin": bytes(30_000_000) for n in range(5)})
    assert archive.stat().st_size < 200_000
    with pytest.raises(DataError, match="unpacks to over 100 times its size"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_damaged_archive_is_told(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", {"1.bin": bytes(range(256)) * 100}, zipfile.ZIP_STORED)
    content = bytearray(archive.read_bytes())
    content[5_000] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match="damaged or locked: Bad CRC-32"):
        fetch_folder(str(archive), tmp_path / "scratch")


def test_a_file_that_is_no_archive_is_told(tmp_path: Path):
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
def test_a_name_tells_a_folder_from_a_file(uri: str, folder: bool):
    assert is_folder(uri) == folder
