"""Training images of a detector: decoded once, at its size, in a scratch file that the system caches."""

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
from toolchain.metrics.detections import AnnotatedImage, annotated_image, stretch
from toolchain.progress import Progress
from toolchain.services.storage import scratch

if TYPE_CHECKING:
    import torch

    from toolchain.frameworks.torch.detector.parts import Target

ROWS_PER_READ = 64  # images whose files are in memory while they are decoded


@dataclass(frozen=True)
class DetectionImages:
    """A split: its images and their annotations."""

    pixels: NDArray[np.uint8]  # (images, size, size, 3), mapped from a file
    annotations: list[AnnotatedImage]

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def size(self) -> int:
        return int(self.pixels.shape[1])

    def image(self, position: int, device: "torch.device") -> "torch.Tensor":
        """Return one image, uint8 (1, size, size, 3)."""
        import torch

        return torch.from_numpy(self.pixels[position][None].copy()).to(device)

    def batch(
        self, positions: Sequence[int], flipped: Sequence[bool], device: "torch.device"
    ) -> "tuple[torch.Tensor, list[Target]]":
        """Return images, uint8 (batch, size, size, 3), and their objects, flipped left to right where ``flipped``."""
        import torch

        pairs = list(zip(positions, flipped, strict=True))
        images = np.stack(
            [self.pixels[position][:, ::-1] if flip else self.pixels[position] for position, flip in pairs]
        )
        return torch.from_numpy(images).to(device), [self._target(position, flip, device) for position, flip in pairs]

    def _target(self, position: int, flip: bool, device: "torch.device") -> "Target":
        """Return the objects of one image, difficult ones included; a crowd has no single box to learn."""
        import torch

        annotated = self.annotations[position]
        learned = ~annotated.objects.crowd
        boxes = stretch(annotated.objects.boxes[learned], (annotated.width, annotated.height), (self.size, self.size))
        if flip:
            boxes = np.stack([self.size - boxes[:, 2], boxes[:, 1], self.size - boxes[:, 0], boxes[:, 3]], axis=1)
        labels = torch.from_numpy(annotated.objects.labels[learned])
        return {"boxes": torch.from_numpy(boxes).float().to(device), "labels": labels.to(device)}


def read_images(dataset: Dataset, split: str, size: int) -> DetectionImages:
    """Return ``split`` with each image resized to ``size`` x ``size`` pixels.

    Raises:
        DataError: the split is empty or missing, a file is not an image or has another size than its row states, or an
            object has a label beyond the list or no area.
        StorageFullError: the disk is full.
    """
    columns = [ROW, IMAGE, WIDTH, HEIGHT, OBJECTS]
    dataset.require(*columns)
    if not (rows := dataset.rows(split)):
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    found: list[AnnotatedImage] = []
    file, folder = tempfile.TemporaryFile(dir=scratch()), scratch()  # noqa: SIM115  # it lives as long as the map
    with Progress(f"read {split}", rows, "images") as progress, disk_space_reported(folder):
        for batch in dataset.batches(split, columns, ROWS_PER_READ):
            for row in batch.to_pylist():
                where = f"{dataset.path}: row {row[ROW]} of {split}"
                found.append(annotated_image(row, len(dataset.labels), where))
                file.write(_pixels(row, where, size).tobytes())
            progress.advance(batch.num_rows)
        file.flush()
    return DetectionImages(np.memmap(file, np.uint8, "r", shape=(rows, size, size, 3)), found)


def _pixels(row: dict[str, Any], where: str, size: int) -> files.Pixels:
    if row[IMAGE] is None or row[IMAGE]["bytes"] is None:
        raise DataError(f"{where} has no image; import the images again")
    name, stated = row[IMAGE]["path"] or where, (row[HEIGHT], row[WIDTH])
    pixels = files.decode(row[IMAGE]["bytes"], name, upright=False)  # boxes refer to the image as it is stored
    if pixels.shape[:2] != stated:
        real = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise DataError(f"{name} has {real} pixels, but {stated[1]} x {stated[0]} in the dataset; import it again")
    return files.resize(pixels, size, size)
