"""Decode and encode image files for augmentation; a large JPEG is decoded at the resolution that the copy needs."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from toolchain import image_decoding
from toolchain.augment.images.operations import Box, Shape
from toolchain.image_decoding import Pixels

_EXIF = b"Exif\x00\x00"
_EXIF_SEARCH_BYTES = 4096  # a JPEG's EXIF block begins within these
_GRAYSCALE_MODES = ("1", "L", "I;16", "I", "F")  # of Pillow
_REDUCED_EIGHTHS = (1, 2, 4)  # scales at which a JPEG is decoded faster; other scales are slower than full size


@dataclass(frozen=True)
class ImageFile:
    """An image that is not decoded yet."""

    data: bytes
    name: str  # in errors
    shape: Shape  # of the decoded image
    channels: int  # 1 or 3
    applies_exif: bool  # whether EXIF's orientation is applied
    is_reducible: bool  # a JPEG that can be decoded at a reduced scale

    @property
    def format(self) -> str:
        """The file format of copies: "JPEG" for a JPEG, else "PNG"."""
        return "JPEG" if self.data[:2] == b"\xff\xd8" else "PNG"

    def decode(self) -> Pixels:
        """Return the image: uint8 of shape (height, width) or (height, width, 3).

        Raises:
            DataError: the file is truncated or damaged.
        """
        return self._decoded(self.shape)

    def decode_reduced(self, box: Box, height: int, width: int) -> tuple[Pixels, Box]:
        """Return the image at full, 1/2, 1/4 or 1/8 scale, and the position of ``box`` in it.

        The scale is never so small that ``box`` would have fewer pixels than ``height`` x ``width``.
        """
        eighths = self._eighths(box, height, width)
        if eighths == 8:
            return self.decode(), box
        min_height, min_width = (-(-side * eighths // 8) for side in self.shape)
        pixels = self._decoded((min_height, min_width))
        y_scale, x_scale = pixels.shape[0] / self.shape[0], pixels.shape[1] / self.shape[1]
        left, right = round(box[0] * x_scale), round(box[2] * x_scale)
        top, bottom = round(box[1] * y_scale), round(box[3] * y_scale)
        return pixels, (left, top, right, bottom)

    def _eighths(self, box: Box, height: int, width: int) -> int:
        if not self.is_reducible:
            return 8
        for eighths in _REDUCED_EIGHTHS:
            if (box[3] - box[1]) * eighths >= 8 * height and (box[2] - box[0]) * eighths >= 8 * width:
                return eighths
        return 8

    def _decoded(self, min_shape: Shape) -> Pixels:
        """Return the image at the smallest scale that has at least ``min_shape`` pixels."""
        pixels = self._decode_jpeg(min_shape) if self.is_reducible else None
        if pixels is None:
            pixels = image_decoding.decode(self.data, self.name, self.channels, self.applies_exif)
        return pixels[:, :, 0] if self.channels == 1 else pixels

    def _decode_jpeg(self, min_shape: Shape) -> Pixels | None:
        """Decode a JPEG in a fraction of the time; return None for one that is damaged or unusual.

        Subsampled colors are repeated instead of smoothed: the difference is 1 of 255 on average, without bias.
        """
        import simplejpeg

        space = "GRAY" if self.channels == 1 else "RGB"
        height, width = min_shape if min_shape != self.shape else (0, 0)  # 0: full size
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(
                self.data, space, fastupsample=True, min_height=height, min_width=width
            )
        except ValueError:
            return None
        return pixels


def open_file(data: bytes, name: str, apply_exif: bool) -> ImageFile:
    """Return the image in ``data``, called ``name`` in errors, without decoding its pixels.

    Raises:
        DataError: it is not an image, or too large (see ``image_decoding.inspect``).
    """
    header = _read_jpeg_header(data)
    if header and _EXIF not in data[:_EXIF_SEARCH_BYTES]:
        height, width, channels = header
        return ImageFile(data, name, (height, width), channels, apply_exif, is_reducible=True)
    facts = image_decoding.inspect(data, name)
    is_turned = apply_exif and facts.orientation in image_decoding.TURNED
    shape = (facts.width, facts.height) if is_turned else (facts.height, facts.width)
    channels = 1 if facts.mode in _GRAYSCALE_MODES else 3
    keeps_orientation = not apply_exif or facts.orientation == 1
    return ImageFile(data, name, shape, channels, apply_exif, is_reducible=header is not None and keeps_orientation)


def encode(pixels: Pixels, format: str) -> bytes:
    """Return uint8 (height, width) or (height, width, 3) as a file."""
    return image_decoding.encode(pixels if pixels.ndim == 3 else np.ascontiguousarray(pixels)[:, :, None], format)


def name_of_copy(path: str, copy: int, format: str) -> str:
    """Return the file name of copy number ``copy`` of the image ``path``, in the same folder."""
    original = PurePosixPath(path or "image")
    suffix = original.suffix if format == "JPEG" and original.suffix else f".{format.lower()}"
    return str(original.with_name(f"{original.stem}_augmented_{copy}{suffix}"))


def _read_jpeg_header(data: bytes) -> tuple[int, int, int] | None:
    """Return height, width and channels of a YCbCr or grayscale JPEG; None for other files."""
    if data[:2] != b"\xff\xd8":
        return None
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    if space not in ("YCbCr", "Gray") or height * width > image_decoding.MAX_PIXELS:
        return None
    return height, width, 1 if space == "Gray" else 3
