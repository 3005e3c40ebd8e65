from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toolchain.artifacts.dataset import open_dataset
from toolchain.errors import DataError
from toolchain.frameworks.torch import image_dataset
from toolchain.frameworks.torch.image_dataset import ImageDataset, Shape, find_shape, read_images

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 1) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_images_come_as_they_are_with_their_labels(make_images: Callable[..., Path]):
    images = [noise(8, 6, 3) for _ in range(70)]
    rows = open_dataset(make_images({"train": [(image, n % 2) for n, image in enumerate(images)]}))
    found = read_images(rows, "train", find_shape(rows, "train"))
    np.testing.assert_array_equal(found.images, np.stack(images))
    assert found.labels.tolist() == [n % 2 for n in range(70)]


def test_a_large_split_is_mapped_from_a_file_and_reads_the_same(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = open_dataset(make_images({"train": [(noise(8, 8), n % 2) for n in range(70)]}))
    held = read_images(rows, "train", Shape(8, 8, 1))
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path))
    monkeypatch.setattr(image_dataset, "MAX_BYTES_IN_MEMORY", 1000)
    mapped = read_images(rows, "train", Shape(8, 8, 1))
    assert isinstance(mapped.images, np.memmap)
    np.testing.assert_array_equal(mapped.images, held.images)
    assert mapped.batch([3, 1], CPU).images.shape == (2, 8, 8, 1)
    assert not list(tmp_path.iterdir()), "the file has no name that could be left behind"


def test_the_size_is_the_images_own_when_all_are_equal(make_images: Callable[..., Path]):
    equal = open_dataset(make_images({"train": [(noise(8, 6), 0), (noise(8, 6), 1)]}))
    mixed = open_dataset(make_images({"train": [(noise(8, 6), 0), (noise(9, 6, 3), 1)]}))
    assert find_shape(equal, "train") == Shape(8, 6, 1)
    assert find_shape(mixed, "train") == Shape(224, 224, 3)
    assert find_shape(mixed, "train", height=32, width=48, channels=1) == Shape(32, 48, 1)


def test_images_of_other_proportions_are_cut_to_their_middle(make_images: Callable[..., Path]):
    wide = np.zeros((4, 12, 1), np.uint8)
    wide[:, 4:8] = 200
    rows = open_dataset(make_images({"train": [(wide, 0)]}))
    assert (read_images(rows, "train", Shape(4, 4, 1)).images == 200).all()


@given(st.integers(2, 200), st.integers(3, 40), st.integers(0, 9))
def test_batches_hold_every_row_once_and_none_is_of_one_row_alone(count: int, rows: int, seed: int):
    split = ImageDataset(np.zeros((count, 1, 1, 1), np.uint8), np.zeros(count, np.int64))
    batches = [batch.positions for batch in split.batches(rows, seed, CPU)]
    assert sorted(position for batch in batches for position in batch) == list(range(count))
    assert all(2 <= len(batch) <= rows for batch in batches)


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([], "has no rows in its train split"),
        ([(np.zeros((4, 4, 1), np.uint8), None)], "rows without label"),
        ([(np.zeros((4, 4, 1), np.uint8), 7)], "has label 7, but only 2 label names"),
    ],
)
def test_a_split_that_cannot_be_learned_from_is_rejected(rows: list, complaint: str, make_images: Callable[..., Path]):
    dataset = open_dataset(make_images({"train": rows}))
    with pytest.raises(DataError, match=complaint):
        read_images(dataset, "train", Shape(4, 4, 1))
