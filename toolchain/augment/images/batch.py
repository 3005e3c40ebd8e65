"""Make the copies of one batch of images; a copy depends on the policy, the seed and the batch alone."""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, LABEL, OBJECTS, ROW
from toolchain.artifacts.image import HEIGHT, METADATA, WIDTH
from toolchain.augment.images.engine import Copy, Engine
from toolchain.augment.images.files import ImageFile, encode, name_of_copy, open_file
from toolchain.augment.images.objects import BoxCounts, Object, read, to_rows, without_format_fields
from toolchain.augment.images.policy import text_of
from toolchain.augment.images.settings import Config
from toolchain.image_decoding import Pixels

MAX_ATTEMPTS = 5  # to make a copy that keeps at least one box, for an image with boxes


@dataclass
class Copies:
    """Copies of the images of one batch, and counts of their boxes."""

    rows: pa.RecordBatch  # with the columns of the batch
    sources: list[int] = field(default_factory=list)  # for each copy the index of its original in the batch
    numbers: list[int] = field(default_factory=list)  # for each copy its number among those of its original
    transforms: list[list[str]] = field(default_factory=list)  # for each copy the applied transforms
    box_counts: dict[str, Counter[str]] = field(default_factory=dict)  # by transform
    boxes: int = 0
    boxes_kept: int = 0
    retries: int = 0
    skipped: int = 0  # copies that lost all boxes in every attempt


def augment(batch: pa.RecordBatch, config: Config) -> Copies:
    """Return ``config.copies`` copies of each selected image of ``batch``, which has the columns of a dataset.

    Rotated boxes become polygons with upright boxes around them. A copy depends on the policy, the seed, the row's
    number and, for a mosaic, the other rows of the batch, but not on the process.

    Raises:
        ConfigError: the policy is not valid.
        DataError: an image is damaged, or a box lies outside its image.
    """
    return _Batch(batch, config).make_copies()


@lru_cache(maxsize=4)
def engine_of(config: Config) -> Engine:
    """Return the engine for the policy of ``config``."""
    return Engine(text_of(config.policy), config.size, config.min_visibility)


class _Batch:
    """A batch and its decoded images."""

    def __init__(self, batch: pa.RecordBatch, config: Config) -> None:
        self.batch, self.config, self.engine = batch, config, engine_of(config)
        self.rows = batch.column(ROW).to_pylist()
        self.has_objects = OBJECTS in batch.schema.names
        self.labels = batch.column(LABEL).to_pylist() if LABEL in batch.schema.names else []
        self.box_counts = BoxCounts()
        self._decoded: dict[int, tuple[Pixels, list[Object]]] = {}

    def make_copies(self) -> Copies:
        changes: list[dict[str, Any]] = []
        copies = Copies(self.batch)
        for index, row in enumerate(self.rows):
            if Random(f"{self.config.seed}/{row}").random() >= self.config.fraction:
                continue
            for number in range(self.config.copies):
                if copy := self._copy(index, number, copies):
                    changes.append(self._changed_values(index, number, copy))
                    copies.sources.append(index)
                    copies.numbers.append(number)
                    copies.transforms.append(copy.transforms)
        copies.rows, copies.box_counts = self._rows(copies.sources, changes), self.box_counts.counts
        return copies

    def _copy(self, index: int, number: int, copies: Copies) -> Copy | None:
        """Return a copy that keeps a box if the original has one; None when every attempt loses all boxes."""
        file, objects = self._file(index), self._objects(index)
        for attempt in range(MAX_ATTEMPTS):
            rng = Random(f"{self.config.seed}/{self.rows[index]}/{number}/{attempt}")
            copy = self.engine.copy(
                file, rng, objects, lambda rng, count: self._partners(index, rng, count), self.box_counts.count
            )
            copies.boxes += copy.boxes
            copies.boxes_kept += len(copy.objects)
            if copy.objects or not objects:
                return copy
            copies.retries += 1
        copies.skipped += 1
        return None

    def _name(self, index: int) -> str:
        path = self.batch.column(IMAGE)[index].as_py()["path"] or "no name"
        return f"the image of row {self.rows[index]} ({path})"

    def _file(self, index: int) -> ImageFile:
        data = self.batch.column(IMAGE)[index].as_py()["bytes"]
        return open_file(data or b"", self._name(index), apply_exif=not self.has_objects)

    def _objects(self, index: int) -> list[Object]:
        if not self.has_objects:
            return []
        rows = self.batch.column(OBJECTS)[index].as_py() or []
        return read(rows, self._file(index).shape, self._name(index))

    def _partners(self, index: int, rng: Random, count: int) -> list[tuple[Pixels, list[Object]]]:
        """Return ``count`` other images of the batch, of the same class if there are classes."""
        others = [other for other in range(len(self.rows)) if other != index]
        if self.labels:
            others = [other for other in others if self.labels[other] == self.labels[index]]
        chosen = rng.sample(others, min(count, len(others)))
        channels = self._file(index).channels
        return [self._decode(other, channels) for other in chosen]

    def _decode(self, index: int, channels: int) -> tuple[Pixels, list[Object]]:
        if index not in self._decoded:
            self._decoded[index] = (self._file(index).decode(), self._objects(index))
        pixels, objects = self._decoded[index]
        if channels == 3 and pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        elif channels == 1 and pixels.ndim == 3:
            pixels = pixels.mean(axis=2).astype(np.uint8)
        return pixels, objects

    def _changed_values(self, index: int, number: int, copy: Copy) -> dict[str, Any]:
        """Return the columns of ``copy`` that differ from its original's."""
        file = self._file(index)
        path = self.batch.column(IMAGE)[index].as_py()["path"]
        image = {"bytes": encode(copy.pixels, file.format), "path": name_of_copy(path, number, file.format)}
        height, width = copy.pixels.shape[:2]
        values = {IMAGE: image, WIDTH: width, HEIGHT: height, OBJECTS: to_rows(copy.objects)}
        if METADATA in self.batch.schema.names:  # a file format's id and size of the original do not apply to the copy
            values[METADATA] = without_format_fields(self.batch.column(METADATA)[index].as_py())
        return values

    def _rows(self, sources: list[int], changes: list[dict[str, Any]]) -> pa.RecordBatch:
        rows = self.batch.take(pa.array(sources, pa.int64()))
        for name in (IMAGE, WIDTH, HEIGHT, OBJECTS, METADATA):
            if name in rows.schema.names:
                position = rows.schema.get_field_index(name)
                values = pa.array([change[name] for change in changes], rows.schema.field(name).type)
                rows = rows.set_column(position, rows.schema.field(name), values)
        return rows
