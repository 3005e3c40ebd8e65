"""Each operation against Albumentations' own transform on the same parameters, and crops against what they replace."""

from itertools import product
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.augment.images.draws import QUARTERS, SQUARE, draw_of
from toolchain.augment.images.library import build, load, parameters
from toolchain.augment.images.operations import (
    Cut,
    Filter,
    Noise,
    Operation,
    Place,
    Scale,
    Table,
    Turn,
    crop_first,
    shape_after,
)
from toolchain.augment.images.policy import Step

PICTURE = np.random.default_rng(0).integers(0, 256, (37, 52, 3), np.uint8)
SMOOTH = np.stack([np.add.outer(np.arange(37) * 3, np.arange(52) * 2) % 256] * 3, axis=-1).astype(np.uint8)
TURNS = [Turn(*flags) for flags in product([False, True], repeat=3)]


def done(operations: list[Operation], picture: np.ndarray) -> np.ndarray:
    for operation in operations:
        picture = operation.pixels(picture)
    return picture


def both(name: str, seed: int, picture: np.ndarray = PICTURE, **arguments: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return what the operation and what Albumentations' transform make of ``picture`` with the same parameters."""
    transform = build(Step(name, arguments))
    draw = draw_of(transform)
    assert draw
    ours = done(draw(transform, picture.shape[:2], None, Random(seed)), picture)
    theirs = transform.apply(picture, **parameters(transform, picture.shape, Random(seed)))
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
def test_equals_albumentations_to_the_last_bit_on_the_same_parameters(name: str, arguments: dict[str, Any]):
    for seed in range(25):
        ours, theirs = both(name, seed, **arguments)
        assert np.array_equal(ours, theirs), seed


@pytest.mark.parametrize(("name", "arguments"), EXACT)
def test_equals_it_on_gray_pictures_too(name: str, arguments: dict[str, Any]):
    gray = np.ascontiguousarray(PICTURE[:, :, 0])
    if isinstance(arguments.get("fill"), list):
        arguments = arguments | {"fill": 5}
    for seed in range(10):
        ours, theirs = both(name, seed, gray, **arguments)
        tolerance = 1 if name == "HueSaturationValue" else 0  # it goes by way of colours there
        assert np.abs(ours.astype(int) - np.asarray(theirs).reshape(ours.shape).astype(int)).max() <= tolerance


def test_noise_is_distributed_as_albumentations_makes_it():
    """Means of 100 draws of 200 x 200 pixels: they scatter by 0.1 / sqrt(pixels), 0.01 is ten times that."""
    picture = np.full((200, 200, 3), 100, np.uint8)
    transform = build(Step("GaussNoise", {"std_range": [0.05, 0.05], "mean_range": [0.01, 0.01]}))
    draw = draw_of(transform)
    assert draw
    ours = np.stack([done(draw(transform, (200, 200), None, Random(n)), picture) for n in range(20)]).astype(float)
    theirs = np.stack([transform(image=picture, force_apply=True)["image"] for _ in range(20)]).astype(float)
    assert abs(ours.mean() - theirs.mean()) < 0.05
    assert abs(ours.std() - theirs.std()) < 0.05
    values = np.arange(50, 150)
    shares = [np.searchsorted(np.sort(made.ravel()), values) / made.size for made in (ours, theirs)]
    assert np.abs(shares[0] - shares[1]).max() < 1.63 * np.sqrt(2 / ours.size)  # Kolmogorov-Smirnov, alpha 0.01


def test_noise_is_cut_off_at_black_and_white_and_depends_on_its_seed():
    black = np.zeros((50, 50, 3), np.uint8)
    one, again, other = (Noise(0.0, 20.0, True, seed).pixels(black) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert 0.45 < (one == 0).mean() < 0.6
    shared = Noise(0.0, 20.0, False, 1).pixels(black)
    assert np.array_equal(shared[:, :, 0], shared[:, :, 2])


def test_quarters_turn_counter_clockwise():
    for number, turn in enumerate(QUARTERS):
        assert np.array_equal(turn.pixels(PICTURE), np.rot90(PICTURE, number))


@pytest.mark.parametrize("first", TURNS)
@pytest.mark.parametrize("second", TURNS)
def test_turns_are_a_group(first: Turn, second: Turn):
    assert np.array_equal(first.then(second).pixels(PICTURE), second.pixels(first.pixels(PICTURE)))
    assert first.then(first.back()) == Turn() == first.back().then(first)
    assert np.array_equal(first.back().pixels(first.pixels(PICTURE)), PICTURE)


@pytest.mark.parametrize("operation", [*SQUARE.values(), Cut((3, 5, 40, 30)), Place(4, 6, 60, 80)])
def test_positions_move_with_their_pixels(operation: Turn | Cut | Place):
    """A pixel spans its column to the next: the box of one pixel must find it again."""
    marked = np.zeros((37, 52), np.uint8)
    marked[8, 11] = 255
    moved = operation.pixels(marked)
    ((row, column),) = np.argwhere(moved)
    points = operation.matrix((37, 52)) @ np.array([[11, 12], [8, 9], [1, 1]])
    assert sorted(points[0]) == [column, column + 1]
    assert sorted(points[1]) == [row, row + 1]
    assert moved.shape == operation.shape((37, 52))


kernels = st.integers(0, 2**16).map(lambda seed: Filter(_kernel(seed)))
tables = st.integers(0, 2**16).map(lambda seed: Table(np.random.default_rng(seed).permutation(256).astype(np.uint8)))
early = st.lists(st.one_of(st.sampled_from(TURNS), kernels, tables), max_size=5)


def _kernel(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    kernel = random.random((random.choice([3, 5, 7]),) * 2).astype(np.float32)
    return kernel / kernel.sum()


@settings(max_examples=150)
@given(early, st.data())
def test_cropping_first_leaves_the_same_picture(before: list[Operation], data: st.DataObject):
    height, width = shape_after(before, (37, 52))
    left, top = data.draw(st.integers(0, width - 2)), data.draw(st.integers(0, height - 2))
    right, bottom = data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height))
    operations = [*before, Cut((left, top, right, bottom)), Turn(True)]
    sooner = crop_first(operations, (37, 52))
    assert shape_after(sooner, (37, 52)) == shape_after(operations, (37, 52))
    difference = done(sooner, SMOOTH).astype(int) - done(operations, SMOOTH).astype(int)
    # a filter may round one unit otherwise once its kernel is turned; a table after it makes of one unit anything
    allowed = 0 if not any(isinstance(operation, Filter) for operation in before) else 1
    if not any(isinstance(operation, Table) for operation in before):
        assert np.abs(difference).max() <= allowed
    else:
        assert (difference != 0).mean() <= (0.0 if not allowed else 0.05)


def test_a_scale_after_the_crop_is_done_before_the_turn():
    operations: list[Operation] = [Turn(True, True, False), Cut((3, 5, 30, 45)), Scale(20, 16, 1, 0)]
    sooner = crop_first(operations, (37, 52))
    assert [type(operation).__name__ for operation in sooner] == ["Cut", "Scale", "Turn"]
    difference = np.abs(done(sooner, SMOOTH).astype(int) - done(operations, SMOOTH).astype(int))
    assert difference.max() <= 1


def test_albumentations_is_loaded_without_pytorch_and_without_asking_an_index():
    library = load()
    assert library.__version__ == "2.0.8"
    assert not hasattr(library, "ToTensorV2")
