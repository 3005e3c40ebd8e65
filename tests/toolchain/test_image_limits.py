"""Files that are built to be expensive to decode are rejected; valid ones are not."""

import io
import os
import struct
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, TiffImagePlugin

from toolchain.errors import DataError
from toolchain.image_decoding import cost_in_pixels, decode, inspect, upright_size
from toolchain.image_limits import MAX_SCANS, RLE_COST, decoding_cost

MEBIBYTE = 1024**2


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)).convert(mode)


JPEG = file_of(noise(), "JPEG")
PROGRESSIVE = file_of(noise(), "JPEG", progressive=True)


def with_scans(count: int) -> bytes:
    """Return a progressive JPEG of ``count`` scans, the last of which is repeated."""
    last = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
    return PROGRESSIVE[:-2] + last * (count - PROGRESSIVE.count(b"\xff\xda")) + b"\xff\xd9"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(bytes(200))) + chunk(b"IEND")


def directory(entries: list[tuple[int, int, int, int]], content: bytes = b"") -> bytes:
    """Return a TIFF file, or EXIF data, with ``content`` at byte 8."""
    listed = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return (
        b"II*\0" + struct.pack("<I", 8 + len(content)) + content + struct.pack("<H", len(entries)) + listed + bytes(4)
    )


def overlapping(count: int, size: int) -> bytes:
    """Return a directory whose entries all have the same ``size`` bytes for a value."""
    return directory([(1000 + index, 7, size, 8) for index in range(count)], bytes(size))


BITMAP = [(256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
BITMAP += [(277, 3, 1, 1), (278, 3, 1, 8), (279, 4, 1, 64)]
TIFF = directory(BITMAP, bytes(64))


def gif(before: bytes) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + before + b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x44\x01\x00;"


def webp(*chunks: bytes) -> bytes:
    content = file_of(noise(), "WEBP")[12:] + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content) + 4) + b"WEBP" + content


def app1(content: bytes) -> bytes:
    return JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + JPEG[2:]


