"""Image operations with fixed parameters: crop, resize, flip, filter, lookup table, noise, cutout and warp.

Each operation computes what Albumentations' function computes from the same parameters, in fewer steps. Images are
uint8 of shape (height, width) or (height, width, 3). Coordinates are pixel edges, as in datasets: the first pixel
spans 0 to 1.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.image_decoding import Pixels

Matrix = NDArray[np.float64]  # (2, 3): maps a position (x, y, 1) to the new position (x, y)
Shape = tuple[int, int]  # height, width
Box = tuple[int, int, int, int]  # left, top, right, bottom, whole pixels


@dataclass(frozen=True)
class Crop:
    """Keep the pixels in ``box``."""

    box: Box

    def apply(self, image: Pixels) -> Pixels:
        left, top, right, bottom = self.box
        return image[top:bottom, left:right]

    apply_to_mask = apply

    def output_shape(self, shape: Shape) -> Shape:
        return self.box[3] - self.box[1], self.box[2] - self.box[0]

    def matrix(self, shape: Shape) -> Matrix:
        return np.array([[1.0, 0.0, -self.box[0]], [0.0, 1.0, -self.box[1]]])


@dataclass(frozen=True)
class Resize:
    """Resize to ``height`` x ``width``."""

    height: int
    width: int
    interpolation: int  # an OpenCV constant
    mask_interpolation: int

    def apply(self, image: Pixels) -> Pixels:
        return self._resized(image, self.interpolation)

    def apply_to_mask(self, mask: Pixels) -> Pixels:
        return self._resized(mask, self.mask_interpolation)

    def output_shape(self, shape: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, shape: Shape) -> Matrix:
        return np.array([[self.width / shape[1], 0.0, 0.0], [0.0, self.height / shape[0], 0.0]])

    def _resized(self, image: Pixels, interpolation: int) -> Pixels:
        import cv2

        if image.shape[:2] == (self.height, self.width):
            return image
        return np.asarray(cv2.resize(image, (self.width, self.height), interpolation=interpolation), np.uint8)


@dataclass(frozen=True)
class Symmetry:
    """One of the eight symmetries of a square: transpose, then flip."""

    transposed: bool = False
    flipped_vertically: bool = False  # upside down
    flipped_horizontally: bool = False  # left to right

    def apply(self, image: Pixels) -> Pixels:
        import cv2

        if self.transposed:
            image = np.asarray(cv2.transpose(image), np.uint8)
        if self.flipped_vertically or self.flipped_horizontally:
            image = np.asarray(
                cv2.flip(
                    image,
                    -1 if self.flipped_vertically and self.flipped_horizontally else int(self.flipped_horizontally),
                ),
                np.uint8,
            )
        return image

    apply_to_mask = apply

    def output_shape(self, shape: Shape) -> Shape:
        return (shape[1], shape[0]) if self.transposed else shape

    def matrix(self, shape: Shape) -> Matrix:
        height, width = self.output_shape(shape)
        x, y = ([0.0, 1.0], [1.0, 0.0]) if self.transposed else ([1.0, 0.0], [0.0, 1.0])
        x = [-x[0], -x[1], width] if self.flipped_horizontally else [*x, 0.0]
        y = [-y[0], -y[1], height] if self.flipped_vertically else [*y, 0.0]
        return np.array([x, y], np.float64)

    def then(self, other: "Symmetry") -> "Symmetry":
        """Return the composition: this symmetry, then ``other``."""
        down, across = (
            (self.flipped_horizontally, self.flipped_vertically)
            if other.transposed
            else (self.flipped_vertically, self.flipped_horizontally)
        )
        return Symmetry(
            self.transposed != other.transposed, down != other.flipped_vertically, across != other.flipped_horizontally
        )

    def inverse(self) -> "Symmetry":
        """Return the symmetry that undoes this one."""
        return (
            Symmetry(self.transposed, self.flipped_horizontally, self.flipped_vertically) if self.transposed else self
        )

    def move_box(self, box: Box, shape: Shape) -> Box:
        """Return the new position of ``box`` in an image of ``shape``."""
        height, width = self.output_shape(shape)
        left, top, right, bottom = (box[1], box[0], box[3], box[2]) if self.transposed else box
        if self.flipped_horizontally:
            left, right = width - right, width - left
        if self.flipped_vertically:
            top, bottom = height - bottom, height - top
        return left, top, right, bottom


@dataclass(frozen=True)
class Filter:
    """A blur: each pixel becomes the weighted mean of its neighbours."""

    kernel: NDArray[Any]  # (n, n), or (n,) for a separable blur with the same kernel along both axes; n is odd

    @property
    def radius(self) -> int:
        """Distance in pixels to the farthest neighbour."""
        return len(self.kernel) // 2

    def transformed(self, symmetry: Symmetry) -> Self:
        """Return the filter that has the same effect on the image after ``symmetry``."""
        if self.kernel.ndim == 1:
            return self
        kernel = self.kernel.T if symmetry.transposed else self.kernel
        return type(self)(
            np.ascontiguousarray(
                kernel[:: -1 if symmetry.flipped_vertically else 1, :: -1 if symmetry.flipped_horizontally else 1]
            )
        )

    def apply(self, image: Pixels) -> Pixels:
        import cv2

        if self.kernel.ndim == 1:
            return np.asarray(cv2.sepFilter2D(image, -1, self.kernel, self.kernel), np.uint8)
        return np.asarray(cv2.filter2D(image, -1, self.kernel), np.uint8)


@dataclass(frozen=True)
class LookupTable:
    """Brightness, contrast, gamma: a function of each pixel value alone."""

    values: NDArray[np.uint8]  # (256,)

    def apply(self, image: Pixels) -> Pixels:
        import cv2

        return np.asarray(cv2.LUT(image, self.values), np.uint8)


@dataclass(frozen=True)
class HueShift:
    """A change of hue, saturation and value of each pixel."""

    values: NDArray[np.uint8]  # (1, 256, 3)
    gray: NDArray[np.uint8]  # (256,), applied to grayscale images

    def apply(self, image: Pixels) -> Pixels:
        import cv2

        if image.ndim == 2:
            return np.asarray(cv2.LUT(image, self.gray), np.uint8)
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        return np.asarray(cv2.cvtColor(cv2.LUT(hsv, self.values), cv2.COLOR_HSV2RGB), np.uint8)


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian noise, in units of 8-bit values."""

    mean: float
    deviation: float
    per_channel: bool
    seed: int  # below 2**31

    def apply(self, image: Pixels) -> Pixels:
        import cv2

        noise: NDArray[Any] = np.empty(image.shape if self.per_channel else image.shape[:2], np.float32)
        cv2.setRNGSeed(self.seed)
        cv2.randn(noise, np.full(4, self.mean), np.full(4, self.deviation))
        noise = noise.astype(np.int16)  # truncated, as Albumentations does
        if noise.ndim < image.ndim:
            noise = np.repeat(noise[:, :, None], image.shape[2], axis=2)
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)


