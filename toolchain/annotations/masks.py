"""Masks as run-length encodings: COCO's compressed text and plain counts, CVAT's windows, and pixels.

COCO counts runs of 0 and 1 in turn, from 0, down the columns from the left. Its text stores each count, from the third
on minus the one two before, in groups of 5 bits, low bits first, with a sixth bit that says whether more follow, plus
48 (pycocotools' maskApi.c, rleToString). CVAT counts along the rows of a window.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import DataError

Mask = NDArray[np.uint8]  # (height, width), 0 or 1
Corner = tuple[int, int]  # x, y of a pixel's corner


def to_text(counts: Sequence[int]) -> str:
    """Return COCO's compressed text of ``counts``."""
    characters = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            characters.append(chr(bits + (0x20 if more else 0) + 48))
    return "".join(characters)


def to_counts(text: str) -> list[int]:
    """Return the counts of COCO's compressed ``text``.

    Raises:
        DataError: it is not such a text.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise DataError(f"RLE {text[:40]!r} is not valid: character {character!r} is not allowed")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift or min(counts, default=0) < 0:
        raise DataError(f"RLE {text[:40]!r} is not valid: it is cut off, or a run is shorter than 0")
    return counts


def decode(text: str, width: int, height: int) -> Mask:
    """Return the pixels of the compressed ``text``: uint8 of shape (height, width), 0 or 1."""
    return _pixels(to_counts(text), width * height).reshape((height, width), order="F")


def encode(mask: Mask) -> str:
    """Return the compressed text of ``mask``, uint8 of shape (height, width), 0 or 1."""
    return to_text(_runs(mask.ravel(order="F")))


def box_of(text: str, width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the mask's pixels; zeros for an empty mask."""
    mask = decode(text, width, height)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return 0.0, 0.0, 0.0, 0.0
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def from_window(counts: Sequence[int], window: tuple[int, int, int, int], width: int, height: int) -> str:
    """Return the compressed text of a mask for the whole image from CVAT's ``counts`` in a window.

    Args:
        counts: Runs of 0 and 1 in turn along the rows of the window.
        window: Left, top, width and height in pixels.
        width: Of the image, in pixels.
        height: Of the image, in pixels.
    """
    left, top, across, down = window
    if left < 0 or top < 0 or across < 0 or down < 0 or left + across > width or top + down > height:
        raise DataError(f"a mask's window {window} is not inside its image of {width} x {height}")
    mask = np.zeros((height, width), np.uint8)
    mask[top : top + down, left : left + across] = _pixels(counts, across * down).reshape((down, across))
    return encode(mask)


def to_window(text: str, width: int, height: int) -> tuple[list[int], tuple[int, int, int, int]]:
    """Return CVAT's counts and window (left, top, width, height) of the mask ``text``; the window is its box."""
    left, top, right, bottom = (int(edge) for edge in box_of(text, width, height))
    part = decode(text, width, height)[top:bottom, left:right]
    return _runs(part.ravel()), (left, top, right - left, bottom - top)


def polygons(text: str, width: int, height: int) -> tuple[tuple[float, ...], ...]:
    """Return the polygons of the mask ``text`` along the edges of its pixels.

    Each runs clockwise around pixels that share edges, and counterclockwise around a hole in them, so that together
    they enclose exactly the pixels of the mask, by the even-odd rule as by the winding number.
    """
    ends = _edges(np.pad(decode(text, width, height), 1).astype(bool))
    found = []
    while ends:
        start = next(iter(ends))
        found.append(_trace(ends, start))
    return tuple(found)


def _edges(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Return the edges of ``mask``, with its pixels on their right: the ends by the start.

    ``mask`` has a margin of one pixel, which the corners do not count.
    """
    inner = mask[1:-1, 1:-1]
    sides = (
        (inner & ~mask[:-2, 1:-1], (0, 0), (1, 0)),  # the top edge, to the right
        (inner & ~mask[1:-1, 2:], (1, 0), (1, 1)),
        (inner & ~mask[2:, 1:-1], (1, 1), (0, 1)),
        (inner & ~mask[1:-1, :-2], (0, 1), (0, 0)),
    )
    ends: dict[Corner, list[Corner]] = {}
    for pixels, (x0, y0), (x1, y1) in sides:
        rows, columns = (axis.tolist() for axis in np.nonzero(pixels))
        for row, column in zip(rows, columns, strict=True):
            ends.setdefault((column + x0, row + y0), []).append((column + x1, row + y1))
    return ends


def _trace(ends: dict[Corner, list[Corner]], start: Corner) -> tuple[float, ...]:
    """Return the corners of the polygon from ``start``, and remove its edges from ``ends``.

    Where two pixels touch at a corner, the path turns right, around the pixel that it came along.
    """
    points: list[Corner] = []
    point, direction = start, (0, 0)
    while point in ends:
        right = (point[0] - direction[1], point[1] + direction[0])
        choices = ends[point]
        following = right if right in choices else choices[0]
        choices.remove(following)
        if not choices:
            del ends[point]
        step = (following[0] - point[0], following[1] - point[1])
        if step != direction:
            points.append(point)
        point, direction = following, step
    return tuple(float(value) for corner in points for value in corner)


def _pixels(counts: Sequence[int], pixels: int) -> Mask:
    if sum(counts) != pixels:
        raise DataError(f"a mask's RLE adds up to {sum(counts):,} pixels, but the mask has {pixels:,}")
    return np.repeat(np.arange(len(counts), dtype=np.uint8) % 2, counts)


def _runs(values: Mask) -> list[int]:
    edges = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff([0, *edges, len(values)]).tolist() if len(values) else []
    return [0, *runs] if len(values) and values[0] else runs
