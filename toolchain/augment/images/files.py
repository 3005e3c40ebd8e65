"""Picture files as augmentation reads and writes them: of a JPEG only as much as the copy needs is computed."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from toolchain import pictures
from toolchain.augment.images.operations import Box, Shape
from toolchain.pictures import Pixels

_EXIF = b"Exif\x00\x00"
_HEAD = 4096  # bytes in which a JPEG's EXIF block begins, if it has one
_GRAY = ("1", "L", "I;16", "I", "F")  # Pillow's modes of one channel
_EIGHTHS = (1, 2, 4)  # of 8 in which a JPEG is decoded smaller; others are slower than the whole


@dataclass(frozen=True)
class File:
    """A picture that is not decoded yet."""

    data: bytes
    name: str  # in errors
    shape: Shape  # as it comes out of ``decode``
    channels: int  # 1 or 3
    upright: bool  # whether EXIF's rotation is to be followed
    simple: bool  # a JPEG that can be decoded smaller

    @property
    def kind(self) -> str:
        """The kind of file that copies become: "JPEG" of a JPEG, else "PNG"."""
        return "JPEG" if self.data[:2] == b"\xff\xd8" else "PNG"

    def pixels(self) -> Pixels:
        """Return the picture: uint8 of shape (height, width) or (height, width, 3).

        Raises:
            DataError: it is cut off or damaged.
        """
        return self._decoded(self.shape)

    def smaller(self, box: Box, height: int, width: int) -> tuple[Pixels, Box]:
        """Return the picture, perhaps at half, a quarter or an eighth, and where ``box`` is in it.

        It is never so small that ``box`` would have fewer pixels than ``height`` x ``width``.
        """
        eighths = self._eighths(box, height, width)
        if eighths == 8:
            return self.pixels(), box
        least = tuple(-(-side * eighths // 8) for side in self.shape)
        pixels = self._decoded((least[0], least[1]))
        down, across = pixels.shape[0] / self.shape[0], pixels.shape[1] / self.shape[1]
        left, right = round(box[0] * across), round(box[2] * across)
        top, bottom = round(box[1] * down), round(box[3] * down)
        return pixels, (left, top, right, bottom)

    def _eighths(self, box: Box, height: int, width: int) -> int:
        if not self.simple:
            return 8
        for eighths in _EIGHTHS:
            if (box[3] - box[1]) * eighths >= 8 * height and (box[2] - box[0]) * eighths >= 8 * width:
                return eighths
        return 8

    def _decoded(self, least: Shape) -> Pixels:
        """Return the picture at the smallest scale that has ``least`` or more pixels each way."""
        pixels = self._of_jpeg(least) if self.simple else None
        if pixels is None:
            pixels = pictures.decode(self.data, self.name, self.channels, self.upright)
        return pixels[:, :, 0] if self.channels == 1 else pixels

    def _of_jpeg(self, least: Shape) -> Pixels | None:
        """Return the same of a JPEG in a fraction of the time; None for one that is damaged or unusual.

        Where colours are stored at half the size they are repeated, not smoothed: 1 of 255 on average, with no bias.
        """
        import simplejpeg

        space = "GRAY" if self.channels == 1 else "RGB"
        height, width = least if least != self.shape else (0, 0)  # 0: as it is
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(
                self.data, space, fastupsample=True, min_height=height, min_width=width
            )
        except ValueError:
            return None
        return pixels


def open_file(data: bytes, name: str, upright: bool) -> File:
    """Return the picture in ``data``, called ``name`` in errors, with its pixels not decoded.

    Raises:
        DataError: it is no picture, or too large (see ``pictures.inspect``).
    """
    simple = _simple_jpeg(data)
    if simple and _EXIF not in data[:_HEAD]:  # nothing asks for a rotation
        height, width, channels = simple
        return File(data, name, (height, width), channels, upright, simple=True)
    facts = pictures.inspect(data, name)
    turned = upright and facts.orientation in pictures.TURNED
    shape = (facts.width, facts.height) if turned else (facts.height, facts.width)
    channels = 1 if facts.mode in _GRAY else 3
    as_stored = not upright or facts.orientation == 1
    return File(data, name, shape, channels, upright, simple=simple is not None and as_stored)


def encoded(pixels: Pixels, kind: str) -> bytes:
    """Return uint8 (height, width) or (height, width, 3) as a file."""
    return pictures.encode(pixels if pixels.ndim == 3 else np.ascontiguousarray(pixels)[:, :, None], kind)


def name_of_copy(path: str, copy: int, kind: str) -> str:
    """Return a name for the file of copy number ``copy`` of the picture ``path``, beside it."""
    original = PurePosixPath(path or "picture")
    suffix = original.suffix if kind == "JPEG" and original.suffix else f".{kind.lower()}"
    return str(original.with_name(f"{original.stem}_augmented_{copy}{suffix}"))


def _simple_jpeg(data: bytes) -> tuple[int, int, int] | None:
    """Return height, width and channels of a JPEG in colours or gray; None for all else."""
    if data[:2] != b"\xff\xd8":
        return None
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if space not in ("YCbCr", "Gray") or height * width > pictures.MAX_PIXELS:
        return None
    return height, width, 1 if space == "Gray" else 3
