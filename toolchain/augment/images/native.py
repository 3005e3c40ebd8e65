"""Sample OpenCV operations for Albumentations transforms; parameters are drawn by Albumentations' own code."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from toolchain.augment.images.library import add_constant, sample_parameters
from toolchain.augment.images.operations import (
    AffineWarp,
    Crop,
    Cutout,
    Filter,
    GaussianNoise,
    HueShift,
    LookupTable,
    Operation,
    Resize,
    Shape,
    Symmetry,
)

Sampler = Callable[[Any, Shape, Shape | None, Random], list[Operation]]  # transform, image shape, output shape, rng
QUARTER_TURNS = (  # counter-clockwise
    Symmetry(),
    Symmetry(True, True, False),
    Symmetry(False, True, True),
    Symmetry(True, False, True),
)
SYMMETRIES = {  # by Albumentations' names of the group's elements
    "e": QUARTER_TURNS[0],
    "r90": QUARTER_TURNS[1],
    "r180": QUARTER_TURNS[2],
    "r270": QUARTER_TURNS[3],
    "v": Symmetry(flipped_vertically=True),
    "hvt": Symmetry(True, True, True),
    "h": Symmetry(flipped_horizontally=True),
    "t": Symmetry(True),
}
ALL_VALUES = np.arange(256, dtype=np.uint8)[None, :]  # an image of every value: a transform of it is a lookup table


def find_sampler(transform: Any) -> Sampler | None:
    """Return the function that samples operations for ``transform``; None if Albumentations must apply it."""
    name = type(transform).__name__
    if name == "RandomBrightnessContrast" and not transform.brightness_by_max:
        return None  # its parameters depend on the image's content
    if name == "GaussNoise" and transform.noise_scale_factor != 1:
        return None
    if name == "CoarseDropout" and (isinstance(transform.fill, str) or transform.fill_mask is not None):
        return None
    if name in ("Crop", "RandomCrop", "CenterCrop") and transform.pad_if_needed:
        return None
    if name == "Affine" and transform.rotate_method != "largest_box":
        return None
    return _SAMPLERS.get(name)


def _quarter_turn(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    return [QUARTER_TURNS[sample_parameters(transform, shape, rng)["factor"]]]


def _symmetry(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    return [SYMMETRIES[sample_parameters(transform, shape, rng)["group_element"]]]


def _resized_crop(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    left, top, right, bottom = sample_parameters(transform, shape, rng)["crop_coords"]
    height, width = size or transform.size
    crop = Crop((left, top, right, bottom))
    # the same choice as transform._get_interpolation_for_resize, which only knows the transform's own size
    shrinks = bottom - top > height or right - left > width
    area = 3  # cv2.INTER_AREA
    image_interpolation = area if shrinks and transform.area_for_downscale else transform.interpolation
    mask_interpolation = area if transform.area_for_downscale == "image_mask" else transform.mask_interpolation
    return [crop, Resize(height, width, image_interpolation, mask_interpolation)]


def _crop(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    left, top, right, bottom = sample_parameters(transform, shape, rng)["crop_coords"]
    return [Crop((left, top, right, bottom))]


def _resize(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    return [Resize(transform.height, transform.width, transform.interpolation, transform.mask_interpolation)]


def _filter(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    return [Filter(sample_parameters(transform, shape, rng)["kernel"])]


def _lookup_table(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    return [LookupTable(transform.apply(ALL_VALUES, **sample_parameters(transform, shape, rng))[0])]


def _hue_shift(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    sampled = sample_parameters(transform, shape, rng)
    hue = np.mod(ALL_VALUES.astype(np.int16) + sampled["hue_shift"], 180).astype(np.uint8)[0]
    saturation = add_constant(ALL_VALUES, sampled["sat_shift"])[0]
    value = add_constant(ALL_VALUES, sampled["val_shift"])[0]
    saturation[0] = 0  # gray stays gray
    return [HueShift(np.stack([hue, saturation, value], axis=-1)[None], value)]


def _noise(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    deviation, mean = rng.uniform(*transform.std_range), rng.uniform(*transform.mean_range)
    return [GaussianNoise(255 * mean, 255 * deviation, transform.per_channel, rng.getrandbits(31))]


def _cutout(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    boxes = tuple(tuple(box) for box in sample_parameters(transform, shape, rng)["holes"].tolist())
    return [Cutout(boxes, transform.fill)]


def _affine_warp(transform: Any, shape: Shape, size: Shape | None, rng: Random) -> list[Operation]:
    sampled = sample_parameters(transform, shape, rng)
    height, width = (round(float(side)) for side in sampled["output_shape"][:2])
    return [
        AffineWarp(
            center_matrix=sampled["matrix"][:2],
            edge_matrix=sampled["bbox_matrix"][:2],
            height=height,
            width=width,
            interpolation=transform.interpolation,
            mask_interpolation=transform.mask_interpolation,
            border=transform.border_mode,
            fill=transform.fill,
            fill_mask=transform.fill_mask,
        )
    ]


_SAMPLERS: dict[str, Sampler] = {
    "RandomRotate90": _quarter_turn,
    "HorizontalFlip": lambda *_: [SYMMETRIES["h"]],
    "VerticalFlip": lambda *_: [SYMMETRIES["v"]],
    "Transpose": lambda *_: [SYMMETRIES["t"]],
    "D4": _symmetry,
    "SquareSymmetry": _symmetry,
    "RandomResizedCrop": _resized_crop,
    "Crop": _crop,
    "RandomCrop": _crop,
    "CenterCrop": _crop,
    "RandomSizedCrop": _resized_crop,
    "Resize": _resize,
    "GaussianBlur": _filter,
    "MotionBlur": _filter,
    "RandomBrightnessContrast": _lookup_table,
    "RandomGamma": _lookup_table,
    "InvertImg": _lookup_table,
    "HueSaturationValue": _hue_shift,
    "GaussNoise": _noise,
    "CoarseDropout": _cutout,
    "Affine": _affine_warp,
}
