"""Detect the format of a file from its name and its first bytes, and report damaged files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.data.ingest.encodings import encoding_of, suggest_encoding
from toolchain.errors import DataError
from toolchain.services import compression

FORMATS = ("csv", "tsv", "jsonl", "parquet")
ENDINGS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl"}
ENDINGS |= {"parquet": "parquet", "pq": "parquet", "parq": "parquet"}
PARQUET_MAGIC = b"PAR1"
UNSUPPORTED = {  # by magic number
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
    b"SQLite": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel or Word file (save it as CSV)",
    b"ARROW1": "an Arrow file (save it as Parquet)",
    b"ORC": "an ORC file (save it as Parquet)",
    b"Obj\x01": "an Avro file (save it as Parquet)",
    b"\x89HDF": "an HDF5 file (save it as Parquet)",
    b"\x93NUMPY": "a NumPy array",
    b"\x80\x04\x95": "a pickle (save it as Parquet)",
    b"\x80\x05\x95": "a pickle (save it as Parquet)",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive (unpack it)",
    b"Rar!": "a RAR archive (unpack it)",
}
TAR_MAGIC = slice(257, 262), b"ustar"
MAX_MESSAGE_CHARACTERS = 160  # of a library's message in an error
HEAD_BYTES = 4096  # read to detect the format


def format_of(file: Path, source: str, encoding: str) -> str:
    """Return the format of ``file`` by the ending of its name, else by its content; a text table is "csv".

    Raises:
        DataError: the format cannot be detected, or is not supported.
    """
    ending = compression.without_ending(file.name.lower()).rpartition(".")[2]
    if ending in ENDINGS:
        return ENDINGS[ending]
    head = first_bytes(file, source)
    found = _detect(head, encoding)
    if found in FORMATS:
        return found
    if found:
        raise DataError(f"{source} is not a table but {found}")
    lines = head.decode(encoding or encoding_of(head), "replace").splitlines()
    if not lines or not re.search(r"[,;\t|]", lines[0]):
        raise DataError(f"{source}: the format cannot be detected; set format to one of {', '.join(FORMATS)}")
    return "csv"


def check_content(file: Path, expected: str, source: str, encoding: str) -> None:
    """Raise DataError if the first bytes of ``file`` are not those of the format ``expected``."""
    compressed = compression.compression_of(file)
    named = next((name for end, name in compression.ENDINGS.items() if file.name.lower().endswith(end)), "")
    head = first_bytes(file, source)
    if not head:
        raise DataError(f"{source} is empty: it has 0 bytes")
    if compressed and expected == "parquet":
        raise DataError(f"{source} is {compressed}-compressed, expected Parquet; unpack it first")
    if named and not compressed:
        raise DataError(
            f"{source} has the ending of a {named} file but is not compressed; rename it, or create it again"
        )
    found = _detect(head, encoding)
    if found and found != expected:
        raise DataError(f"{source} appears to be {found}, expected {expected}; rename it, or set format")
    if expected == "parquet" and found != "parquet":
        raise DataError(f"{source} is not Parquet (it does not begin with PAR1); set format, or create the file again")


def first_bytes(file: Path, source: str, count: int = HEAD_BYTES) -> bytes:
    """Return the first ``count`` bytes of ``file``, uncompressed."""
    with compression.damage_reported(source), compression.open_uncompressed(file, source) as opened:
        return opened.read(count)


def _detect(head: bytes, encoding: str) -> str:
    """Return the format of a file that begins with ``head``, "" if it may be any text."""
    if head.startswith(PARQUET_MAGIC):
        return "parquet"
    if head[TAR_MAGIC[0]] == TAR_MAGIC[1]:
        return "a tar archive (unpack it)"
    for magic, description in UNSUPPORTED.items():
        if head.startswith(magic):
            return description
    found = encoding_of(head)
    if found.startswith(("utf-16", "utf-32")):
        if encoding and found[4:6] not in encoding:
            return f"{found.upper()} text (set encoding={found})"
        head = head.decode(found, "ignore").encode()
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    return "jsonl" if re.match(rb'\{\s*"|\[\s*\{\s*"', start) else ""


@contextmanager
def damage_reported(file: Path, source: str, encoding: str = "utf-8") -> Iterator[None]:
    """Turn errors of readers inside the block into a DataError in one line that names ``source``."""
    try:
        with compression.damage_reported(source):
            yield
    except UnicodeError as error:
        raise DataError(f"{source} is not {encoding} text ({suggest_encoding(file, source, encoding)})") from error


def shorten(message: str) -> str:
    """Return ``message`` in one line of at most ``MAX_MESSAGE_CHARACTERS``."""
    line = " ".join(message.split())
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else f"{line[:MAX_MESSAGE_CHARACTERS]}..."
