"""What is done to a picture once all chance is drawn: cuts, scales, turns, filters, tables, noise, holes and warps.

Each operation changes pixels as Albumentations' function of the same parameters does, by fewer steps. Pixels are uint8
of shape (height, width) or (height, width, 3); positions are edges, as in datasets: the first pixel spans 0 to 1.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.pictures import Pixels

Matrix = NDArray[np.float64]  # (2, 3): an old position (x, y, 1) to a new one (x, y)
Shape = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # left, top, right, bottom, whole pixels


@dataclass(frozen=True)
class Cut:
    """Keep ``box``."""

    box: Box

    def pixels(self, picture: Pixels) -> Pixels:
        left, top, right, bottom = self.box
        return picture[top:bottom, left:right]

    mask = pixels

    def shape(self, before: Shape) -> Shape:
        return self.box[3] - self.box[1], self.box[2] - self.box[0]

    def matrix(self, before: Shape) -> Matrix:
        return np.array([[1.0, 0.0, -self.box[0]], [0.0, 1.0, -self.box[1]]])


@dataclass(frozen=True)
class Scale:
    """Stretch to ``height`` x ``width``."""

    height: int
    width: int
    interpolation: int  # of OpenCV
    mask_interpolation: int

    def pixels(self, picture: Pixels) -> Pixels:
        return self._resized(picture, self.interpolation)

    def mask(self, mask: Pixels) -> Pixels:
        return self._resized(mask, self.mask_interpolation)

    def shape(self, before: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, before: Shape) -> Matrix:
        return np.array([[self.width / before[1], 0.0, 0.0], [0.0, self.height / before[0], 0.0]])

    def _resized(self, picture: Pixels, interpolation: int) -> Pixels:
        import cv2

        if picture.shape[:2] == (self.height, self.width):
            return picture
        return np.asarray(cv2.resize(picture, (self.width, self.height), interpolation=interpolation), np.uint8)


@dataclass(frozen=True)
class Turn:
    """One of the eight turns and mirrors of a square: swap the axes, then mirror ``down`` and ``across``."""

    swapped: bool = False
    down: bool = False  # upside down
    across: bool = False  # left to right

    def pixels(self, picture: Pixels) -> Pixels:
        import cv2

        if self.swapped:
            picture = np.asarray(cv2.transpose(picture), np.uint8)
        if self.down or self.across:
            picture = np.asarray(cv2.flip(picture, -1 if self.down and self.across else int(self.across)), np.uint8)
        return picture

    mask = pixels

    def shape(self, before: Shape) -> Shape:
        return (before[1], before[0]) if self.swapped else before

    def matrix(self, before: Shape) -> Matrix:
        height, width = self.shape(before)
        x, y = ([0.0, 1.0], [1.0, 0.0]) if self.swapped else ([1.0, 0.0], [0.0, 1.0])
        x = [-x[0], -x[1], width] if self.across else [*x, 0.0]
        y = [-y[0], -y[1], height] if self.down else [*y, 0.0]
        return np.array([x, y], np.float64)

    def then(self, other: "Turn") -> "Turn":
        """Return the one turn that does this one and ``other`` after it."""
        down, across = (self.across, self.down) if other.swapped else (self.down, self.across)
        return Turn(self.swapped != other.swapped, down != other.down, across != other.across)

    def back(self) -> "Turn":
        """Return the turn that undoes this one."""
        return Turn(self.swapped, self.across, self.down) if self.swapped else self

    def box(self, box: Box, before: Shape) -> Box:
        """Return where ``box``, in a picture of shape ``before``, comes to lie."""
        height, width = self.shape(before)
        left, top, right, bottom = (box[1], box[0], box[3], box[2]) if self.swapped else box
        if self.across:
            left, right = width - right, width - left
        if self.down:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


@dataclass(frozen=True)
class Filter:
    """A blur: each pixel becomes a weighted mean of its neighbours."""

    kernel: NDArray[Any]  # (n, n), or (n,) for a blur that is the same kernel down and across; n is odd

    @property
    def reach(self) -> int:
        """How many pixels away a neighbour may be."""
        return len(self.kernel) // 2

    def turned(self, turn: Turn) -> Self:
        """Return the filter that does to a turned picture what this one does to the picture."""
        if self.kernel.ndim == 1:
            return self
        kernel = self.kernel.T if turn.swapped else self.kernel
        return type(self)(np.ascontiguousarray(kernel[:: -1 if turn.down else 1, :: -1 if turn.across else 1]))

    def pixels(self, picture: Pixels) -> Pixels:
        import cv2

        if self.kernel.ndim == 1:
            return np.asarray(cv2.sepFilter2D(picture, -1, self.kernel, self.kernel), np.uint8)
        return np.asarray(cv2.filter2D(picture, -1, self.kernel), np.uint8)


@dataclass(frozen=True)
class Table:
    """Brightness, contrast, gamma: each value becomes another, whatever stands beside it."""

    values: NDArray[np.uint8]  # (256,)

    def pixels(self, picture: Pixels) -> Pixels:
        import cv2

        return np.asarray(cv2.LUT(picture, self.values), np.uint8)


@dataclass(frozen=True)
class Hue:
    """Hue, saturation and value of each pixel become others."""

    values: NDArray[np.uint8]  # (1, 256, 3)
    gray: NDArray[np.uint8]  # (256,), for pictures without colours: the value alone

    def pixels(self, picture: Pixels) -> Pixels:
        import cv2

        if picture.ndim == 2:
            return np.asarray(cv2.LUT(picture, self.gray), np.uint8)
        hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
        return np.asarray(cv2.cvtColor(cv2.LUT(hsv, self.values), cv2.COLOR_HSV2RGB), np.uint8)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, in units of 8-bit values."""

    mean: float
    deviation: float
    per_channel: bool
    seed: int  # below 2**31

    def pixels(self, picture: Pixels) -> Pixels:
        import cv2

        noise: NDArray[Any] = np.empty(picture.shape if self.per_channel else picture.shape[:2], np.float32)
        cv2.setRNGSeed(self.seed)
        cv2.randn(noise, np.full(4, self.mean), np.full(4, self.deviation))
        noise = noise.astype(np.int16)  # fractions are cut off, as Albumentations does
        if noise.ndim < picture.ndim:
            noise = np.repeat(noise[:, :, None], picture.shape[2], axis=2)
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), np.uint8)


