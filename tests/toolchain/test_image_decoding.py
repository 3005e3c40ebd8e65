import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toolchain.errors import DataError
from toolchain.image_decoding import crop_middle, decode, encode, inspect, resize

RED = (200, 30, 40)


def file_of(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_a_colour_image_keeps_its_pixels():
    assert decode(file_of(Image.new("RGB", (3, 2), RED), "PNG"), "a.png").tolist() == [[list(RED)] * 3] * 2


def test_grayscale_is_repeated_for_three_channels_and_stays_for_one():
    data = file_of(Image.new("L", (3, 2), 77), "PNG")
    assert (decode(data, "a.png") == 77).all()
    assert decode(data, "a.png", channels=1).shape == (2, 3, 1)


def test_transparent_pixels_become_white():
    half = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    half.putpixel((1, 0), (*RED, 255))
    assert decode(file_of(half, "PNG"), "a.png").tolist() == [[[255, 255, 255], list(RED)]]


def test_sixteen_bits_are_cut_to_the_upper_eight():
    deep = Image.fromarray(np.array([[0, 256, 65535]], np.uint16))
    assert decode(file_of(deep, "PNG"), "a.png", channels=1).ravel().tolist() == [0, 1, 255]


def test_cmyk_becomes_red_green_and_blue():
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    red, green, blue = decode(file_of(inks, "JPEG"), "a.jpg")[8, 8]
    assert red > 200
    assert green < 60
    assert blue < 60


def test_a_palette_with_transparency_is_understood():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, *RED] + [0] * 762)
    image.putpixel((1, 0), 1)
    assert decode(file_of(image, "GIF", transparency=0), "a.gif").tolist() == [[[255, 255, 255], list(RED)]]


def test_an_image_is_turned_as_its_exif_specifies():
    image, exif = Image.new("RGB", (40, 20), "black"), Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise to show it
    data = file_of(image, "JPEG", exif=exif)
    assert inspect(data, "a.jpg").orientation == 6
    assert decode(data, "a.jpg").shape == (40, 20, 3)
    assert decode(data, "a.jpg", upright=False).shape == (20, 40, 3)


def test_an_animation_shows_how_many_frames_it_has():
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 100, 200)]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert inspect(data, "a.gif").frames == 3


def test_a_truncated_jpeg_is_reported():
    data = file_of(Image.effect_noise((64, 64), 50), "JPEG")
    with pytest.raises(DataError, match=r"a.jpg is cut off or damaged"):
        decode(data[: len(data) // 2], "a.jpg")


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "is empty"), (b"hello", "is not an image"), (b"\x89PNG\r\n", "is")]
)
def test_what_is_no_image_is_reported(data: bytes, message: str):
    with pytest.raises(DataError, match=rf"a.png {message}.*formats: JPEG, PNG"):
        decode(data, "a.png")


def test_an_image_that_unpacks_to_gigabytes_is_rejected_unopened():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(DataError, match=r"too large|30,000 x 30,000 pixels, more than the 100,000,000 allowed"):
        inspect(bomb, "a.png")


def test_a_limit_of_pixels_can_be_set():
    with pytest.raises(DataError, match="10 x 10 pixels, more than the 99 allowed"):
        inspect(file_of(Image.new("L", (10, 10)), "PNG"), "a.png", max_pixels=99)


@settings(deadline=None, max_examples=30)
@given(height=st.integers(1, 30), width=st.integers(1, 30), channels=st.sampled_from([1, 3]), seed=st.integers(0, 99))
def test_png_loses_nothing(height: int, width: int, channels: int, seed: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    assert np.array_equal(decode(encode(pixels), "a.png", channels), pixels)


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    target_height=st.integers(1, 40),
    target_width=st.integers(1, 40),
)
def test_the_middle_has_the_target_s_proportions(height: int, width: int, target_height: int, target_width: int):
    found = crop_middle(np.zeros((height, width, 3), np.uint8), target_height, target_width)
    rows, columns = found.shape[:2]
    assert rows == height or columns == width, "as large as can be"
    assert abs(rows * target_width - columns * target_height) <= max(target_height, target_width)
    assert resize(found, target_height, target_width).shape == (target_height, target_width, 3)


def test_shrinking_smooths_instead_of_skipping_pixels():
    stripes = np.tile(np.array([0, 255], np.uint8), (8, 32))[:, :, None]
    assert np.abs(resize(stripes, 4, 8).astype(int) - 128).max() < 40
