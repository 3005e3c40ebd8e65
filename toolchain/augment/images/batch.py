"""Copies of the pictures of one batch: a row's copies depend on the policy, the seed and the batch alone."""

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, LABEL, OBJECTS, ROW
from toolchain.artifacts.picture import HEIGHT, METADATA, WIDTH
from toolchain.augment.images.engine import Copy, Engine
from toolchain.augment.images.files import File, encoded, name_of_copy, open_file
from toolchain.augment.images.objects import Object, Retention, read, without_format, written
from toolchain.augment.images.policy import text_of
from toolchain.augment.images.settings import Config
from toolchain.pictures import Pixels

ATTEMPTS = 5  # at a copy of a picture with boxes until one of them is left in it


@dataclass
class Made:
    """Copies of the pictures of one batch, and what became of their boxes."""

    rows: pa.RecordBatch  # with the columns of the batch
    sources: list[int] = field(default_factory=list)  # for each copy the place of its original in the batch
    numbers: list[int] = field(default_factory=list)  # for each copy its number among those of its original
    transforms: list[list[str]] = field(default_factory=list)  # for each copy what was done
    fates: dict[str, Counter[str]] = field(default_factory=dict)  # by transform
    boxes: int = 0
    boxes_kept: int = 0
    redrawn: int = 0
    given_up: int = 0


def augment(batch: pa.RecordBatch, config: Config) -> Made:
    """Return ``config.copies`` copies of each chosen picture of ``batch``, which has the columns of a dataset.

    Rotated boxes become outlines with upright boxes around them. What is done to a picture depends on the policy, the
    seed, the row's number and, for a mosaic, the other rows of the batch; not on who does it. ``config.policy`` is
    YAML or a preset.

    Raises:
        ConfigError: the policy does not work.
        DataError: a picture is damaged, or a box lies outside its picture.
    """
    return _Batch(batch, config).made()


@lru_cache(maxsize=4)
def engine_of(config: Config) -> Engine:
    """Return the policy of ``config``, checked and ready."""
    return Engine(text_of(config.policy), config.size, config.minimum_visibility)


class _Batch:
    """One batch at work."""

    def __init__(self, batch: pa.RecordBatch, config: Config) -> None:
        self.batch, self.config, self.engine = batch, config, engine_of(config)
        self.rows = batch.column(ROW).to_pylist()
        self.marked = OBJECTS in batch.schema.names
        self.labels = batch.column(LABEL).to_pylist() if LABEL in batch.schema.names else []
        self.fates = Retention()
        self._opened: dict[int, tuple[Pixels, list[Object]]] = {}

    def made(self) -> Made:
        copies: list[dict[str, Any]] = []
        made = Made(self.batch)
        for place, row in enumerate(self.rows):
            if Random(f"{self.config.seed}/{row}").random() >= self.config.share:
                continue
            for number in range(self.config.copies):
                if copy := self._copy(place, number, made):
                    copies.append(self._row(place, number, copy))
                    made.sources.append(place)
                    made.numbers.append(number)
                    made.transforms.append(copy.transforms)
        made.rows, made.fates = self._written(made.sources, copies), self.fates.counts
        return made

    def _copy(self, place: int, number: int, made: Made) -> Copy | None:
        """Return a copy that shows a box if the original does; None when every attempt shows none."""
        file, objects = self._file(place), self._objects(place)
        for attempt in range(ATTEMPTS):
            chance = Random(f"{self.config.seed}/{self.rows[place]}/{number}/{attempt}")
            copy = self.engine.copy(
                file, chance, objects, lambda chance, n: self._partners(place, chance, n), self._count
            )
            made.boxes += copy.boxes
            made.boxes_kept += len(copy.objects)
            if copy.objects or not objects:
                return copy
            made.redrawn += 1
        made.given_up += 1
        return None

    def _count(self, transform: str, fate: str) -> None:
        self.fates.count(transform, fate)

    def _name(self, place: int) -> str:
        return f"the picture of row {self.rows[place]} ({self.batch.column(IMAGE)[place].as_py()['path'] or 'no name'})"

    def _file(self, place: int) -> File:
        data = self.batch.column(IMAGE)[place].as_py()["bytes"]
        return open_file(data or b"", self._name(place), upright=not self.marked)

    def _objects(self, place: int) -> list[Object]:
        if not self.marked:
            return []
        rows = self.batch.column(OBJECTS)[place].as_py() or []
        return read(rows, self._file(place).shape, self._name(place))

    def _partners(self, place: int, chance: Random, number: int) -> list[tuple[Pixels, list[Object]]]:
        """Return ``number`` other pictures of the batch, of the same class where there are classes."""
        others = [other for other in range(len(self.rows)) if other != place]
        if self.labels:
            others = [other for other in others if self.labels[other] == self.labels[place]]
        chosen = chance.sample(others, min(number, len(others)))
        channels = self._file(place).channels
        return [self._picture(other, channels) for other in chosen]

    def _picture(self, place: int, channels: int) -> tuple[Pixels, list[Object]]:
        if place not in self._opened:
            self._opened[place] = (self._file(place).pixels(), self._objects(place))
        pixels, objects = self._opened[place]
        if channels == 3 and pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        elif channels == 1 and pixels.ndim == 3:
            pixels = pixels.mean(axis=2).astype(np.uint8)
        return pixels, objects

    def _row(self, place: int, number: int, copy: Copy) -> dict[str, Any]:
        file = self._file(place)
        path = self.batch.column(IMAGE)[place].as_py()["path"]
        image = {"bytes": encoded(copy.pixels, file.kind), "path": name_of_copy(path, number, file.kind)}
        height, width = copy.pixels.shape[:2]
        made = {IMAGE: image, WIDTH: width, HEIGHT: height, OBJECTS: written(copy.objects)}
        if METADATA in self.batch.schema.names:  # a format's own fields (id, size) hold for the original only
            made[METADATA] = without_format(self.batch.column(METADATA)[place].as_py())
        return made

    def _written(self, sources: list[int], copies: list[dict[str, Any]]) -> pa.RecordBatch:
        rows = self.batch.take(pa.array(sources, pa.int64()))
        for name in (IMAGE, WIDTH, HEIGHT, OBJECTS, METADATA):
            if name in rows.schema.names:
                place = rows.schema.get_field_index(name)
                values = pa.array([copy[name] for copy in copies], rows.schema.field(name).type)
                rows = rows.set_column(place, rows.schema.field(name), values)
        return rows
