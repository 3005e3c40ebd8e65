"""Images for PyTorch: a split decoded once, at one size, one byte per value.

Small splits are held in memory (60,000 images of 28 x 28 take 47 MB), larger ones in an unlinked scratch file, which
the system caches in free memory.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain import image_decoding
from toolchain.artifacts.dataset import IMAGE, LABEL, Dataset
from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.image import HEIGHT, WIDTH
from toolchain.errors import DataError
from toolchain.frameworks.length_batches import count_batches, even_batches
from toolchain.hardware import cpu
from toolchain.progress import Progress
from toolchain.services.storage import scratch

if TYPE_CHECKING:
    import torch

MAX_BYTES_IN_MEMORY = 2 * 1024**3  # of a split; a larger one goes to a file
ROWS_PER_READ = 64  # images whose files are in memory while they are decoded
DEFAULT_SIZE = 224  # pixels of each side for images of different sizes: the input size of most pretrained networks
GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "F")  # of Pillow


@dataclass(frozen=True)
class Shape:
    """The shape of every image."""

    height: int  # pixels
    width: int
    channels: int  # 1 (grey) or 3


@dataclass(frozen=True)
class Batch:
    """The images of one step."""

    positions: list[int]  # in the split
    images: "torch.Tensor"  # uint8 (rows, height, width, channels)
    labels: "torch.Tensor"  # int64 (rows,)


@dataclass(frozen=True)
class ImageDataset:
    """A split: its images and their classes."""

    images: NDArray[np.uint8]  # (rows, height, width, channels); mapped from a file when it is large
    labels: NDArray[np.int64]  # (rows,), positions in the dataset's label names

    def __len__(self) -> int:
        return len(self.labels)

    def order(self, seed: int) -> list[int]:
        """Return the positions of all rows in an order that depends on ``seed``."""
        return np.random.default_rng(seed).permutation(len(self)).tolist()  # type: ignore[no-any-return]  # NumPy's Any

    def batch(self, positions: Sequence[int], device: "torch.device") -> Batch:
        """Return the rows at ``positions``."""
        import torch

        chosen = list(positions)
        images, labels = torch.from_numpy(self.images[chosen]), torch.from_numpy(self.labels[chosen])
        return Batch(chosen, images.to(device), labels.to(device))

    def shuffled(self, batch_size: int, seed: int) -> list[list[int]]:
        """Return the positions of all rows in ``even_batches``, in an order that depends on ``seed``."""
        return even_batches(self.order(seed), batch_size)

    def count_batches(self, batch_size: int) -> int:
        """Return the number of batches."""
        return count_batches(len(self), batch_size)

    def batches(self, batch_size: int, seed: int | None, device: "torch.device") -> Iterator[Batch]:
        """Yield every row once, in the batches of ``shuffled``; without ``seed`` in stored order."""
        stored = range(len(self))
        for positions in even_batches(stored, batch_size) if seed is None else self.shuffled(batch_size, seed):
            yield self.batch(positions, device)


def find_shape(dataset: Dataset, split: str, height: int = 0, width: int = 0, channels: int = 0) -> Shape:
    """Return the shape that the images of ``split`` are resized to; a 0 is replaced by the images' own value.

    That is their size if it is the same for all, DEFAULT_SIZE otherwise; and 1 channel if all are grey, which is
    checked until the first coloured one.

    Raises:
        DataError: the split is empty or missing, or a file is not an image.
    """
    dataset.require(IMAGE, LABEL, WIDTH, HEIGHT)
    if not dataset.rows(split):
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    if not (height and width):
        found = _only_size(dataset, split) or (DEFAULT_SIZE, DEFAULT_SIZE)
        height, width = height or width or found[0], width or height or found[1]
    return Shape(height, width, channels or (1 if _all_grey(dataset, split) else 3))


def read_images(dataset: Dataset, split: str, shape: Shape) -> ImageDataset:
    """Return ``split`` at ``shape``: the centre of each image in the shape's proportions, then resized.

    Raises:
        DataError: the split is empty or missing, a file is not an image, or a row has no label from the dataset's set.
        StorageFullError: the disk is full.
    """
    dataset.require(IMAGE, LABEL)
    rows = dataset.rows(split)
    if not rows:
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    size = (rows, shape.height, shape.width, shape.channels)
    labels = np.empty(rows, np.int64)
    buffer = _InFile(size) if np.prod(size, dtype=np.int64) > MAX_BYTES_IN_MEMORY else _InMemory(size)
    with ThreadPoolExecutor(cpu.usable_cores()) as pool, Progress(f"read {split}", rows, "images") as progress:
        done = 0
        for batch in dataset.batches(split, [IMAGE, LABEL], ROWS_PER_READ):
            labels[done : done + len(batch)] = _labels(dataset, split, batch.column(LABEL))
            files = [_file(dataset, split, row) for row in batch.column(IMAGE).to_pylist()]
            buffer.append(list(pool.map(lambda file: _fit(file[0], file[1], shape), files)))
            done += len(batch)
            progress.advance(len(batch))
    return ImageDataset(buffer.array(), labels)


class _InMemory:
    def __init__(self, size: tuple[int, ...]) -> None:
        self._all, self._done = np.empty(size, np.uint8), 0

    def append(self, images: list[image_decoding.Pixels]) -> None:
        self._all[self._done : self._done + len(images)] = images
        self._done += len(images)

    def array(self) -> NDArray[np.uint8]:
        return self._all


class _InFile:
    """A file that is written and then mapped: a full disk raises an error, while a write to a map would crash."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self._size, self._folder = size, scratch()
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # it lives as long as the array

    def append(self, images: list[image_decoding.Pixels]) -> None:
        with disk_space_reported(self._folder):
            self._file.write(np.stack(images).tobytes())

    def array(self) -> NDArray[np.uint8]:
        with disk_space_reported(self._folder):
            self._file.flush()
        return np.memmap(self._file, np.uint8, "r", shape=self._size)


