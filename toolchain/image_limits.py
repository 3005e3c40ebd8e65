"""Limit the cost of decoding an image file, by a walk through its structure before anything is decoded.

The size of an image limits its pixels, not the work: a progressive JPEG of 100 KB can have a thousand scans over them,
and a file of a few MB can have a million empty segments, each of which a decoder reads separately.
"""

import re
import struct
from collections.abc import Iterator

from toolchain.errors import DataError

MAX_SCANS = 100  # of a JPEG; cameras and web tools write about 10
COMMON_SCANS = 10  # that cost about as much per pixel as other formats
MAX_SEGMENTS = 2_000  # before the pixels of a JPEG; a profile takes up to 255, a depth map some hundred
MAX_JUNK_BYTES = 64 * 1024  # between the segments of a JPEG or the blocks of a GIF
MAX_CHUNKS, CHUNK_BYTES = 4_096, 256  # of a PNG, plus one per CHUNK_BYTES; encoders write 8 KB per chunk
MAX_BLOCKS, MAX_COMMENT_BLOCKS = 16_384, 1_024  # of 255 bytes, before the pixels of a GIF
MAX_ENTRIES = 4_096  # in a directory of a TIFF or of EXIF data; files have fewer than 100
MAX_TILE_PIXELS = 64_000_000  # of a tile of a TIFF, which can be larger than the image; most have 65,536
MAX_METADATA_BYTES = 16 * 1024**2  # that the entries of a directory refer to; several can refer to the same bytes
MAX_HEADER_BYTES = 64 * 1024  # of a PPM
RLE_COST = 10  # of a compressed BMP, which Pillow decodes in Python, relative to other formats
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)  # except for restarts, which are within the pixels
START, SCAN, END, EXIF = 0xD8, 0xDA, 0xD9, 0xE1
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of the compression methods
SEQUENTIAL = (0xC0, 0xC1)  # of FRAMES, those that need a single scan
GIF_BLOCK = re.compile(rb"[!,;]")  # the first byte of an extension, an image and the end
TILE_WIDTH, TILE_HEIGHT = 322, 323  # tags of a TIFF
TIFF_TYPES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def decoding_cost(data: bytes, name: str) -> float:
    """Return the maximum cost of decoding a pixel of the file ``data``, relative to a common file.

    Raises:
        DataError: the file is built so that reading it costs far more than its size.
    """
    if data.startswith(b"\xff\xd8"):
        scans = _count_scans(data, name)
        if scans > MAX_SCANS:
            raise DataError(f"{name} has {scans:,} scans, more than the limit of {MAX_SCANS}; save it as a JPEG again")
        return max(1.0, scans / COMMON_SCANS)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(data, name)
    elif data.startswith(b"GIF8"):
        _check_gif(data, name)
    elif data.startswith((b"II", b"MM")):
        _check_directory(data, name)
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _check_webp(data, name)
    elif re.match(rb"P[\dFfy]", data):
        _check_ppm(data, name)
    elif data.startswith(b"BM") and struct.unpack_from("<I", data.ljust(34, b"\0"), 30)[0] in (1, 2):
        return RLE_COST
    return 1.0


def _count_scans(data: bytes, name: str) -> int:
    """Return the number of scans of a JPEG; 1 as soon as a single scan has all pixels."""
    scans, frame = 0, (0, 0)
    for segments, (marker, begin) in enumerate(_jpeg_segments(data, name), 1):
        _check_limit(segments, MAX_SEGMENTS, "segments", name)
        if marker in FRAMES:
            frame = marker, data[begin + 7] if begin + 7 < len(data) else 0
        if marker == EXIF and data[begin + 2 : begin + 8] == b"Exif\0\0":
            _check_directory(data[begin + 8 : begin + _length(data, begin)], name)
        if marker == SCAN:
            scans += 1
            if frame[0] in SEQUENTIAL and data[begin + 2 : begin + 3] == bytes([frame[1]]):
                return 1
    return scans