@dataclass(frozen=True)
class Cutout:
    """Fill rectangles."""

    boxes: tuple[Box, ...]
    fill: float | tuple[float, ...]  # one value, or one per channel

    def apply(self, image: Pixels) -> Pixels:
        image = image.copy()
        for left, top, right, bottom in self.boxes:
            image[top:bottom, left:right] = self.fill
        return image

    def covered(self, shape: Shape) -> NDArray[np.bool_]:
        """Return the mask of filled pixels for an image of ``shape``."""
        mask = np.zeros(shape, bool)
        for left, top, right, bottom in self.boxes:
            mask[top:bottom, left:right] = True
        return mask


@dataclass(frozen=True)
class AffineWarp:
    """An affine map: rotation, scale, shear and translation."""

    center_matrix: Matrix  # for coordinates of pixel centers, as OpenCV takes it
    edge_matrix: Matrix  # for coordinates of pixel edges
    height: int
    width: int
    interpolation: int
    mask_interpolation: int
    border: int  # an OpenCV constant
    fill: float | tuple[float, ...]
    fill_mask: float

    def apply(self, image: Pixels) -> Pixels:
        return self._warped(image, self.interpolation, self.fill)

    def apply_to_mask(self, mask: Pixels) -> Pixels:
        return self._warped(mask, self.mask_interpolation, self.fill_mask)

    def output_shape(self, shape: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, shape: Shape) -> Matrix:
        return self.edge_matrix

    def _warped(self, image: Pixels, interpolation: int, fill: float | tuple[float, ...]) -> Pixels:
        import cv2

        value = tuple(fill) if isinstance(fill, tuple) else (fill,) * 4
        size = (self.width, self.height)
        warped = cv2.warpAffine(
            image, self.center_matrix, size, flags=interpolation, borderMode=self.border, borderValue=value
        )
        return np.asarray(warped, np.uint8)


@dataclass(frozen=True)
class Paste:
    """Paste the image on a black canvas of ``height`` x ``width``, with its top left corner at ``left``, ``top``."""

    left: int
    top: int
    height: int
    width: int

    def apply(self, image: Pixels) -> Pixels:
        canvas = np.zeros((self.height, self.width, *image.shape[2:]), np.uint8)
        canvas[self.top : self.top + image.shape[0], self.left : self.left + image.shape[1]] = image
        return canvas

    apply_to_mask = apply

    def output_shape(self, shape: Shape) -> Shape:
        return self.height, self.width

    def matrix(self, shape: Shape) -> Matrix:
        return np.array([[1.0, 0.0, self.left], [0.0, 1.0, self.top]])


Geometric = Crop | Resize | Symmetry | AffineWarp | Paste  # these also move boxes, polygons and masks
Operation = Geometric | Filter | LookupTable | HueShift | GaussianNoise | Cutout
