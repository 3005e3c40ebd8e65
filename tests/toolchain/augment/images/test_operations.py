"""Compare each operation with the Albumentations transform on the same parameters."""

from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest

from toolchain.augment.images.library import build, sample_parameters
from toolchain.augment.images.native import QUARTER_TURNS, SYMMETRIES, find_sampler
from toolchain.augment.images.operations import (
    Crop,
    GaussianNoise,
    Operation,
    Paste,
    Symmetry,
)
from toolchain.augment.images.policy import Step

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 52, 3), np.uint8)
SMOOTH = np.stack([np.add.outer(np.arange(37) * 3, np.arange(52) * 2) % 256] * 3, axis=-1).astype(np.uint8)
ALL_SYMMETRIES = [Symmetry(*flags) for flags in product([False, True], repeat=3)]


def apply_all(operations: list[Operation], image: np.ndarray) -> np.ndarray:
    for operation in operations:
        image = operation.apply(image)
    return image


def both(name: str, seed: int, image: np.ndarray = IMAGE, **arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the results of our operation and of the Albumentations transform with the same parameters."""
    transform = build(Step(name, arguments))
    draw = find_sampler(transform)
    assert draw
    ours = apply_all(draw(transform, image.shape[:2], None, Random(seed)), image)
    theirs = transform.apply(image, **sample_parameters(transform, image.shape, Random(seed)))
    return ours, theirs


EXACT = [
    ("RandomRotate90", {}),
    ("HorizontalFlip", {}),
    ("VerticalFlip", {}),
    ("Transpose", {}),
    ("D4", {}),
    ("SquareSymmetry", {}),
    ("RandomResizedCrop", {"size": [24, 30]}),
    ("RandomResizedCrop", {"size": [24, 30], "area_for_downscale": "image"}),
    ("RandomSizedCrop", {"min_max_height": [10, 30], "size": [24, 30]}),
    ("Crop", {"x_min": 3, "y_min": 5, "x_max": 40, "y_max": 30}),
    ("RandomCrop", {"height": 20, "width": 30}),
    ("CenterCrop", {"height": 20, "width": 30}),
    ("Resize", {"height": 20, "width": 70}),
    ("GaussianBlur", {"sigma_limit": [0.2, 3.0]}),
    ("MotionBlur", {"blur_limit": [3, 11]}),
    ("RandomBrightnessContrast", {"brightness_limit": 0.4, "contrast_limit": 0.4}),
    ("RandomGamma", {"gamma_limit": [60, 150]}),
    ("InvertImg", {}),
    ("HueSaturationValue", {"hue_shift_limit": 60, "sat_shift_limit": 90, "val_shift_limit": 90}),
    ("CoarseDropout", {"num_holes_range": [1, 5], "fill": 7}),
    ("CoarseDropout", {"fill": [1, 2, 3], "hole_height_range": [3, 9], "hole_width_range": [3, 9]}),
    ("Affine", {"rotate": [-40, 40], "scale": [0.5, 1.5], "shear": [-20, 20], "translate_percent": 0.1, "fill": 9}),
    ("Affine", {"rotate": 30, "fit_output": True}),
]


@pytest.mark.parametrize(("name", "arguments"), EXACT)
def test_operations_equal_albumentations_bit_for_bit(name: str, arguments: dict[str, Any]):
    for seed in range(25):
        ours, theirs = both(name, seed, **arguments)
        assert np.array_equal(ours, theirs), seed


@pytest.mark.parametrize(("name", "arguments"), EXACT)
def test_operations_equal_albumentations_on_grayscale_images(name: str, arguments: dict[str, Any]):
    gray = np.ascontiguousarray(IMAGE[:, :, 0])
    if isinstance(arguments.get("fill"), list):
        arguments = arguments | {"fill": 5}
    for seed in range(10):
        ours, theirs = both(name, seed, gray, **arguments)
        tolerance = 1 if name == "HueSaturationValue" else 0  # Albumentations converts to color and back
        assert np.abs(ours.astype(int) - np.asarray(theirs).reshape(ours.shape).astype(int)).max() <= tolerance


def test_noise_has_the_distribution_of_albumentations():
    """Means of 20 samples of 200 x 200 pixels deviate far less than the tolerance."""
    image = np.full((200, 200, 3), 100, np.uint8)
    transform = build(Step("GaussNoise", {"std_range": [0.05, 0.05], "mean_range": [0.01, 0.01]}))
    draw = find_sampler(transform)
    assert draw
    ours = np.stack([apply_all(draw(transform, (200, 200), None, Random(n)), image) for n in range(20)]).astype(float)
    theirs = np.stack([transform(image=image, force_apply=True)["image"] for _ in range(20)]).astype(float)
    assert abs(ours.mean() - theirs.mean()) < 0.05
    assert abs(ours.std() - theirs.std()) < 0.05
    values = np.arange(50, 150)
    shares = [np.searchsorted(np.sort(made.ravel()), values) / made.size for made in (ours, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 1.63 * np.sqrt(2 / ours.size)  # Kolmogorov-Smirnov, alpha 0.01


def test_noise_is_clipped_and_depends_on_its_seed():
    black = np.zeros((50, 50, 3), np.uint8)
    one, again, other = (GaussianNoise(0.0, 20.0, True, seed).apply(black) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 0.45 < (one == 0).mean() < 0.6
    shared = GaussianNoise(0.0, 20.0, False, 1).apply(black)
    assert np.array_equal(shared[:, :, 0], shared[:, :, 2])


def test_quarter_turns_are_counter_clockwise():
    for number, symmetry in enumerate(QUARTER_TURNS):
        assert np.array_equal(symmetry.apply(IMAGE), np.rot90(IMAGE, number))


@pytest.mark.parametrize("first", ALL_SYMMETRIES)
@pytest.mark.parametrize("second", ALL_SYMMETRIES)
def test_symmetries_form_a_group(first: Symmetry, second: Symmetry):
    assert np.array_equal(first.then(second).apply(IMAGE), second.apply(first.apply(IMAGE)))
    assert first.then(first.inverse()) == Symmetry() == first.inverse().then(first)
    assert np.array_equal(first.inverse().apply(first.apply(IMAGE)), IMAGE)


@pytest.mark.parametrize("operation", [*SYMMETRIES.values(), Crop((3, 5, 40, 30)), Paste(4, 6, 60, 80)])
def test_coordinates_move_with_their_pixels(operation: Symmetry | Crop | Paste):
    """The transformed box of one pixel must be the box of the transformed pixel."""
    annotated = np.zeros((37, 52), np.uint8)
    annotated[8, 11] = 255
    moved = operation.apply(annotated)
    ((row, column),) = np.argwhere(moved)
    points = operation.matrix((37, 52)) @ np.array([[11, 12], [8, 9], [1, 1]])
    assert sorted(points[0]) == [column, column + 1]
    assert sorted(points[1]) == [row, row + 1]
    assert moved.shape == operation.output_shape((37, 52))
