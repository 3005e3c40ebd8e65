"""What a file is: what its name says, what its first bytes say, and whether it is whole."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.errors import DataError

FORMATS = ("csv", "tsv", "jsonl", "parquet")
ENDINGS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl"}
ENDINGS |= {"parquet": "parquet", "pq": "parquet"}
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"  # what files of these kinds begin with
FOREIGN = {b"PK\x03\x04": "a ZIP archive", b"%PDF": "a PDF", b"\x7fELF": "a program", b"SQLite": "a SQLite database"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
HEAD_BYTES = 4096  # looked at to tell what a file is


def format_of(source: str, name: str) -> str:
    """Return the format that the file ``name`` says it has.

    Raises:
        DataError: its ending says nothing.
    """
    ending = name.lower().removesuffix(".gz").rpartition(".")[2]
    if ending not in ENDINGS:
        raise DataError(f"{source}: the name does not say the format; set format to one of {', '.join(FORMATS)}")
    return ENDINGS[ending]


def check_content(file: Path, kind: str, source: str, encoding: str) -> None:
    """Raise DataError, saying what ``file`` is instead, unless its first bytes are those of a ``kind`` file."""
    with file.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if not head:
        raise DataError(f"{source} is empty: it has no bytes at all")
    zipped = head.startswith(GZIP)
    if zipped and kind == "parquet":
        raise DataError(f"{source} is gzip-compressed, Parquet is expected; unpack it first")
    if file.name.endswith(".gz") and not zipped:
        raise DataError(f"{source} is named .gz but is not gzip-compressed; rename it, or make it again")
    found = _kind_of(_unpacked(file, source) if zipped else head, encoding)
    if found and found != kind:
        raise DataError(f"{source} is not what it is called: it looks like {found}, {kind} is expected")
    if kind == "parquet" and found != "parquet":
        raise DataError(f"{source} is not Parquet (it does not begin with PAR1); set format, or make the file again")


def _unpacked(file: Path, source: str) -> bytes:
    with damage_reported(source), gzip.open(file) as opened:
        return opened.read(HEAD_BYTES)


def _kind_of(head: bytes, encoding: str) -> str:
    """Return what a file that begins with ``head`` surely is, "" when it may be any text."""
    if head.startswith(PARQUET):
        return "parquet"
    if head.startswith(UTF16):
        return "" if "16" in encoding else "UTF-16 text (set encoding=utf-16)"
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            return kind
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if start.startswith(b"{") and b'":' in start:
        return "jsonl"
    return ""


@contextmanager
def damage_reported(source: str, encoding: str = "utf-8") -> Iterator[None]:
    """Turn what readers raise inside the block on a damaged file into one line that names ``source``."""
    try:
        yield
    except UnicodeError as error:
        raise DataError(f"{source} is not {encoding} text ({error}); set encoding to its own, latin-1 say") from error
    except (EOFError, OSError) as error:
        if isinstance(error, EOFError) or "Truncated compressed" in str(error):
            raise DataError(f"{source} is cut off in the middle of its gzip stream; fetch it again") from error
        if error.errno is None:  # not the system's: the decompressor's or the format's
            raise DataError(f"{source} is damaged ({error}); fetch it again") from error
        raise
