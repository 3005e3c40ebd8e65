"""The distribution of copies equals plain Albumentations', and files are decoded at the resolution they need."""

import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from scipy.stats import ks_2samp

from toolchain import image_decoding
from toolchain.augment.images.catalog import load
from toolchain.augment.images.engine import Engine, Group
from toolchain.augment.images.files import open_file
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
    return np.ascontiguousarray(image_decoding.decode(PHOTOGRAPH.read_bytes(), "china")[::3, ::3])


def plain(engine: Engine, seed: int) -> Any:
    """Return the policy of ``engine`` as a plain Albumentations pipeline."""
    library = load()

    def one(prepared: Any) -> Any:
        if prepared.has_free_size:
            prepared.transform.size = (SIZE, SIZE)
        return prepared.transform

    steps = [
        library.OneOf([one(prepared) for prepared in step.members], p=step.p) if isinstance(step, Group) else one(step)
        for step in engine.steps
    ]
    return library.Compose(steps, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["light", "medium", "upright", "strong"])
def test_copies_have_the_distribution_of_plain_albumentations(name: str):
    """Two-sample Kolmogorov-Smirnov tests of image statistics; without mosaics, which need partners."""
    text = "\n".join(line for line in PRESETS[name].splitlines() if "Mosaic" not in line)
    engine, image, compose = Engine(text, SIZE), photograph(), plain(Engine(text, SIZE), 1)
    ours = [engine.copy(image, Random(f"{name}/{number}")).pixels for number in range(DRAWS)]
    theirs = [compose(image=image)["image"] for _ in range(DRAWS)]
    assert {copy.shape for copy in ours} == {copy.shape for copy in theirs} == {(SIZE, SIZE, 3)}
    for statistic, measure in STATISTICS.items():
        found = ks_2samp([measure(copy) for copy in ours], [measure(copy) for copy in theirs])
        assert found.pvalue > ALPHA, statistic


@pytest.mark.slow
def test_the_distribution_test_detects_a_difference():
    """The same test must distinguish a policy with one stronger transform."""
    image = photograph()
    weak, strong = (Engine(f"- RandomBrightnessContrast: {{brightness_limit: {limit}, p: 1}}") for limit in (0.2, 0.35))
    means = [[float(e.copy(image, Random(n)).pixels.mean()) for n in range(DRAWS)] for e in (weak, strong)]
    assert ks_2samp(*means).pvalue < ALPHA


def test_one_of_applies_transforms_in_proportion_to_p():
    engine = Engine("- OneOf: {p: 0.8, transforms: [HorizontalFlip: {p: 0.75}, VerticalFlip: {p: 0.25}]}")
    small = np.zeros((4, 4, 3), np.uint8)
    taken = [tuple(engine.copy(small, Random(number)).transforms) for number in range(2000)]
    shares = [taken.count(names) / 2000 for names in ((), ("HorizontalFlip",), ("VerticalFlip",))]
    assert np.allclose(shares, [0.2, 0.6, 0.2], atol=0.04)


def test_albumentations_transforms_are_reproducible():
    engine = Engine("[ElasticTransform: {p: 1}, GridDropout: {p: 1}, ISONoise: {p: 1}]")
    image = photograph()
    one, again, other = (engine.copy(image, Random(seed)).pixels for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_grayscale_images_stay_grayscale():
    gray = np.ascontiguousarray(photograph()[:, :, 0])
    for name, text in PRESETS.items():
        assert Engine(text, 32).copy(gray, Random(name)).pixels.shape == (32, 32)


def test_a_transform_that_fails_on_an_image_is_named():
    with pytest.raises(DataError, match=r"RandomCrop fails on an image of 4 x 4: Crop size"):
        Engine("- RandomCrop: {height: 8, width: 8, p: 1}").copy(np.zeros((4, 4, 3), np.uint8), Random(0))


def test_a_jpeg_is_decoded_as_pillow_decodes_it():
    data = PHOTOGRAPH.read_bytes()
    file = open_file(data, "china", apply_exif=True)
    assert file.shape == (427, 640)
    assert np.array_equal(file.decode(), image_decoding.decode(data, "china"))
    smaller = io.BytesIO()
    Image.open(PHOTOGRAPH).save(smaller, "JPEG", quality=90)  # with chroma subsampling, as usual
    difference = open_file(smaller.getvalue(), "china", True).decode() - image_decoding.decode(
        smaller.getvalue(), "c"
    ).astype(int)
    assert np.abs(difference).mean() < 1
    assert abs(difference.mean()) < 0.02


def test_a_large_jpeg_is_decoded_at_reduced_scale_with_the_same_crop():
    file = open_file(PHOTOGRAPH.read_bytes(), "china", apply_exif=True)
    whole = file.decode()
    for size, eighths in ((210, 8), (200, 4), (90, 2), (45, 1)):
        pixels, (left, top, right, bottom) = file.decode_reduced((20, 20, 420, 420), size, size)
        assert abs(pixels.shape[0] - 427 * eighths / 8) < 1
        box = np.array([left, top, right, bottom]) * 8 / eighths
        assert np.abs(box - [20, 20, 420, 420]).max() <= 4 / eighths
        snapped = whole[int(box[1]) : int(box[3]), int(box[0]) : int(box[2])]
        reduced, full = (
            np.asarray(Image.fromarray(part).resize((size, size), Image.Resampling.BOX), float)
            for part in (pixels[top:bottom, left:right], snapped)
        )
        assert np.abs(reduced - full).mean() < 7


def test_exif_orientation_is_applied_only_when_requested():
    stored = Image.fromarray(photograph()[:20, :50])
    exif = Image.Exif()
    exif[image_decoding.ORIENTATION] = 6
    target = io.BytesIO()
    stored.save(target, "JPEG", exif=exif)
    assert open_file(target.getvalue(), "it", apply_exif=True).decode().shape == (50, 20, 3)
    assert open_file(target.getvalue(), "it", apply_exif=True).shape == (50, 20)
    assert open_file(target.getvalue(), "it", apply_exif=False).decode().shape == (20, 50, 3)
