"""Tiles: large pictures cut into overlapping squares, objects clipped to each, left out where little of them is in."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import PurePosixPath

from toolchain import image_decoding
from toolchain.annotations import Box, Picture, Thing
from toolchain.annotations.checks import Found
from toolchain.annotations.geometry import area, clip, covered, meet, moved

TILE = "tile"  # in ``about``: left and top of the tile in its picture, and that picture's width and height


@dataclass
class Cutter:
    """Cuts pictures larger than ``tile`` and counts what becomes of their objects."""

    tile: int  # pixels, of a side
    overlap: int  # pixels
    min_visibility: float  # share of a box, 0..1
    cut: int = 0  # pictures
    tiles: int = 0
    clipped: int = 0  # objects of tiles that are only a part
    left_out: int = 0  # parts too small to stay in their tile
    lost: Found = field(default_factory=Found)  # objects that stay in no tile at all

    def tiles_of(self, picture: Picture, data: bytes, max_pixels: int) -> Iterator[tuple[Picture, bytes]]:
        """Yield the tiles of ``picture``, whose file is ``data``; itself when it is no larger than one."""
        if not self.tile or max(picture.width, picture.height) <= self.tile:
            yield picture, data
            return
        pixels = image_decoding.decode(data, picture.name, max_pixels=max_pixels)
        self.cut += 1
        kept: set[int] = set()
        for window in windows(picture.width, picture.height, self.tile, self.overlap):
            left, top, right, bottom = (int(edge) for edge in window)
            self.tiles += 1
            things = tuple(self._things(picture, window, kept))
            part = replace(
                picture,
                name=_name(picture.name, left, top),
                file=None,
                width=right - left,
                height=bottom - top,
                things=things,
                about={**picture.about, TILE: [left, top, picture.width, picture.height]},
            )
            yield part, image_decoding.encode(pixels[top:bottom, left:right])
        for position, thing in enumerate(picture.things):
            if position not in kept:
                self.lost.add(f"{picture.name}: {thing.label} at {', '.join(f'{edge:g}' for edge in thing.box)}")

    def _things(self, picture: Picture, window: Box, kept: set[int]) -> Iterator[Thing]:
        """Yield what is in ``window`` as it lies there; note the positions of what stays in ``kept``."""
        size = (picture.width, picture.height)
        for position, thing in enumerate(picture.things):
            box = covered(thing)
            share = area(meet(box, window)) / area(box) if area(box) else 0.0
            if not share:
                continue
            if share < self.min_visibility:
                self.left_out += 1
                continue
            kept.add(position)
            part = clip(thing, window, size)
            is_part = share < 1
            self.clipped += is_part
            yield replace(moved(part, -window[0], -window[1]), truncated=thing.truncated or is_part)


def windows(width: int, height: int, tile: int, overlap: int) -> Iterator[Box]:
    """Yield the tiles of a picture of ``width`` x ``height`` pixels, row by row.

    Each has ``tile`` pixels a side, or the picture's where that is smaller; they are spread evenly, so that neighbours
    share at least ``overlap`` pixels, and the last ends where the picture does.
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
