"""From a policy's transforms to operations: chance is drawn by Albumentations itself, so that it is the same chance."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from toolchain.augment.images.library import added, parameters
from toolchain.augment.images.operations import (
    Cut,
    Filter,
    Holes,
    Hue,
    Noise,
    Operation,
    Scale,
    Shape,
    Table,
    Turn,
    Warp,
)

Draw = Callable[[Any, Shape, Shape | None, Random], list[Operation]]  # transform, picture's shape, size wanted, chance
QUARTERS = (Turn(), Turn(True, True, False), Turn(False, True, True), Turn(True, False, True))  # counter-clockwise
SQUARE = {
    "e": QUARTERS[0],
    "r90": QUARTERS[1],
    "r180": QUARTERS[2],
    "r270": QUARTERS[3],
    "v": Turn(down=True),
    "hvt": Turn(True, True, True),
    "h": Turn(across=True),
    "t": Turn(True),
}
RAMP = np.arange(256, dtype=np.uint8)[None, :]  # a picture of every value: what is made of it is a table


def draw_of(transform: Any) -> Draw | None:
    """Return how to draw operations that do what ``transform`` does; None for one that Albumentations does itself."""
    name = type(transform).__name__
    if name == "RandomBrightnessContrast" and not transform.brightness_by_max:
        return None  # its parameters depend on what the picture shows
    if name == "GaussNoise" and transform.noise_scale_factor != 1:
        return None
    if name == "CoarseDropout" and (isinstance(transform.fill, str) or transform.fill_mask is not None):
        return None
    if name in ("Crop", "RandomCrop", "CenterCrop") and transform.pad_if_needed:
        return None
    if name == "Affine" and transform.rotate_method != "largest_box":
        return None
    return _DRAWS.get(name)


def _quarter(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    return [QUARTERS[parameters(transform, shape, chance)["factor"]]]


def _square(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    return [SQUARE[parameters(transform, shape, chance)["group_element"]]]


def _crop(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    left, top, right, bottom = parameters(transform, shape, chance)["crop_coords"]
    height, width = size or transform.size
    cut = Cut((left, top, right, bottom))
    # as transform._get_interpolation_for_resize, which knows its own size alone
    shrinks = bottom - top > height or right - left > width
    area = 3  # cv2.INTER_AREA
    of_picture = area if shrinks and transform.area_for_downscale else transform.interpolation
    of_mask = area if transform.area_for_downscale == "image_mask" else transform.mask_interpolation
    return [cut, Scale(height, width, of_picture, of_mask)]


def _cut(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    left, top, right, bottom = parameters(transform, shape, chance)["crop_coords"]
    return [Cut((left, top, right, bottom))]


def _resize(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    return [Scale(transform.height, transform.width, transform.interpolation, transform.mask_interpolation)]


def _filter(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    return [Filter(parameters(transform, shape, chance)["kernel"])]


def _table(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    return [Table(transform.apply(RAMP, **parameters(transform, shape, chance))[0])]


def _hue(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    drawn = parameters(transform, shape, chance)
    hue = np.mod(RAMP.astype(np.int16) + drawn["hue_shift"], 180).astype(np.uint8)[0]
    saturation, value = added(RAMP, drawn["sat_shift"])[0], added(RAMP, drawn["val_shift"])[0]
    saturation[0] = 0  # gray stays gray
    return [Hue(np.stack([hue, saturation, value], axis=-1)[None], value)]


def _noise(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    deviation, mean = chance.uniform(*transform.std_range), chance.uniform(*transform.mean_range)
    return [Noise(255 * mean, 255 * deviation, transform.per_channel, chance.getrandbits(31))]


def _holes(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    boxes = tuple(tuple(box) for box in parameters(transform, shape, chance)["holes"].tolist())
    return [Holes(boxes, transform.fill)]


def _warp(transform: Any, shape: Shape, size: Shape | None, chance: Random) -> list[Operation]:
    drawn = parameters(transform, shape, chance)
    height, width = (round(float(side)) for side in drawn["output_shape"][:2])
    return [
        Warp(
            middles=drawn["matrix"][:2],
            edges=drawn["bbox_matrix"][:2],
            height=height,
            width=width,
            interpolation=transform.interpolation,
            mask_interpolation=transform.mask_interpolation,
            border=transform.border_mode,
            fill=transform.fill,
            fill_mask=transform.fill_mask,
        )
    ]


_DRAWS: dict[str, Draw] = {
    "RandomRotate90": _quarter,
    "HorizontalFlip": lambda *_: [SQUARE["h"]],
    "VerticalFlip": lambda *_: [SQUARE["v"]],
    "Transpose": lambda *_: [SQUARE["t"]],
    "D4": _square,
    "SquareSymmetry": _square,
    "RandomResizedCrop": _crop,
    "Crop": _cut,
    "RandomCrop": _cut,
    "CenterCrop": _cut,
    "RandomSizedCrop": _crop,
    "Resize": _resize,
    "GaussianBlur": _filter,
    "MotionBlur": _filter,
    "RandomBrightnessContrast": _table,
    "RandomGamma": _table,
    "InvertImg": _table,
    "HueSaturationValue": _hue,
    "GaussNoise": _noise,
    "CoarseDropout": _holes,
    "Affine": _warp,
}