MEGABYTE = bytes(1_000_000)
BLOCKS = (b"\xff" + bytes([1]) * 255) * 20_000
BOMBS = {
    "a JPEG of a thousand scans": with_scans(1000),
    "segments without end": JPEG[:2] + b"\xff\xeb\0\x02" * 500_000 + JPEG[2:],
    "comments without end": JPEG[:2] + b"\xff\xfe\0\x02" * 500_000 + JPEG[2:],
    "fill bytes": JPEG[:2] + b"\xff" * 2_000_000 + JPEG[2:],
    "junk before the pixels": JPEG[:2] + b"\0" * 2_000_000 + JPEG[2:],
    "EXIF data in which values overlap": app1(b"Exif\0\0" + overlapping(2000, 40_000)),
    "chunks of a PNG without end": png(chunk(b"abCd") * 200_000),
    "texts of a PNG without end": png(chunk(b"tEXt", b"a\0b") * 200_000),
    "EXIF data of a PNG in which values overlap": png(chunk(b"eXIf", overlapping(3000, 900_000))),
    "EXIF data of a WebP in which values overlap": webp(b"EXIF\x3c\x48\x0e\0", overlapping(3000, 900_000)),
    "extensions of a GIF without end": gif(b"!\xfe\0" * 500_000),
    "a comment of a GIF without end": gif(b"!\xfe" + BLOCKS + b"\0"),
    "an extension of a GIF without end": gif(b"!\xff\x0bXMP DataXMP" + BLOCKS + b"\0"),
    "junk of a GIF": gif(b"\0" * 2_000_000),
    "values of a TIFF that overlap": directory(BITMAP + [(1000 + i, 7, 900_000, 72) for i in range(3000)], MEGABYTE),
    "entries of a TIFF without end": directory(BITMAP + [(1000 + i, 3, 1, 0) for i in range(50_000)], MEGABYTE),
    "a tile of a TIFF of gigabytes": directory([*BITMAP, (322, 4, 1, 40_000), (323, 4, 1, 40_000)], bytes(64)),
    "a comment of a PPM without end": b"P6 #" + b"a" * 2_000_000 + b"\n8 8 255\n" + bytes(192),
    "blanks of a PPM without end": b"P6" + b" " * 2_000_000 + b"8 8 255\n" + bytes(192),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_is_expensive_to_decode_is_rejected_before_decoding(name: str, monkeypatch: pytest.MonkeyPatch):
    def opened(*args: object, **named: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Image, "open", opened)
    for read in (decode, inspect, cost_in_pixels, upright_size):
        with pytest.raises(DataError, match=r"^a has .*save it "):
            read(BOMBS[name], "a")


def test_scans_after_a_complete_one_are_ignored():
    """libjpeg expects the end of the image there; so a baseline JPEG need not be walked through."""
    content = JPEG[:-2] + b"\xff\xda\0\x08\x01\x01\0\0\x3f\0" * 5000 + b"\xff\xd9"
    assert decoding_cost(content, "a") == 1
    with pytest.raises(DataError, match="damaged"):
        decode(content, "a")


@pytest.mark.parametrize("count", [10, 20, 50, MAX_SCANS])
def test_a_scan_costs_a_tenth_of_a_common_file(count: int):
    assert decoding_cost(with_scans(count), "a") == count / 10
    assert cost_in_pixels(with_scans(count), "a") == 60 * 40 * count / 10
    assert decode(with_scans(count), "a").shape == (40, 60, 3)


PROFILE = os.urandom(4 * MEBIBYTE)


def exif(orientation: int = 6) -> bytes:
    found = Image.Exif()
    found[0x0112], found[0x010F], found[0x927C] = orientation, "A maker", os.urandom(20_000)
    return found.tobytes()


def text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for index in range(300):
        info.add_text(f"key {index}", "a text of some length " * 20, zip=bool(index % 2))
    return info


TAGS = TiffImagePlugin.ImageFileDirectory_v2()
TAGS[270], TAGS[34675], TAGS[700] = "a description" * 1000, PROFILE, b"<x:xmpmeta/>" * 5000
RICH = {
    "a baseline JPEG": JPEG,
    "a photograph's progressive JPEG": file_of(noise(900, 600), "JPEG", progressive=True, quality=95),
    "a grey progressive JPEG": file_of(noise(mode="L"), "JPEG", progressive=True),
    "a CMYK progressive JPEG": file_of(noise(mode="CMYK"), "JPEG", progressive=True),
    "a JPEG with a profile of 4 MB and EXIF data": file_of(noise(), "JPEG", icc_profile=PROFILE, exif=exif()),
    "a JPEG with a JPEG inside": app1(b"Exif\0\0" + exif()[6:] + PROGRESSIVE[:40_000]),
    "a JPEG with a megabyte behind it": JPEG + os.urandom(MEBIBYTE),
    "a JPEG with a comment": file_of(noise(), "JPEG", comment="a comment" * 5000),
    "a PNG with texts, a profile and EXIF data": file_of(
        noise(), "PNG", pnginfo=text(), icc_profile=PROFILE[:500_000], exif=exif()
    ),
    "a large PNG of noise": file_of(noise(1500, 1000), "PNG", compress_level=0),
    "an animated GIF with a comment": file_of(
        noise(), "GIF", save_all=True, append_images=[noise(mode="L")] * 20, comment=b"made by hand " * 500
    ),
    "an animated WebP": file_of(noise(), "WEBP", save_all=True, append_images=[noise(mode="L")] * 5, exif=exif()),
    "a TIFF with a profile": file_of(noise(), "TIFF", tiffinfo=TAGS),
    "a TIFF of many strips": file_of(noise(40, 3000), "TIFF", compression="tiff_lzw", tiffinfo={278: 1}),
    "a TIFF of many pages": file_of(noise(), "TIFF", save_all=True, append_images=[noise()] * 20),
    "a big TIFF": file_of(noise(), "TIFF", big_tiff=True),
    "a BMP": file_of(noise(), "BMP"),
    "a PPM with comments": b"P6\n# made by a camera\n# on a day\n8 8\n# bits\n255\n" + bytes(192),
    "a plain PGM": b"P2\n3 2 9\n1 2 3 4 5 6\n",
}  # fmt: skip


@pytest.mark.parametrize("name", RICH)
def test_a_valid_file_with_rich_content_is_read(name: str):
    assert decoding_cost(RICH[name], "a") <= 1.8, "a progressive CMYK JPEG has 18 scans"
    assert decode(RICH[name], "a").size
    assert inspect(RICH[name], "a").width


def test_a_compressed_bmp_costs_more():
    head = struct.pack("<IiiHHIIiiII", 40, 4, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + head + bytes(1024) + b"\4\1\0\1"
    assert decoding_cost(content, "a") == RLE_COST
    assert decode(content, "a").shape == (1, 4, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_rotation_matches_pillow(orientation: int, kind: str):
    from PIL import ImageOps

    content = file_of(noise(7, 5), kind, exif=exif(orientation))
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(decode(content, "a"), np.asarray(upright.convert("RGB")))
    assert upright_size(content, "a") == upright.size


@settings(deadline=None, max_examples=150)
@given(
    content=st.sampled_from([*RICH.values(), *BOMBS.values()]).map(lambda one: one[:3000]),
    index=st.integers(0, 3000),
    new=st.binary(max_size=8),
)
def test_a_damaged_file_is_rejected_or_read(content: bytes, index: int, new: bytes):
    damaged = content[:index] + new + content[index + len(new) :]
    with suppress(DataError):
        assert cost_in_pixels(damaged, "a") > 0
