"""What a file is: what its name says, what its first bytes say, and whether it is whole."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from toolchain.data.ingest.encodings import advice, encoding_of
from toolchain.errors import DataError
from toolchain.services import compression

FORMATS = ("csv", "tsv", "jsonl", "parquet")
ENDINGS = {"csv": "csv", "tsv": "tsv", "tab": "tsv", "jsonl": "jsonl", "ndjson": "jsonl", "json": "jsonl"}
ENDINGS |= {"parquet": "parquet", "pq": "parquet", "parq": "parquet"}
PARQUET = b"PAR1"  # what such files begin with
FOREIGN = {
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
TAR = slice(257, 262), b"ustar"  # where a tar archive says so
MAX_MESSAGE_CHARACTERS = 160  # of a library's message inside ours
HEAD_BYTES = 4096  # that show what a file is


def format_of(file: Path, source: str, encoding: str) -> str:
    """Return the format of ``file``: by the ending of its name, else by its content; a table of text is "csv".

    Raises:
        DataError: neither shows it.
    """
    ending = compression.without_ending(file.name.lower()).rpartition(".")[2]
    if ending in ENDINGS:
        return ENDINGS[ending]
    head = first_bytes(file, source)
    found = _kind_of(head, encoding)
    if found in FORMATS:
        return found
    if found:
        raise DataError(f"{source} is not a table but {found}")
    lines = head.decode(encoding or encoding_of(head), "replace").splitlines()
    if not lines or not re.search(r"[,;\t|]", lines[0]):
        raise DataError(f"{source}: the name does not say the format; set format to one of {', '.join(FORMATS)}")
    return "csv"


def check_content(file: Path, kind: str, source: str, encoding: str) -> None:
    """Raise DataError, saying what ``file`` is instead, unless its first bytes are those of a ``kind`` file."""
    compressed = compression.compression_of(file)
    named = next((name for end, name in compression.ENDINGS.items() if file.name.lower().endswith(end)), "")
    head = first_bytes(file, source)
    if not head:
        raise DataError(f"{source} is empty: it has no bytes at all")
    if compressed and kind == "parquet":
        raise DataError(f"{source} is {compressed}-compressed, Parquet is expected; unpack it first")
    if named and not compressed:
        raise DataError(f"{source} is named as if {named}-compressed but is not; rename it, or make it again")
    found = _kind_of(head, encoding)
    if found and found != kind:
        raise DataError(f"{source} is not what it is called: it looks like {found}, {kind} is expected")
    if kind == "parquet" and found != "parquet":
        raise DataError(f"{source} is not Parquet (it does not begin with PAR1); set format, or make the file again")


def first_bytes(file: Path, source: str, count: int = HEAD_BYTES) -> bytes:
    """Return up to ``count`` bytes that ``file`` begins with, uncompressed."""
    with compression.damage_reported(source), compression.open_uncompressed(file, source) as opened:
        return opened.read(count)


def _kind_of(head: bytes, encoding: str) -> str:
    """Return what a file that begins with ``head`` surely is, "" when it may be any text."""
    if head.startswith(PARQUET):
        return "parquet"
    if head[TAR[0]] == TAR[1]:
        return "a tar archive (unpack it)"
    for magic, kind in FOREIGN.items():
        if head.startswith(magic):
            return kind
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
    """Turn what readers raise inside the block on a damaged file into one line that names ``source``."""
    try:
        with compression.damage_reported(source):
            yield
    except UnicodeError as error:
        raise DataError(f"{source} is not {encoding} text ({advice(file, source, encoding)})") from error


def short(message: str) -> str:
    """Return ``message`` in one line that is not too long."""
    line = " ".join(message.split())
    return line if len(line) <= MAX_MESSAGE_CHARACTERS else f"{line[:MAX_MESSAGE_CHARACTERS]}..."
