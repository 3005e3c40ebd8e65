import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from toolchain.errors import DataError
from toolchain.services.compression import compression_of, damage_reported, open_uncompressed, without_ending

CONTENT = b"text,label\n" + b"".join(b"row %d,pos\n" % number for number in range(5_000))


def zipped(content: bytes, *names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("a.csv",):
            archive.writestr(name, content)
    return file.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


MAKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "Zstandard": zstandard,
    "ZIP": zipped,
    "": bytes,
}


def read(file: Path) -> bytes:
    with damage_reported("a source"), open_uncompressed(file, "a source") as opened:
        return opened.read()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_file_is_read_as_what_it_holds_whatever_its_name(kind: str, tmp_path: Path):
    (tmp_path / "a").write_bytes(MAKERS[kind](CONTENT))
    assert compression_of(tmp_path / "a") == kind
    assert read(tmp_path / "a") == CONTENT


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "Zstandard"])
def test_members_that_follow_each_other_are_one_file(kind: str, tmp_path: Path):
    (tmp_path / "a").write_bytes(MAKERS[kind](CONTENT) + MAKERS[kind](b"more"))
    assert read(tmp_path / "a") == CONTENT + b"more"


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "Zstandard", "ZIP"])
def test_a_file_that_is_cut_off_is_one_line(kind: str, tmp_path: Path):
    (tmp_path / "a").write_bytes(MAKERS[kind](CONTENT)[:-30])
    with pytest.raises(DataError, match=r"a source is (cut off|damaged)"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a.csv", "b.csv"), r"ZIP archive of 2 files \(a.csv, b.csv\); unpack it"),
        (("__MACOSX/._a.csv",), "ZIP archive of 0 files"),
        (("[Content_Types].xml", "xl/workbook.xml"), "an Office document, not a table; save it as CSV"),
    ],
)
def test_a_zip_of_other_than_one_file_is_rejected(names: tuple[str, ...], message: str, tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(zipped(CONTENT, *names))
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.zip")


def test_what_systems_add_to_a_zip_is_no_file_of_it(tmp_path: Path):
    (tmp_path / "a.zip").write_bytes(zipped(CONTENT, "data/a.csv", "__MACOSX/data/._a.csv"))
    assert read(tmp_path / "a.zip") == CONTENT


def test_a_name_without_its_compression():
    names = ["a.csv.gz", "a.csv.XZ", "a.csv", "a.zip"]
    assert [without_ending(name) for name in names] == ["a.csv", "a.csv", "a.csv", "a"]
