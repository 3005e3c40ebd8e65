"""Wrap Albumentations: find and validate its transforms, sample their random parameters, and apply them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.augment.images.catalog import ANY_SIZE, MOSAIC, check_arguments, find_class, load
from toolchain.augment.images.operations import Box, Shape
from toolchain.augment.images.policy import Step
from toolchain.errors import ConfigError, DataError
from toolchain.image_decoding import Pixels

_MIRRORS = {"HorizontalFlip", "VerticalFlip", "Transpose", "D4", "SquareSymmetry", "RandomRotate90"}
_ROTATIONS = {"Rotate": "limit", "SafeRotate": "limit", "Affine": "rotate", "ShiftScaleRotate": "rotate_limit"}
MAX_ROTATION_DEGREES = 30  # up to which every digit and letter keeps its label
_DECIMALS = 3  # of box coordinates, which Albumentations computes in 32 bits
_PIXEL_CENTER = 0.5  # distance from a pixel's edge: Albumentations' keypoints are measured at pixel centers
_PLACEHOLDER = np.zeros((1, 1, 3), np.uint8)  # parameters depend on an image's type and shape, not on its content


@dataclass(frozen=True)
class Transformed:
    """An image and its annotations after a transform of Albumentations."""

    pixels: Pixels
    boxes: dict[int, tuple[float, float, float, float]]  # by index in the input; dropped ones are absent
    polygons: list[NDArray[np.float64]]  # (points, 2), pixels; points may lie outside the image
    masks: list[Pixels]


def build(step: Step) -> Any:
    """Return the Albumentations transform for ``step``; crops of any size are built for 1 x 1.

    Raises:
        ConfigError: the transform is unknown or not supported, or an argument is unknown or not valid.
    """
    transform_class = find_class(step.name)
    arguments = {name: _tuples(value) for name, value in step.arguments.items()}
    check_arguments(step.name, transform_class, arguments)
    if step.name in ANY_SIZE:
        arguments.setdefault("size", (1, 1))
    if step.name == MOSAIC:
        arguments = {"target_size": (1, 1), "cell_shape": (1, 1)} | arguments
    if step.name == MOSAIC and arguments.get("fit_mode", "cover") != "cover":
        raise ConfigError(f"{MOSAIC} of the policy has fit_mode={arguments['fit_mode']!r}; only 'cover' is supported")
    if "InitSchema" in vars(transform_class):
        arguments["strict"] = True  # otherwise Albumentations only warns about an argument that is not valid
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about slow transforms and alternatives
            return transform_class(**arguments)
    except Exception as error:
        raise ConfigError(f"{step.name} of the policy is not valid: {_one_line(error)}") from error


def label_change(step: Step) -> str:
    """Return how ``step`` can change the label of a digit or letter, such as "mirrors"; "" if it cannot."""
    if step.name in _MIRRORS:
        return "rotates" if step.name == "RandomRotate90" else "mirrors"
    if step.name in _ROTATIONS:
        limits = getattr(build(step), _ROTATIONS[step.name])
        degrees = max(abs(limit) for limit in limits)
        if degrees > MAX_ROTATION_DEGREES:
            return f"rotates by {degrees:g} degrees, more than {MAX_ROTATION_DEGREES}"
    return ""


def changes_only_pixels(transform: Any) -> bool:
    """Return whether ``transform`` changes pixel values only, and moves nothing."""
    return isinstance(transform, load().ImageOnlyTransform)


def sample_parameters(transform: Any, shape: tuple[int, ...], rng: Random) -> dict[str, Any]:
    """Return random parameters of ``transform`` for an 8-bit image of ``shape``, as Albumentations samples them.

    Raises:
        DataError: the transform does not support images of this shape.
    """
    transform.set_random_state(_LazyGenerator(rng), rng)
    try:
        sampled: dict[str, Any] = transform.get_params()
        sampled["shape"] = shape
        sampled.update(transform.get_params_dependent_on_data(sampled, {"image": _PLACEHOLDER}))
    except Exception as error:
        raise _failure(transform, shape, error) from error
    return sampled


def add_constant(image: Pixels, shift: float) -> Pixels:
    """Return ``image`` with ``shift`` added as Albumentations does: rounded up above 0, truncated below."""
    load()
    from albumentations.augmentations.pixel import functional

    changed: Pixels = functional.add_constant(image, shift)
    return changed


def apply(
    transform: Any,
    seed: int,
    pixels: Pixels,
    boxes: Sequence[tuple[float, float, float, float]],
    polygons: Sequence[NDArray[np.float64]],
    masks: Sequence[Pixels],
) -> Transformed:
    """Apply ``transform``, seeded and with probability 1, to an image and its annotations.

    Raises:
        DataError: the transform does not support this image, or its result is not an 8-bit image of the same channels.
    """
    inputs, settings = _inputs(transform, pixels, boxes, polygons, masks)
    p, transform.p = transform.p, 1.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an image is grayscale, and similar
            result = load().Compose([transform], seed=seed, **settings)(**inputs)
    except Exception as error:
        raise _failure(transform, pixels.shape, error) from error
    finally:
        transform.p = p
    image = result["image"]
    if image.dtype != np.uint8 or image.ndim != pixels.ndim or image.shape[2:] != pixels.shape[2:]:
        raise DataError(
            f"{type(transform).__name__} changes an image of shape {pixels.shape} to {image.dtype} of shape "
            f"{image.shape}; remove it from the policy"
        )
    return Transformed(image, _boxes(result), _polygons(result, polygons), list(result.get("masks", ())))


def _inputs(
    transform: Any,
    pixels: Pixels,
    boxes: Sequence[tuple[float, float, float, float]],
    polygons: Sequence[NDArray[np.float64]],
    masks: Sequence[Pixels],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the inputs of Albumentations' Compose, and its settings."""
    inputs: dict[str, Any] = {"image": pixels}
    settings: dict[str, Any] = {}
    if not changes_only_pixels(transform):  # some crops require boxes, even if there are none
        inputs |= {"bboxes": np.array(boxes, np.float64).reshape(-1, 4), "numbers": list(range(len(boxes)))}
        settings["bbox_params"] = load().BboxParams("pascal_voc", label_fields=["numbers"], clip=True)
    if polygons:
        inputs["keypoints"] = np.concatenate(polygons) - _PIXEL_CENTER
        inputs["points"] = list(range(len(inputs["keypoints"])))
        settings["keypoint_params"] = load().KeypointParams("xy", label_fields=["points"], remove_invisible=False)
    if masks:
        inputs["masks"] = np.stack(masks)
    return inputs, settings


