"""Compression: a file opened as what it holds, be it gzip, bzip2, xz, Zstandard, a ZIP of one file, or none."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from toolchain.errors import DataError

MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
MAGIC |= {b"PK\x03\x04": "ZIP", b"PK\x05\x06": "ZIP"}  # the second is that of an empty one
ENDINGS = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard", ".zip": "ZIP"}
WORKBOOK = {"[Content_Types].xml": "an Office document", "mimetype": "an OpenDocument file"}  # ZIPs that are no archive


def compression_of(file: Path) -> str:
    """Return how ``file`` is compressed by its first bytes: "gzip", "bzip2", "xz", "Zstandard", "ZIP" or ""."""
    with file.open("rb") as opened:
        head = opened.read(8)
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), "")


def without_ending(name: str) -> str:
    """Return ``name`` without the ending of a compression: "a.csv.xz" becomes "a.csv"."""
    ending = next((end for end in ENDINGS if name.lower().endswith(end)), "")
    return name[: len(name) - len(ending)] if ending else name


def open_uncompressed(file: Path, source: str) -> IO[bytes]:
    """Return ``file`` open for reading, uncompressed on the way.

    Raises:
        DataError: it is a ZIP archive that holds no file or several, or is damaged; the line names ``source``.
    """
    kind = compression_of(file)
    if kind == "ZIP":
        return _only_member(file, source)
    openers: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open, "Zstandard": _open_zstandard}
    return cast(IO[bytes], openers[kind](file)) if kind else file.open("rb")


@contextmanager
def damage_reported(source: str) -> Iterator[None]:
    """Turn what decompressors raise inside the block on a damaged file into one line that names ``source``."""
    try:
        yield
    except EOFError as error:
        raise DataError(f"{source} is cut off in the middle of its compressed stream; fetch it again") from error
    except (zipfile.BadZipFile, lzma.LZMAError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{source} is damaged or locked ({error}); make the file again") from error
    except OSError as error:
        if "Truncated compressed" in str(error):
            raise DataError(f"{source} is cut off in the middle of its compressed stream; fetch it again") from error
        if error.errno is None:  # not the system's: the decompressor's or the format's
            raise DataError(f"{source} is damaged ({error}); fetch it again") from error
        raise


def _open_zstandard(file: Path) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(file)), "zstd")))


def _only_member(file: Path, source: str) -> IO[bytes]:
    with damage_reported(source):
        archive = zipfile.ZipFile(file)
        names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        for name, kind in WORKBOOK.items():
            if name in names:
                raise DataError(f"{source} is {kind}, not a table; save it as CSV (UTF-8) or Parquet")
        names = [name for name in names if not _is_hidden(name)]
        if len(names) != 1:
            found = ", ".join(names[:5]) or "none"
            raise DataError(f"{source} is a ZIP archive of {len(names)} files ({found}); unpack it, and name one")
        return archive.open(names[0])


def _is_hidden(name: str) -> bool:
    return name.startswith("__MACOSX/") or PurePosixPath(name).name.startswith(".")
