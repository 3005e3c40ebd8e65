"""Pictures as a detector learns from them: decoded once, at its size, in a scratch file that the system caches."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain import image_decoding as files
from toolchain.artifacts.dataset import IMAGE, OBJECTS, ROW, Dataset
from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.image import HEIGHT, WIDTH
from toolchain.errors import DataError
from toolchain.metrics.detections import Picture, picture_of, stretch
from toolchain.progress import Progress
from toolchain.services.storage import scratch

if TYPE_CHECKING:
    import torch

    from toolchain.frameworks.torch.detector.parts import Target

ROWS_AT_ONCE = 64  # pictures whose files are in memory while they are decoded


@dataclass(frozen=True)
class Pictures:
    """A split: its pixels, and what is in each picture."""

    pixels: NDArray[np.uint8]  # (pictures, size, size, 3), mapped from a file
    pictures: list[Picture]

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def size(self) -> int:
        return int(self.pixels.shape[1])

    def image(self, position: int, device: "torch.device") -> "torch.Tensor":
        """Return one picture, uint8 (1, size, size, 3)."""
        import torch

        return torch.from_numpy(self.pixels[position][None].copy()).to(device)

    def batch(
        self, positions: Sequence[int], mirrored: Sequence[bool], device: "torch.device"
    ) -> "tuple[torch.Tensor, list[Target]]":
        """Return pictures, uint8 (batch, size, size, 3), and what is in them, left and right swapped where mirrored."""
        import torch

        pairs = list(zip(positions, mirrored, strict=True))
        images = np.stack([self.pixels[place][:, ::-1] if swapped else self.pixels[place] for place, swapped in pairs])
        return torch.from_numpy(images).to(device), [self._target(place, swapped, device) for place, swapped in pairs]

    def _target(self, position: int, swapped: bool, device: "torch.device") -> "Target":
        """A crowd is nothing that can be learned, so it is left out; a difficult object is learned as any other."""
        import torch

        picture = self.pictures[position]
        learned = ~picture.objects.crowd
        boxes = stretch(picture.objects.boxes[learned], (picture.width, picture.height), (self.size, self.size))
        if swapped:
            boxes = np.stack([self.size - boxes[:, 2], boxes[:, 1], self.size - boxes[:, 0], boxes[:, 3]], axis=1)
        labels = torch.from_numpy(picture.objects.labels[learned])
        return {"boxes": torch.from_numpy(boxes).float().to(device), "labels": labels.to(device)}


def read_pictures(dataset: Dataset, split: str, size: int) -> Pictures:
    """Return ``split`` with each picture stretched to ``size`` x ``size`` pixels.

    Raises:
        DataError: the split is empty or missing, a file is no picture or of another size than its row says, or an
            object has a label beyond the list or no area.
        StorageFullError: the disk is full.
    """
    columns = [ROW, IMAGE, WIDTH, HEIGHT, OBJECTS]
    dataset.require(*columns)
    if not (rows := dataset.rows(split)):
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    found: list[Picture] = []
    file, place = tempfile.TemporaryFile(dir=scratch()), scratch()  # noqa: SIM115  # it lives as long as the map
    with Progress(f"read {split}", rows, "pictures") as progress, disk_space_reported(place):
        for batch in dataset.batches(split, columns, ROWS_AT_ONCE):
            for row in batch.to_pylist():
                where = f"{dataset.path}: row {row[ROW]} of {split}"
                found.append(picture_of(row, len(dataset.labels), where))
                file.write(_pixels(row, where, size).tobytes())
            progress.advance(batch.num_rows)
        file.flush()
    return Pictures(np.memmap(file, np.uint8, "r", shape=(rows, size, size, 3)), found)


def _pixels(row: dict[str, Any], where: str, size: int) -> files.Pixels:
    if row[IMAGE] is None or row[IMAGE]["bytes"] is None:
        raise DataError(f"{where} has no picture; read the pictures again")
    name, said = row[IMAGE]["path"] or where, (row[HEIGHT], row[WIDTH])
    pixels = files.decode(row[IMAGE]["bytes"], name, upright=False)  # boxes are those of the picture as it is stored
    if pixels.shape[:2] != said:
        real = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise DataError(f"{name} has {real} pixels, but its row says {said[1]} x {said[0]}; read it again")
    return files.squeeze(pixels, size, size)