def _jpeg_segments(data: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment, and the position of its length."""
    at, junk, in_pixels = 2, 0, False
    while match := MARKER.search(data, at):
        if not in_pixels:
            junk += match.start() - at
            _check_limit(junk, MAX_JUNK_BYTES, "bytes between its segments", name)
        marker, begin = match[0][1], match.end()
        if marker == END:
            return
        at = begin
        if marker not in (START, 0x01):  # these two have no length
            yield marker, begin
            at += _length(data, begin)
            in_pixels = marker == SCAN


def _length(data: bytes, begin: int) -> int:
    return max(2, int.from_bytes(data[begin : begin + 2], "big"))


def _check_png(data: bytes, name: str) -> None:
    at, chunks, limit = 8, 0, MAX_CHUNKS + len(data) // CHUNK_BYTES
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == b"eXIf":
            _check_directory(data[at + 8 : at + 8 + size], name)
        at += 12 + size
        chunks += 1
        _check_limit(chunks, limit, "chunks", name)


def _check_gif(data: bytes, name: str) -> None:
    """Check what comes before the first image; the images after it are not read."""
    colours = data[10] if len(data) > 10 else 0
    at, blocks, comments, junk = 13 + (3 << (colours & 7) + 1 if colours & 0x80 else 0), 0, 0, 0
    while (match := GIF_BLOCK.search(data, at)) and match[0] == b"!":
        junk += match.start() - at
        _check_limit(junk, MAX_JUNK_BYTES, "bytes between its blocks", name)
        at = match.end() + 1
        is_comment = data[at - 1 : at] == b"\xfe"
        while at < len(data) and data[at]:
            at += 1 + data[at]
            blocks, comments = blocks + 1, comments + is_comment
            _check_limit(comments, MAX_COMMENT_BLOCKS, "blocks of comments", name)
        at, blocks = at + 1, blocks + 1
        _check_limit(blocks, MAX_BLOCKS, "blocks before its pixels", name)
    _check_limit(junk + (match.start() if match else len(data)) - at, MAX_JUNK_BYTES, "bytes between its blocks", name)


def _check_webp(data: bytes, name: str) -> None:
    at, chunks = 12, 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            exif = data[at + 8 : at + 8 + size]
            _check_directory(exif.removeprefix(b"Exif\0\0"), name)
        at += 8 + size + size % 2
        chunks += 1
        _check_limit(chunks, MAX_CHUNKS + len(data) // CHUNK_BYTES, "chunks", name)


def _check_ppm(data: bytes, name: str) -> None:
    """Check that the header is short: Pillow reads the comments in it byte by byte."""
    plain = re.sub(rb"#[^\r\n]*", b"", data[:MAX_HEADER_BYTES])
    if len(data) > MAX_HEADER_BYTES and len(plain.split(None, 4)) < 4:
        raise DataError(f"{name} has a header of more than {MAX_HEADER_BYTES:,} bytes; save it again")


def _check_directory(data: bytes, name: str) -> None:
    """Check the first directory of a TIFF file or of EXIF data; a decoder copies all of its values."""
    order, head = ("<" if data[:2] == b"II" else ">"), data[:16].ljust(16, b"\0")
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    begin = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)[0]
    count_form, entry, inline = ("Q", "HHQQ", 8) if big else ("H", "HHII", 4)
    counted, each = struct.Struct(order + count_form), struct.Struct(order + entry)
    if begin + counted.size > len(data):
        return  # no directory: the decoder raises the error
    (count,) = counted.unpack_from(data, begin)
    begin, total, tile = begin + counted.size, 0, {TILE_WIDTH: 1, TILE_HEIGHT: 1}
    _check_limit(count, MAX_ENTRIES, "entries of metadata", name)
    for at in range(begin, min(begin + count * each.size, len(data) - each.size + 1), each.size):
        tag, type_, values, offset = each.unpack_from(data, at)
        size = TIFF_TYPES.get(type_, 0) * values
        if size > inline:
            total += min(size, max(0, len(data) - offset))
            _check_limit(
                total, max(MAX_METADATA_BYTES, 2 * len(data)), "bytes of metadata, the same ones repeatedly", name
            )
        if tag in tile:
            tile[tag] = struct.unpack_from(order + ("H" if type_ == 3 else "I"), data, at + each.size - inline)[0]
    _check_limit(tile[TILE_WIDTH] * tile[TILE_HEIGHT], MAX_TILE_PIXELS, "pixels in a tile", name)


def _check_limit(count: int, limit: int, what: str, name: str) -> None:
    if count > limit:
        raise DataError(f"{name} has more than {limit:,} {what}; save it again, without metadata")
