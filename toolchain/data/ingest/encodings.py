"""Encodings of text files: what a file's first bytes say, and what to set where its bytes are no text in that."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.services.compression import open_uncompressed

MARKS = {  # byte order marks; UTF-32's little one begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
WIDE = ("utf-16", "utf-32", "utf_16", "utf_32")  # in which no line of bytes is one of text
CHUNK_BYTES = 1 << 18  # searched at once for a wrong byte
MOST_TIMES_LONGER = 4  # UTF-8 is, than other encodings: 3 bytes for the euro sign of Windows-1252
SAMPLE_BYTES = 1 << 15  # of lines with other than ASCII, from the first wrong byte on: enough to tell an encoding
SHOWN_CHARACTERS = 60  # of a line as it would read
# What files are written in (the WHATWG's encoding standard without its rarest): of all 90, short samples fit many.
USUAL = [f"cp125{n}" for n in range(9)] + ["iso8859_2", "koi8_r", "mac_roman", "cp874"]
USUAL += ["cp932", "euc_jp", "gb18030", "big5", "cp949"]
IN_WORDS = re.compile(
    "[^\\W\\d_][\u0080-\u00a9\u00ab-\u00b6\u00b8\u00b9\u00bb-\u00bf\u0192\u02c6\u02dc\u2020-\u2022\u2030\u20ac\u2122][^\\W\\d_]"
)
RARE = re.compile("[ðþýÐÞÝ]")  # Icelandic in Windows-1252; the letters of Turkish stand there in 1254
CONTROLS = re.compile("[\u0080-\u009f]")  # of Latin-1: in Windows-1252 quotation marks, dashes and the euro sign


def encoding_of(head: bytes) -> str:
    """Return the encoding of the text that begins with ``head``, by its byte order mark or its zeros; else UTF-8."""
    for mark, encoding in MARKS.items():
        if head.startswith(mark):
            return encoding
    even, odd = (head[side::2].count(0) / max(len(head) // 2, 1) for side in (0, 1))
    if odd > 0.3 and even < 0.1:  # ASCII in UTF-16: each second byte is 0
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 and odd < 0.1 else "utf-8"


class ByteStream(io.RawIOBase):
    """A file of bytes that come in chunks; read() returns the next one whole, which is as long as its maker made it."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk, self._rest = self._rest or next(filter(None, self._chunks), b""), b""
        return chunk

    def readinto(self, buffer: Any) -> int:
        chunk = self.read()
        count = min(len(chunk), len(buffer))
        buffer[:count], self._rest = chunk[:count], chunk[count:]
        return count


def is_utf8(encoding: str) -> bool:
    """Whether text in ``encoding`` is UTF-8 as it is."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def utf8_chunks(file: Path, source: str, encoding: str, size: int) -> Iterator[bytes]:
    """Yield the text of ``file``, uncompressed and as UTF-8, in chunks of ``size`` bytes at most.

    Text that should be UTF-8 already is passed on as it is: who reads it checks it.

    Raises:
        UnicodeError: the bytes are no text in ``encoding``.
        DataError, EOFError, OSError: the file is damaged.
    """
    with open_uncompressed(file, source) as opened:
        if is_utf8(encoding):
            yield from iter(lambda: opened.read(size), b"")
        else:
            yield from transcoded(iter(lambda: opened.read(size // MOST_TIMES_LONGER), b""), encoding)


def transcoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield ``chunks`` of text in ``encoding`` as UTF-8.

    Raises:
        UnicodeError: the bytes are no such text, or Latin-1 with control characters, which it never has.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    latin = codecs.lookup(encoding).name == "iso8859-1"
    for chunk in chunks:
        text = decoder.decode(chunk)
        if latin and CONTROLS.search(text):
            raise UnicodeError("control characters, which are quotation marks and dashes in cp1252")
        yield text.encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


@dataclass(frozen=True)
class Wrong:
    """Where a file stops being text in an encoding."""

    line: int  # from 1
    byte: int
    sample: bytes  # lines with other than ASCII, from there on


def advice(file: Path, source: str, encoding: str) -> str:
    """Return where ``file`` is not text in ``encoding``, and which encoding to set, with a line as it then reads."""
    wrong = _first_wrong(file, source, encoding)
    if wrong is None:
        return "set encoding to its own"
    where = f"byte 0x{wrong.byte:02x} in line {wrong.line:,}"
    found = "" if encoding.startswith(WIDE) else detected(wrong.sample)
    if not found:
        return f"{where}; set encoding to its own"
    line = wrong.sample.decode(found, "replace").split("\n")[0].strip()
    at = next((index for index, character in enumerate(line) if not character.isascii()), 0)
    begin = max(at - SHOWN_CHARACTERS // 2, 0)
    shown = line[begin : begin + SHOWN_CHARACTERS]
    return f"{where}; set encoding={found} if this reads well: {shown!r}"


def detected(sample: bytes) -> str:
    """Return the encoding that ``sample`` is most probably written in, "" when nothing fits.

    Western European text is Windows-1252 whenever it reads well in it: short samples fit many encodings alike, and
    this one is by far the commonest.
    """
    from charset_normalizer import from_bytes

    if _reads_western(sample):
        return "cp1252"
    found = list(from_bytes(sample, cp_isolation=USUAL))
    return min(found, key=lambda match: _is_capitals(str(match))).encoding if found else ""


def _is_capitals(text: str) -> bool:
    """Whether most letters of ``text`` are capitals, as where KOI8-R and Windows-1251 are taken for each other."""
    return sum(map(str.isupper, text)) > sum(map(str.islower, text))


def _reads_western(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not character.isascii() for character in letters)
    return foreign * 4 <= len(letters) and not IN_WORDS.search(text) and not RARE.search(text)


def _first_wrong(file: Path, source: str, encoding: str) -> Wrong | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    latin, lines, before = codecs.lookup(encoding).name == "iso8859-1", 1, b""
    with open_uncompressed(file, source) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            at = _wrong_at(decoder, chunk, len(before), latin)
            whole = before + chunk  # before: what its first line begins with
            if at is not None:
                begin = whole.rfind(b"\n", 0, at) + 1
                following = (whole[begin:] + opened.read(SAMPLE_BYTES)).splitlines(keepends=True)
                sample = b"".join(line for line in following if not line.isascii())[:SAMPLE_BYTES]
                return Wrong(lines + whole.count(b"\n", 0, at), whole[at], sample)
            lines += chunk.count(b"\n")
            before = whole[whole.rfind(b"\n") + 1 :][-SAMPLE_BYTES:]
    return None


def _wrong_at(decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, latin: bool) -> int | None:
    """Return where ``chunk``, before which ``offset`` bytes of its line stand, is no text; None where all of it is."""
    held = len(decoder.getstate()[0])  # bytes of a character that began in the chunk before
    try:
        text = decoder.decode(chunk)
    except UnicodeDecodeError as error:
        return offset + error.start - held
    found = CONTROLS.search(text) if latin else None
    return offset + found.start() if found else None