def mosaic_cells(transform: Any, size: Shape, rng: Random) -> list[tuple[int, Box, Box]]:
    """Return the cells of a mosaic of ``size``, sampled as Albumentations does.

    Each cell is the number of an image (0: the image itself, then its partners), the box of the cell in the mosaic, and
    the box to crop from the image after it was resized to cover ``size``.
    """
    load()
    from albumentations.augmentations.mixing import functional

    grid = transform.grid_yx
    center = functional.calculate_mosaic_center_point(grid, size, size, transform.center_range, rng)
    placements = functional.calculate_cell_placements(grid, size, size, center)
    numbers = functional.assign_items_to_grid_cells(len(placements), placements, rng)
    cells: list[tuple[int, Box, Box]] = []
    for cell, number in numbers.items():
        position = functional.get_cell_relative_position(cell, size)
        shape = cell[3] - cell[1], cell[2] - cell[0]
        cells.append((number, cell, functional.get_opposite_crop_coords(size, shape, position)))
    return cells


def _boxes(result: dict[str, Any]) -> dict[int, tuple[float, float, float, float]]:
    boxes = {}
    for number, box in zip(result.get("numbers", ()), result.get("bboxes", ()), strict=True):
        left, top, right, bottom = (round(float(edge), _DECIMALS) for edge in box[:4])
        boxes[int(number)] = (left, top, right, bottom)
    return boxes


def _polygons(result: dict[str, Any], before: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return the polygons in ``result``; a polygon whose points were all removed (by a cutout) is unchanged."""
    points = np.asarray(result.get("keypoints", ()), np.float64).reshape(-1, 2) + _PIXEL_CENTER
    numbers = np.asarray(result.get("points", ()), np.int64)
    found, first = list[NDArray[np.float64]](), 0
    for polygon in before:
        own = points[(numbers >= first) & (numbers < first + len(polygon))]
        found.append(own if len(own) else polygon)
        first += len(polygon)
    return found


def _failure(transform: Any, shape: tuple[int, ...], error: Exception) -> DataError:
    return DataError(f"{type(transform).__name__} fails on an image of {shape[1]} x {shape[0]}: {_one_line(error)}")


class _LazyGenerator:
    """NumPy's generator, created on first use: few transforms need it, and it costs as much as they do."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        generator = np.random.Generator(np.random.PCG64(self._rng.getrandbits(64)))
        self.__dict__ |= {method: getattr(generator, method) for method in ("integers", "uniform", "choice", "random")}
        return getattr(generator, name)


def _tuples(value: Any) -> Any:
    """Return YAML's lists as tuples, which Albumentations expects."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _one_line(error: Exception) -> str:
    """Return the message of ``error`` in one line; of pydantic's lines the argument and its problem."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) >= 3 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].partition(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__
