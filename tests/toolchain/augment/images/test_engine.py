"""Copies as a whole: distributed as the plain policy's results, and decoded from no more of a file than they need."""

import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from scipy.stats import ks_2samp

from toolchain import pictures
from toolchain.augment.images.engine import Engine, Group
from toolchain.augment.images.files import open_file
from toolchain.augment.images.library import load
from toolchain.augment.images.presets import PRESETS
from toolchain.errors import DataError

PHOTOGRAPH = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
DRAWS = 400
ALPHA = 1e-4  # of each test: 64 of them raise a false alarm once in 150 seeds, and the seeds are fixed
STATISTICS = {
    "mean": np.mean,
    "deviation": np.std,
    "red over blue": lambda copy: float(copy[:, :, 0].mean()) / (1 + float(copy[:, :, 2].mean())),
    "upper over lower": lambda copy: float(copy[:24].mean()) / (1 + float(copy[24:].mean())),
    "left over right": lambda copy: float(copy[:, :24].mean()) / (1 + float(copy[:, 24:].mean())),
    "roughness": lambda copy: float(np.abs(np.diff(copy.astype(int), axis=0)).mean()),
    "black": lambda copy: float((copy == 0).mean()),
    "corner": lambda copy: float(copy[:8, :8].mean()),
}
SIZE = 48


def photograph() -> np.ndarray:
    return np.ascontiguousarray(pictures.decode(PHOTOGRAPH.read_bytes(), "china")[::3, ::3])


def plain(engine: Engine, seed: int) -> Any:
    """Return the policy of ``engine`` as a user of Albumentations writes it."""
    library = load()

    def one(ready: Any) -> Any:
        if ready.free:
            ready.transform.size = (SIZE, SIZE)
        return ready.transform

    steps = [
        library.OneOf([one(ready) for ready in step.members], p=step.p) if isinstance(step, Group) else one(step)
        for step in engine.steps
    ]
    return library.Compose(steps, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light", "medium", "upright", "strong"])
def test_copies_are_distributed_as_the_plain_policys_results(name: str):
    """Two-sample Kolmogorov-Smirnov tests of what many copies look like; mosaics need partners and are left out."""
    text = "\n".join(line for line in PRESETS[name].splitlines() if "Mosaic" not in line)
    engine, picture, compose = Engine(text, SIZE), photograph(), plain(Engine(text, SIZE), 1)
    ours = [engine.copy(picture, Random(f"{name}/{number}")).pixels for number in range(DRAWS)]
    theirs = [compose(image=picture)["image"] for _ in range(DRAWS)]
    assert {copy.shape for copy in ours} == {copy.shape for copy in theirs} == {(SIZE, SIZE, 3)}
    for statistic, measure in STATISTICS.items():
        found = ks_2samp([measure(copy) for copy in ours], [measure(copy) for copy in theirs])
        assert found.pvalue > ALPHA, statistic


@pytest.mark.slow
def test_the_test_of_distributions_sees_a_difference():
    """The same test with a policy that is stronger in one transform, which it must tell apart."""
    picture = photograph()
    weak, strong = (Engine(f"- RandomBrightnessContrast: {{brightness_limit: {limit}, p: 1}}") for limit in (0.2, 0.35))
    means = [[float(e.copy(picture, Random(n)).pixels.mean()) for n in range(DRAWS)] for e in (weak, strong)]
    assert ks_2samp(*means).pvalue < ALPHA


def test_one_of_a_group_is_taken_in_proportion():
    engine = Engine("- OneOf: {p: 0.8, transforms: [HorizontalFlip: {p: 0.75}, VerticalFlip: {p: 0.25}]}")
    small = np.zeros((4, 4, 3), np.uint8)
    taken = [tuple(engine.copy(small, Random(number)).transforms) for number in range(2000)]
    shares = [taken.count(names) / 2000 for names in ((), ("HorizontalFlip",), ("VerticalFlip",))]
    assert np.allclose(shares, [0.2, 0.6, 0.2], atol=0.04)


def test_the_same_chance_makes_the_same_copy_by_transforms_of_albumentations_too():
    engine = Engine("[ElasticTransform: {p: 1}, GridDropout: {p: 1}, ISONoise: {p: 1}]")
    picture = photograph()
    one, again, other = (engine.copy(picture, Random(seed)).pixels for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_gray_pictures_stay_gray():
    gray = np.ascontiguousarray(photograph()[:, :, 0])
    for name, text in PRESETS.items():
        assert Engine(text, 32).copy(gray, Random(name)).pixels.shape == (32, 32)


def test_a_transform_that_does_not_suit_a_picture_is_named():
    with pytest.raises(DataError, match=r"RandomCrop fails on a picture of 4 x 4: Crop size"):
        Engine("- RandomCrop: {height: 8, width: 8, p: 1}").copy(np.zeros((4, 4, 3), np.uint8), Random(0))


def test_a_jpeg_is_decoded_as_elsewhere():
    data = PHOTOGRAPH.read_bytes()
    file = open_file(data, "china", upright=True)
    assert file.shape == (427, 640)
    assert np.array_equal(file.pixels(), pictures.decode(data, "china"))
    smaller = io.BytesIO()
    Image.open(PHOTOGRAPH).save(smaller, "JPEG", quality=90)  # colours at half the size, as usual
    difference = open_file(smaller.getvalue(), "china", True).pixels() - pictures.decode(
        smaller.getvalue(), "c"
    ).astype(int)
    assert np.abs(difference).mean() < 1
    assert abs(difference.mean()) < 0.02


def test_a_large_jpeg_is_decoded_smaller_and_its_crop_stays_where_it_was():
    file = open_file(PHOTOGRAPH.read_bytes(), "china", upright=True)
    whole = file.pixels()
    for size, eighths in ((210, 8), (200, 4), (90, 2), (45, 1)):
        pixels, (left, top, right, bottom) = file.smaller((20, 20, 420, 420), size, size)
        assert abs(pixels.shape[0] - 427 * eighths / 8) < 1
        box = np.array([left, top, right, bottom]) * 8 / eighths
        assert np.abs(box - [20, 20, 420, 420]).max() <= 4 / eighths
        snapped = whole[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
        here, there = (
            np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BOX), float)
            for part in (pixels[top:bottom, left:right], snapped)
        )
        assert np.abs(here - there).mean() < 7


def test_a_picture_with_an_exif_rotation_is_turned_upright_for_classes_alone():
    stored = Image.fromarray(photograph()[:20, :50])
    exif = Image.Exif()
    exif[pictures.ORIENTATION] = 6
    target = io.BytesIO()
    stored.save(target, "JPEG", exif=exif)
    assert open_file(target.getvalue(), "it", upright=True).pixels().shape == (50, 20, 3)
    assert open_file(target.getvalue(), "it", upright=True).shape == (50, 20)
    assert open_file(target.getvalue(), "it", upright=False).pixels().shape == (20, 50, 3)
