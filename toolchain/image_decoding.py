"""Decode image files of common formats to arrays of 8-bit RGB, with limits against hostile files."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError, first_line
from toolchain.image_limits import decoding_cost

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]  # (height, width, channels), 0..255
MAX_PIXELS = 100_000_000  # 10,000 x 10,000: decoded 300 MB; larger ones are tiled before they come here
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # supported; Pillow's 40 others are rare and risky
ORIENTATION = 0x0112  # the EXIF tag for the rotation of the camera
TURNED = (5, 6, 7, 8)  # its values that swap width and height
UPRIGHT = {  # its values, and Pillow's name of the transposition to upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
JPEG_QUALITY = 95  # of written images: the loss does not matter to a model


@dataclass(frozen=True)
class Facts:
    """An image file's header, read without decoding its pixels."""

    kind: str  # one of KINDS
    width: int  # pixels, as stored
    height: int
    mode: str  # of Pillow: "RGB", "L", "CMYK", "I;16", ...
    frames: int  # more than 1 in an animation
    orientation: int  # of EXIF, 1..8; 1: as stored


def inspect(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Facts:
    """Return the header of the file ``data``, called ``name`` in errors.

    Raises:
        DataError: it is not an image of a supported format, or has more than ``max_pixels``.
    """
    with _opened(data, name, max_pixels) as image:
        stereo = image.format == "MPO"  # a JPEG with further views of the same scene behind it, as phones save
        frames = 1 if stereo else int(getattr(image, "n_frames", 1))
        width, height = image.size
        return Facts(str(image.format), width, height, image.mode, frames, _orientation(image))


def cost_in_pixels(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> int:
    """Return how many pixels of a common file cost as much to decode as all of ``data``; nothing is decoded for that.

    Raises:
        DataError: it is not an image of a supported format, has more than ``max_pixels``, or costs far more to decode
            than its size suggests.
    """
    with _opened(data, name, max_pixels) as image:
        return round(image.width * image.height * decoding_cost(data, name))


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """Return width and height of the file ``data`` in pixels after the rotation in its EXIF data.

    ``inspect`` counts an animation's frames too, which can take seconds.

    Raises:
        DataError: it is not an image of a supported format, or has too many pixels.
    """
    with _opened(data, name, MAX_PIXELS) as image:
        turned = _orientation(image) in TURNED
        return (image.height, image.width) if turned else (image.width, image.height)


def decode(data: bytes, name: str, channels: int = 3, upright: bool = True, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Return the pixels of the file ``data``, called ``name`` in errors: uint8 of shape (height, width, channels).

    Grayscale is repeated for 3 ``channels`` and made of colours for 1; what is transparent lies on white; 16 bits are
    cut to their upper 8; CMYK becomes RGB; an animation is its first frame. ``upright`` applies its EXIF rotation.

    Raises:
        DataError: it is not an image, is cut off or damaged, or has more than ``max_pixels``.
    """
    from PIL.Image import Transpose

    with _opened(data, name, max_pixels) as image:
        plain = _in_mode(image, "RGB" if channels == 3 else "L", name)
        turn = UPRIGHT.get(_orientation(image)) if upright else None
        if turn:  # not by Pillow's exif_transpose, which reads and writes all other EXIF data too
            plain = plain.transpose(Transpose[turn])
        pixels = np.asarray(plain, np.uint8)
    return pixels if channels == 3 else pixels[:, :, None]


def brightest(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> int:
    """Return the largest value in the file ``data``, called ``name`` in errors: of 16 bits up to 65,535.

    Raises:
        DataError: as ``decode``.
    """
    with _opened(data, name, max_pixels) as image:
        return int(np.asarray(image).max(initial=0))


def encode(pixels: Pixels, kind: str = "PNG") -> bytes:
    """Return uint8 (height, width, 1 or 3) as a file: "PNG", which is lossless, or "JPEG"."""
    from PIL import Image

    options: dict[str, Any] = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"compress_level": 1}
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, kind, **options)
    return file.getvalue()


def resize(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return ``pixels`` at ``height`` x ``width``, stretched where the proportions differ, smoothed when it shrinks."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    source = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    resized = np.asarray(source.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    return resized if resized.ndim == 3 else resized[:, :, None]


def crop_middle(pixels: Pixels, height: int, width: int) -> Pixels:
    """Return the largest middle part of ``pixels`` that has the proportions of ``height`` to ``width``."""
    rows, columns = pixels.shape[:2]
    kept_rows = min(rows, max(1, round(columns * height / width)))
    kept_columns = min(columns, max(1, round(rows * width / height)))
    top, left = (rows - kept_rows) // 2, (columns - kept_columns) // 2
    return pixels[top : top + kept_rows, left : left + kept_columns]


@contextmanager
def _opened(data: bytes, name: str, max_pixels: int) -> Iterator["Image"]:
    """Yield the file as Pillow's image, its pixels not read yet; errors of Pillow become a DataError."""
    from PIL import Image, UnidentifiedImageError

    decoding_cost(data, name)
    try:
        image = Image.open(io.BytesIO(data), formats=KINDS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{name} is {_instead(data, error)}; supported formats: {', '.join(KINDS)}") from error
    with image:
        if image.width * image.height > max_pixels:
            size = f"{image.width:,} x {image.height:,}"
            raise DataError(f"{name} has {size} pixels, more than the {max_pixels:,} allowed; cut it into tiles")
        try:
            yield image
        except (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError) as error:
            raise DataError(f"{name} is cut off or damaged: {first_line(error)}; get the file again") from error


def _orientation(image: "Image") -> int:
    """Return the EXIF orientation: 1 for upright, and when it is missing or not valid."""
    if image.format == "TIFF":  # Pillow rotates these when it opens them
        return 1
    found = image.getexif().get(ORIENTATION, 1)
    return found if found in UPRIGHT else 1


def _instead(data: bytes, error: Exception) -> str:
    if not data:
        return "empty"
    return f"too large ({first_line(error)})" if "decompression bomb" in str(error) else "not an image"


def _in_mode(image: "Image", mode: str, name: str) -> "Image":
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 or 32 bits: Pillow's own conversion would clip them at 255
        deep = np.asarray(image)
        if deep.dtype.kind == "f" or deep.max(initial=0) > np.iinfo(np.uint16).max or deep.min(initial=0) < 0:
            raise DataError(
                f"{name} has pixels from {deep.min():g} to {deep.max():g}; whole numbers of 8 or 16 bits, 0 to 65535, "
                "are supported: shift and scale them, in requests as well"
            )
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert(mode)
