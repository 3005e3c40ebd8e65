"""Detect and convert the encoding of text files, and suggest one for files that cannot be decoded."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.services.compression import open_uncompressed

BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8",
}
WIDE_ENCODINGS = ("utf-16", "utf-32", "utf_16", "utf_32")  # b"\n" does not separate lines
CHUNK_BYTES = 1 << 18  # searched at a time for an invalid byte
MAX_UTF8_GROWTH = 4  # bytes of UTF-8 per byte of another encoding; the euro sign of Windows-1252 has 3
SAMPLE_BYTES = 1 << 15  # of non-ASCII lines from the first invalid byte on: enough to detect an encoding
MAX_EXCERPT_CHARACTERS = 60
# The common encodings of the WHATWG standard; short samples are valid in many of its 90.
COMMON_ENCODINGS = [f"cp125{n}" for n in range(9)] + ["iso8859_2", "koi8_r", "mac_roman", "cp874"]
COMMON_ENCODINGS += ["cp932", "euc_jp", "gb18030", "big5", "cp949"]
SYMBOL_IN_WORD = re.compile(
    "[^\\W\\d_][\u0080-\u00a9\u00ab-\u00b6\u00b8\u00b9\u00bb-\u00bf\u0192\u02c6\u02dc\u2020-\u2022\u2030\u20ac\u2122][^\\W\\d_]"
)
ICELANDIC = re.compile("[ðþýÐÞÝ]")  # in Windows-1252; Turkish letters in Windows-1254
CONTROLS = re.compile("[\u0080-\u009f]")  # in Latin-1; quotation marks, dashes and the euro sign in Windows-1252


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text that begins with ``head`` by its byte order mark or its zero bytes, else UTF-8."""
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    even, odd = (head[side::2].count(0) / max(len(head) // 2, 1) for side in (0, 1))
    if odd > 0.3 and even < 0.1:  # in UTF-16, every second byte of ASCII is 0
        return "utf-16-le"
    return "utf-16-be" if even > 0.3 and odd < 0.1 else "utf-8"


class ByteStream(io.RawIOBase):
    """A binary file over an iterator of chunks; read() ignores the size and returns the next chunk."""

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
    """Return whether text in ``encoding`` is valid UTF-8 without conversion."""
    return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def utf8_chunks(file: Path, source: str, encoding: str, size: int) -> Iterator[bytes]:
    """Yield the text of ``file``, uncompressed and as UTF-8, in chunks of at most ``size`` bytes.

    UTF-8 text is not validated here; its reader validates it.

    Raises:
        UnicodeError: the bytes are not valid in ``encoding``.
        DataError, EOFError, OSError: the file is damaged.
    """
    with open_uncompressed(file, source) as opened:
        if is_utf8(encoding):
            yield from iter(lambda: opened.read(size), b"")
        else:
            yield from transcode(iter(lambda: opened.read(size // MAX_UTF8_GROWTH), b""), encoding)


def transcode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield ``chunks`` of text in ``encoding`` as UTF-8.

    Raises:
        UnicodeError: the bytes are not valid, or Latin-1 text has control characters.
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
class InvalidByte:
    """The first byte of a file that is not valid in an encoding."""

    line: int  # from 1
    byte: int
    sample: bytes  # non-ASCII lines from this byte on


def suggest_encoding(file: Path, source: str, encoding: str) -> str:
    """Return the position of the first byte of ``file`` that is not valid, the probable encoding, and an excerpt."""
    invalid = _find_invalid_byte(file, source, encoding)
    if invalid is None:
        return "set encoding"
    position = f"byte 0x{invalid.byte:02x} in line {invalid.line:,}"
    found = "" if encoding.startswith(WIDE_ENCODINGS) else detect_encoding(invalid.sample)
    if not found:
        return f"{position}; set encoding"
    line = invalid.sample.decode(found, "replace").split("\n")[0].strip()
    index = next((index for index, character in enumerate(line) if not character.isascii()), 0)
    begin = max(index - MAX_EXCERPT_CHARACTERS // 2, 0)
    excerpt = line[begin : begin + MAX_EXCERPT_CHARACTERS]
    return f"{position}; set encoding={found} if this text is right: {excerpt!r}"


def detect_encoding(sample: bytes) -> str:
    """Return the most probable encoding of ``sample``, "" if none is valid.

    Plausible Western European text is always Windows-1252: short samples are valid in many encodings, and this one is
    by far the most common.
    """
    from charset_normalizer import from_bytes

    if _is_plausible_cp1252(sample):
        return "cp1252"
    found = list(from_bytes(sample, cp_isolation=COMMON_ENCODINGS))
    return min(found, key=lambda match: _is_mostly_upper(str(match))).encoding if found else ""


def _is_mostly_upper(text: str) -> bool:
    """Return whether most letters are upper case, as when KOI8-R is decoded as Windows-1251 or the reverse."""
    return sum(map(str.isupper, text)) > sum(map(str.islower, text))


def _is_plausible_cp1252(sample: bytes) -> bool:
    try:
        text = sample.decode("cp1252")
    except UnicodeDecodeError:
        return False
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not character.isascii() for character in letters)
    return foreign * 4 <= len(letters) and not SYMBOL_IN_WORD.search(text) and not ICELANDIC.search(text)


def _find_invalid_byte(file: Path, source: str, encoding: str) -> InvalidByte | None:
    decoder = codecs.getincrementaldecoder(encoding)()
    latin, lines, before = codecs.lookup(encoding).name == "iso8859-1", 1, b""
    with open_uncompressed(file, source) as opened:
        while chunk := opened.read(CHUNK_BYTES):
            index = _invalid_index(decoder, chunk, len(before), latin)
            whole = before + chunk  # before: the beginning of the chunk's first line
            if index is not None:
                begin = whole.rfind(b"\n", 0, index) + 1
                following = (whole[begin:] + opened.read(SAMPLE_BYTES)).splitlines(keepends=True)
                sample = b"".join(line for line in following if not line.isascii())[:SAMPLE_BYTES]
                return InvalidByte(lines + whole.count(b"\n", 0, index), whole[index], sample)
            lines += chunk.count(b"\n")
            before = whole[whole.rfind(b"\n") + 1 :][-SAMPLE_BYTES:]
    return None


def _invalid_index(decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, latin: bool) -> int | None:
    """Return ``offset`` plus the index of the first invalid byte of ``chunk``, None if all are valid."""
    buffered = len(decoder.getstate()[0])  # bytes of a character that began in the previous chunk
    try:
        text = decoder.decode(chunk)
    except UnicodeDecodeError as error:
        return offset + error.start - buffered
    found = CONTROLS.search(text) if latin else None
    return offset + found.start() if found else None
