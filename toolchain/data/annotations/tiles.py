"""Tiles: large images cut into overlapping squares, objects clipped to each, left out where little of them is in."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import PurePosixPath

from toolchain import image_decoding
from toolchain.annotations import AnnotatedImage, Annotation, Box
from toolchain.annotations.checks import Tally
from toolchain.annotations.geometry import area, clip, intersection, translate, upright_box

TILE = "tile"  # in ``metadata``: left and top of the tile in its image, and that image's width and height


@dataclass
class Cutter:
    """Cuts images larger than ``tile`` and counts what becomes of their objects."""

    tile: int  # pixels, of a side
    overlap: int  # pixels
    min_visibility: float  # share of a box, 0..1
    cut: int = 0  # images
    tiles: int = 0
    clipped: int = 0  # objects of tiles that are only a part
    left_out: int = 0  # parts too small to stay in their tile
    lost: Tally = field(default_factory=Tally)  # objects that stay in no tile at all

    def tiles_of(self, image: AnnotatedImage, data: bytes, max_pixels: int) -> Iterator[tuple[AnnotatedImage, bytes]]:
        """Yield the tiles of ``image``, whose file is ``data``; itself when it is no larger than one."""
        if not self.tile or max(image.width, image.height) <= self.tile:
            yield image, data
            return
        pixels = image_decoding.decode(data, image.name, max_pixels=max_pixels)
        self.cut += 1
        kept: set[int] = set()
        for window in windows(image.width, image.height, self.tile, self.overlap):
            left, top, right, bottom = (int(edge) for edge in window)
            self.tiles += 1
            annotations = tuple(self._annotations(image, window, kept))
            part = replace(
                image,
                name=_name(image.name, left, top),
                file=None,
                width=right - left,
                height=bottom - top,
                annotations=annotations,
                metadata={**image.metadata, TILE: [left, top, image.width, image.height]},
            )
            yield part, image_decoding.encode(pixels[top:bottom, left:right])
        for position, annotation in enumerate(image.annotations):
            if position not in kept:
                self.lost.add(
                    f"{image.name}: {annotation.label} at {', '.join(f'{edge:g}' for edge in annotation.box)}"
                )

    def _annotations(self, image: AnnotatedImage, window: Box, kept: set[int]) -> Iterator[Annotation]:
        """Yield what is in ``window`` as it lies there; note the positions of what stays in ``kept``."""
        size = (image.width, image.height)
        for position, annotation in enumerate(image.annotations):
            box = upright_box(annotation)
            share = area(intersection(box, window)) / area(box) if area(box) else 0.0
            if not share:
                continue
            if share < self.min_visibility:
                self.left_out += 1
                continue
            kept.add(position)
            part = clip(annotation, window, size)
            is_part = share < 1
            self.clipped += is_part
            yield replace(translate(part, -window[0], -window[1]), truncated=annotation.truncated or is_part)


def windows(width: int, height: int, tile: int, overlap: int) -> Iterator[Box]:
    """Yield the tiles of an image of ``width`` x ``height`` pixels, row by row.

    Each has ``tile`` pixels a side, or the image's where that is smaller; they are spread evenly, so that neighbours
    share at least ``overlap`` pixels, and the last ends where the image does.
    """
    for top in _starts(height, tile, overlap):
        for left in _starts(width, tile, overlap):
            yield float(left), float(top), float(min(left + tile, width)), float(min(top + tile, height))


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    if side <= tile:
        return [0]
    count = ceil((side - overlap) / (tile - overlap))
    return [round(position * (side - tile) / (count - 1)) for position in range(count)]


def _name(name: str, left: int, top: int) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem}@{left}-{top}.png"))
