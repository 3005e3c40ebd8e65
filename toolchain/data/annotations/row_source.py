"""The rows of a dataset of boxes: checked images or their tiles, with statistics and a report."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from toolchain.annotations import AnnotatedImage, Collection, Finding
from toolchain.annotations.checks import Tally
from toolchain.annotations.checks.checker import Checker
from toolchain.artifacts.dataset import UNSPLIT, DatasetWriter
from toolchain.data.annotations.settings import Config
from toolchain.data.annotations.statistics import Statistics
from toolchain.data.annotations.tiles import Tiler
from toolchain.progress import Progress, log_info
from toolchain.split_names import SPLITS

LEAKAGE = "the same image is in two splits"
LOST = "object is in no tile by tile_min_visibility of its area"
NO_OBJECT = "image or tile has no object"
DIGEST_BYTES = 16


@dataclass(frozen=True)
class Row:
    """An image or a tile of one."""

    split: str
    source_image: str
    image: AnnotatedImage
    data: bytes  # the image file


class RowSource:
    """Yields the rows of ``collection`` and counts what became of its images and objects."""

    def __init__(self, collection: Collection, checker: Checker, config: Config, counts: Counter[str]) -> None:
        """Create a source of rows; ``counts`` are the images of each split of the collection."""
        self.collection, self.checker, self.config = collection, checker, config
        self.total, self.splits = sum(counts.values()), _splits(counts, config.keep_splits)
        self.unsplit = counts[UNSPLIT] if self.splits[UNSPLIT] != UNSPLIT else 0
        self.is_merged = len(+counts) > 1 and set(self.splits.values()) == {UNSPLIT}
        self.tiler = Tiler(config.tile_size, config.tile_overlap, config.tile_min_visibility)
        self.statistics = Statistics()
        self.image_count = self.row_count = self.object_count = self.without_objects = 0
        self.first_uses: dict[bytes, tuple[str, str]] = {}  # split and name of each image, by its digest
        self.leakage = Tally()  # images in two splits

    def rows(self) -> Iterator[Row]:
        """Yield the rows."""
        with Progress("annotations", self.total, "images") as progress:
            for given in self.collection.images():
                self.image_count += 1
                progress.advance()
                checked = self.checker.check(given)
                if checked is None:
                    continue
                self._check_leakage(*checked)
                image = self.checker.check_annotations(checked[0])
                for tile, data in self.tiler.tiles_of(image, checked[1], self.config.max_pixels):
                    if tile.annotations or self.config.keep_empty:
                        yield self._row(tile, image, data)
                    else:
                        self.without_objects += 1

    def _check_leakage(self, image: AnnotatedImage, data: bytes) -> None:
        """Count an image that is in another split, too, under any name."""
        split, key = self.splits[image.split], hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
        first_split, name = self.first_uses.setdefault(key, (split, image.name))
        if first_split != split:
            self.leakage.add(f"{name} in {first_split} is {image.name} in {split}")

    def _row(self, tile: AnnotatedImage, image: AnnotatedImage, data: bytes) -> Row:
        split = self.splits[image.split]
        self.statistics.add(tile, split)
        self.row_count += 1
        self.object_count += len(tile.annotations)
        # A name is unique in its split only.
        name = f"{image.split}/{image.name}" if self.is_merged else image.name
        return Row(split, name, tile, data)

    def report(self, writer: DatasetWriter, labels: tuple[str, ...]) -> None:
        """Record the dropped images, and the note that the report shows."""
        for rule, dropped in self.checker.dropped_images.items():
            writer.drop(rule, dropped.count, dropped.examples)
        if not self.config.keep_empty:
            writer.drop(NO_OBJECT, self.without_objects)
        collection = self.collection
        note: dict[str, Any] = {
            "source": {
                "format": collection.format,
                "labels": list(collection.labels),
                "metadata": dict(collection.metadata),
            },
            "checks": self.checker.report(),
            "findings": [asdict(finding) for finding in (*collection.findings, *self._leakage_findings())],
            "statistics": self.statistics.note(labels),
        }
        if self.unsplit:
            note["unsplit"] = {"rule": "image without a split goes to train", "count": self.unsplit}
        if self.config.tile_size:
            note["tiles"] = self._tiles_note()
        writer.note(note)

    def _leakage_findings(self) -> Iterator[Finding]:
        if self.leakage.count:
            examples = tuple(self.leakage.examples)
            log_info(f"{LEAKAGE}: {self.leakage.count:,}, such as {examples[0]}; metrics on them are too optimistic")
            yield Finding(rule=LEAKAGE, count=self.leakage.count, examples=examples)

    def _tiles_note(self) -> dict[str, Any]:
        tiler = self.tiler
        return {
            "images": tiler.images,
            "tiles": tiler.tiles,
            "clipped": tiler.clipped,
            "left_out": tiler.left_out,
            "lost": {"rule": LOST, "count": tiler.lost.count, "examples": tiler.lost.examples},
        }

    def main_drop_reason(self) -> str:
        """Return the rule that dropped the most images, as text."""
        dropped = {rule: tally.count for rule, tally in self.checker.dropped_images.items()}
        dropped |= {NO_OBJECT: self.without_objects} if self.without_objects else {}
        rule, count = max(dropped.items(), key=lambda entry: entry[1], default=("the source has no image", 0))
        return f"{count:,} dropped because {rule!r}"


def _splits(counts: Counter[str], keep: bool) -> dict[str, str]:
    """Return the dataset's split for each split of the source.

    All are one split if there are no training images, from which data.split could take others. Images of no split
    beside others are training images.
    """
    if not keep or not (counts["train"] or (counts[UNSPLIT] and len(+counts) > 1)):
        return dict.fromkeys((UNSPLIT, *SPLITS), UNSPLIT)
    return {UNSPLIT: "train", **{name: name for name in SPLITS if counts[name]}}