@dataclass(frozen=True)
class Holes:
    """Cutout: rectangles are filled."""

    boxes: tuple[Box, ...]
    fill: float | tuple[float, ...]  # one value, or one for each channel

    def pixels(self, picture: Pixels) -> Pixels:
        picture = picture.copy()
        for left, top, right, bottom in self.boxes:
            picture[top:bottom, left:right] = self.fill
        return picture

    def covered(self, shape: Shape) -> NDArray[np.bool_]:
        """Return which pixels of a picture of ``shape`` are filled."""
        mask = np.zeros(shape, bool)
        for left, top, right, bottom in self.boxes:
            mask[top:bottom, left:right] = True
        return mask


@dataclass(frozen=True)
class Warp:
    """An affine map: turn by any angle, scale, shear and shift."""

    middles: Matrix  # as OpenCV takes it: pixels counted by their middles
    edges: Matrix  # the same for positions that count edges
    height: int
    width: int
    interpolation: int
    mask_interpolation: int
    border: int  # of OpenCV
    fill: float | tuple[float, ...]
    fill_mask: float

    def pixels(self, picture: Pixels) -> Pixels:
        return self._warped(picture, self.interpolation, self.fill)

    def mask(self, mask: Pixels) -> Pixels:
        return self._warped(mask, self.mask_interpolation, self.fill_mask)

    def shape(self, before: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, before: Shape) -> Matrix:
        return self.edges

    def _warped(self, picture: Pixels, interpolation: int, fill: float | tuple[float, ...]) -> Pixels:
        import cv2

        value = tuple(fill) if isinstance(fill, tuple) else (fill,) * 4
        size = (self.width, self.height)
        warped = cv2.warpAffine(
            picture, self.middles, size, flags=interpolation, borderMode=self.border, borderValue=value
        )
        return np.asarray(warped, np.uint8)