def _fit(name: str, data: bytes, shape: Shape) -> image_decoding.Pixels:
    pixels = image_decoding.decode(data, name, shape.channels)
    return image_decoding.resize(
        image_decoding.crop_middle(pixels, shape.height, shape.width), shape.height, shape.width
    )


def _file(dataset: Dataset, split: str, row: dict[str, Any] | None) -> tuple[str, bytes]:
    if row is None or row["bytes"] is None:
        raise DataError(f"{dataset.path}: {split} has rows without an image; import the images again")
    return row["path"] or f"an image of {dataset.path}", row["bytes"]


def _labels(dataset: Dataset, split: str, column: Any) -> NDArray[np.int64]:
    if column.null_count:
        raise DataError(f"{dataset.path}: {split} has rows without {LABEL}; label them, or leave them out")
    found: NDArray[np.int64] = column.to_numpy(zero_copy_only=False).astype(np.int64)
    outside = (found < 0) | (found >= len(dataset.labels))
    if outside.any():
        raise DataError(
            f"{dataset.path}: {split} has label {found[outside][0]}, but only {len(dataset.labels)} label names"
        )
    return found


def _only_size(dataset: Dataset, split: str) -> tuple[int, int] | None:
    """Return height and width of all images in ``split``, None when they differ."""
    found: set[tuple[int, int]] = set()
    for batch in dataset.batches(split, [HEIGHT, WIDTH]):
        found |= set(zip(batch.column(HEIGHT).to_pylist(), batch.column(WIDTH).to_pylist(), strict=True))
        if len(found) > 1:
            return None
    return found.pop()


def _all_grey(dataset: Dataset, split: str) -> bool:
    for batch in dataset.batches(split, [IMAGE], ROWS_PER_READ):
        for row in batch.column(IMAGE).to_pylist():
            name, data = _file(dataset, split, row)
            if image_decoding.inspect(data, name).mode not in GREY_MODES:
                return False
    return True
