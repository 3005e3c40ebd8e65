"""Cut large images into overlapping square tiles, and clip the objects to each."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import PurePosixPath

from toolchain import image_decoding
from toolchain.annotations import AnnotatedImage, Annotation, Box
from toolchain.annotations.checks import Tally
from toolchain.annotations.geometry import area, clip, intersection, translate, upright_box

TILE = "tile"  # key of a tile's metadata: its left and top in its image, and that image's width and height


@dataclass
class Tiler:
    """Cuts images larger than ``size`` and counts what becomes of their objects."""

    size: int  # pixels of a side; 0: images are not cut
    overlap: int  # pixels
    min_visibility: float  # share of a box's area, 0..1
    images: int = 0  # that were cut
    tiles: int = 0
    clipped: int = 0  # objects that are only partly in their tile
    left_out: int = 0  # parts of objects below min_visibility
    lost: Tally = field(default_factory=Tally)  # objects that are in no tile

    def tiles_of(self, image: AnnotatedImage, data: bytes, max_pixels: int) -> Iterator[tuple[AnnotatedImage, bytes]]:
        """Yield the tiles of ``image``, whose file is ``data``; the image itself if it is no larger than a tile."""
        if not self.size or max(image.width, image.height) <= self.size:
            yield image, data
            return
        pixels = image_decoding.decode(data, image.name, max_pixels=max_pixels)
        self.images += 1
        kept: set[int] = set()
        for window in windows(image.width, image.height, self.size, self.overlap):
            left, top, right, bottom = (int(edge) for edge in window)
            self.tiles += 1
            tile = replace(
                image,
                name=_name(image.name, left, top),
                file=None,
                width=right - left,
                height=bottom - top,
                annotations=tuple(self._annotations(image, window, kept)),
                metadata={**image.metadata, TILE: [left, top, image.width, image.height]},
            )
            yield tile, image_decoding.encode(pixels[top:bottom, left:right])
        for index, annotation in enumerate(image.annotations):
            if index not in kept:
                edges = ", ".join(f"{edge:g}" for edge in annotation.box)
                self.lost.add(f"{image.name}: {annotation.label} at {edges}")

    def _annotations(self, image: AnnotatedImage, window: Box, kept: set[int]) -> Iterator[Annotation]:
        """Yield the annotations in ``window``, relative to it; add their indices to ``kept``."""
        size = (image.width, image.height)
        for index, annotation in enumerate(image.annotations):
            box = upright_box(annotation)
            visibility = area(intersection(box, window)) / area(box) if area(box) else 0.0
            if not visibility:
                continue
            if visibility < self.min_visibility:
                self.left_out += 1
                continue
            kept.add(index)
            is_clipped = visibility < 1
            self.clipped += is_clipped
            part = translate(clip(annotation, window, size), -window[0], -window[1])
            yield replace(part, truncated=annotation.truncated or is_clipped)


def windows(width: int, height: int, size: int, overlap: int) -> Iterator[Box]:
    """Yield the tiles of an image of ``width`` x ``height`` pixels, row by row.

    Each has ``size`` pixels a side, or the image's where that is smaller. They are spread evenly, so that neighbors
    share at least ``overlap`` pixels and the last tile ends with the image.
    """
    for top in _starts(height, size, overlap):
        for left in _starts(width, size, overlap):
            yield float(left), float(top), float(min(left + size, width)), float(min(top + size, height))


def _starts(side: int, size: int, overlap: int) -> list[int]:
    if side <= size:
        return [0]
    count = ceil((side - overlap) / (size - overlap))
    return [round(index * (side - size) / (count - 1)) for index in range(count)]


def _name(name: str, left: int, top: int) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}@{left}-{top}.png"))