@dataclass(frozen=True)
class Place:
    """Lay the picture on an empty one of ``height`` x ``width``, its left upper corner at ``left``, ``top``."""

    left: int
    top: int
    height: int
    width: int

    def pixels(self, picture: Pixels) -> Pixels:
        canvas = np.zeros((self.height, self.width, *picture.shape[2:]), np.uint8)
        canvas[self.top : self.top + picture.shape[0], self.left : self.left + picture.shape[1]] = picture
        return canvas

    mask = pixels

    def shape(self, before: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, before: Shape) -> Matrix:
        return np.array([[1.0, 0.0, self.left], [0.0, 1.0, self.top]])


Moving = Cut | Scale | Turn | Warp | Place  # boxes, outlines and masks move with these
Operation = Moving | Filter | Table | Hue | Noise | Holes


def shape_after(operations: list[Operation], shape: Shape) -> Shape:
    """Return the shape that ``operations`` leave of a picture of ``shape``."""
    for operation in operations:
        if isinstance(operation, Moving):
            shape = operation.shape(shape)
    return shape


def crop_first(operations: list[Operation], shape: Shape) -> list[Operation]:
    """Return ``operations`` with their first cut in front and what precedes it done to what it leaves, and no more.

    The picture is the same: turns and tables do not care where they are done, filters get the margin that they reach
    into, and a turned kernel before a turn is the kernel after it. ``shape`` is that of the picture before.
    """
    first = next((place for place, operation in enumerate(operations) if isinstance(operation, Cut)), 0)
    before, rest = operations[:first], operations[first:]
    if not before or not all(isinstance(operation, Turn | Filter | Table | Hue) for operation in before):
        return operations
    turn, local = Turn(), list[Filter | Table | Hue]()
    for operation in before:
        if isinstance(operation, Turn):
            turn = turn.then(operation)
        elif isinstance(operation, Filter):
            local.append(operation.turned(turn.back()))
        elif isinstance(operation, Table | Hue):
            local.append(operation)
    cut = rest.pop(0)
    assert isinstance(cut, Cut)
    box = turn.back().box(cut.box, turn.shape(shape))
    moved = _cut_around(box, local, shape)
    if rest and isinstance(scale := rest[0], Scale):
        height, width = turn.back().shape((scale.height, scale.width))
        moved.append(Scale(height, width, scale.interpolation, scale.mask_interpolation))
        rest.pop(0)
    return [*moved, turn, *rest]


def _cut_around(box: Box, local: list[Filter | Table | Hue], shape: Shape) -> list[Operation]:
    """Return ``local`` done to ``box`` with the margins that its filters need, which are cut off as they are used."""
    boxes = [box]
    for operation in reversed(local):
        boxes.insert(0, _grown(boxes[0], operation.reach, shape) if isinstance(operation, Filter) else boxes[0])
    done: list[Operation] = [Cut(boxes[0])]
    for operation, outer, inner in zip(local, boxes, boxes[1:], strict=False):
        done.append(operation)
        if inner != outer:
            left, top = outer[:2]
            done.append(Cut((inner[0] - left, inner[1] - top, inner[2] - left, inner[3] - top)))
    return done


def _grown(box: Box, by: int, shape: Shape) -> Box:
    left, top, right, bottom = box
    return max(left - by, 0), max(top - by, 0), min(right + by, shape[1]), min(bottom + by, shape[0])
