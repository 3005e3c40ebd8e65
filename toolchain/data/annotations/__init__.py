"""Annotations: take images and the objects marked in them, in any common format, into a dataset, checked."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from toolchain.annotations import AnnotatedImage, Collection, Finding, open_source
from toolchain.annotations.checks import Tally
from toolchain.annotations.checks.checker import Checker
from toolchain.annotations.rows import SCHEMA, to_row
from toolchain.annotations.types import KEYPOINTS, UNKNOWN_CLASS, summarize
from toolchain.artifacts.dataset import UNSPLIT, DatasetWriter, new_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.annotations.settings import Config
from toolchain.data.annotations.statistics import Statistics
from toolchain.data.annotations.tiles import Cutter
from toolchain.errors import DataError
from toolchain.progress import Progress, log_info
from toolchain.services.folders import Folder, fetch_folder
from toolchain.split_names import SPLITS

__all__ = ["Config", "Result", "read", "run"]

ROWS_AT_ONCE, BYTES_AT_ONCE = 64, 256 * 1024**2  # that are held before they are written
SHARED = "the same image is in two splits"
LOST = "object is in no tile by enough of its area"


@dataclass(frozen=True)
class Result:
    images: int  # read
    rows: int  # written: images, or their tiles
    objects: int  # in the rows
    labels: int


def run(dataset: Path, config: Config) -> Result:
    """Write the annotated images that ``config`` names to ``dataset``: in one split, "all", or in the source's own.

    A row is an image or a tile of one: ``image`` upright, ``objects`` in its pixels, ``metadata``, and
    ``source_image``, by which data.split keeps the tiles of an image together. Memory holds one image and 64 rows.

    Raises:
        ConfigError: the format is not known.
        DataError: the source is missing, is not the one whose digest was given, is damaged, or has what is to fail.
        ServiceError: the service that holds it is down or refuses.
    """
    config = config.with_sample_settings()
    work = Work("data.annotations", config)
    with tempfile.TemporaryDirectory(prefix="annotations-") as scratch:
        folder = fetch_folder(config.source, Path(scratch) / "source")
        _check_digest(folder, config)
        images_dir = fetch_folder(config.images, Path(scratch) / "images") if config.images else None
        work.source = {"uri": config.source, "sha256": folder.sha256, "version": folder.revision}
        work.source |= {"images": config.images, "images_sha256": images_dir.sha256} if images_dir else {}
        collection = read(folder.path, images_dir.path if images_dir else None, config)
        return _write(dataset, collection, config, work)


def read(folder: Path, images: Path | None, config: Config) -> Collection:
    """Return the annotated images in ``folder``, unchecked, one at a time."""
    return renamed(open_source(folder, config.format, images, config.origin, config.task), config.rename)


def renamed(collection: Collection, names: Mapping[str, str]) -> Collection:
    """Return ``collection`` with labels that have other ``names`` called by these; several may become one.

    Names of labels that are not there do nothing but are told of.
    """
    odd = sorted(set(names) - set(collection.labels))
    if odd:
        log_info(f"rename: the source has no label {', '.join(odd)}; it has {', '.join(collection.labels)}")
    if not names:
        return collection

    def images() -> Iterator[AnnotatedImage]:
        for image in collection.images():
            annotations = tuple(
                replace(annotation, label=names.get(annotation.label, annotation.label))
                for annotation in image.annotations
            )
            yield replace(image, annotations=annotations)

    labels = tuple(dict.fromkeys(names.get(label, label) for label in collection.labels))
    points = {names.get(label, label): value for label, value in (collection.metadata.get(KEYPOINTS) or {}).items()}
    metadata = {**collection.metadata, **({KEYPOINTS: points} if points else {})}
    return replace(collection, labels=labels, images=images, metadata=metadata)


def _write(dataset: Path, collection: Collection, config: Config, work: Work) -> Result:
    labels = tuple(config.labels) or tuple(name for name in collection.labels if not name.startswith(UNKNOWN_CLASS))
    if not labels:
        found_instead = summarize(collection.findings)
        raise DataError(f"{config.source} has no label at all{found_instead}; mark some objects, or give labels")
    found = Counter(image.split for image in collection.images())
    if not found:
        raise DataError(f"{config.source} has annotations but no image{summarize(collection.findings)}")
    checker = Checker(config.actions(), labels, config.max_pixels)
    checker.add_source(collection)
    made = _Made(collection, checker, config, found)
    with new_dataset(dataset, SCHEMA, work, labels) as writer:
        for split in sorted(set(made.splits.values())):
            writer.write(split, pa.Table.from_pylist([], SCHEMA))
        _write_rows(writer, made, {label: position for position, label in enumerate(labels)})
        checker.finish()
        made.tell(writer, labels)
        if not made.rows:
            raise DataError(f"no image of {config.source} is left: {made.dropped()}")
        work.metrics |= {"images": float(made.images), "objects": float(made.objects)}
    return Result(made.images, made.rows, made.objects, len(labels))


def _write_rows(writer: DatasetWriter, made: "_Made", positions: dict[str, int]) -> None:
    waiting: dict[str, list[dict[str, Any]]] = {}
    held = 0
    for number, (split, source, image, data) in enumerate(made.pieces()):
        waiting.setdefault(split, []).append(to_row(image, source, data, number, positions))
        held += len(data)
        if held > BYTES_AT_ONCE or sum(map(len, waiting.values())) >= ROWS_AT_ONCE:
            _flush(writer, waiting)
            held = 0
    _flush(writer, waiting)


def _flush(writer: DatasetWriter, waiting: dict[str, list[dict[str, Any]]]) -> None:
    for split, rows in waiting.items():
        writer.write(split, pa.Table.from_pylist(rows, SCHEMA))
    waiting.clear()


class _Made:
    """The rows in the making, and the tally of what became of images and objects."""

    def __init__(self, collection: Collection, checker: Checker, config: Config, found: Counter[str]) -> None:
        self.collection, self.checker, self.config = collection, checker, config
        self.total, self.splits = sum(found.values()), _splits(found, config.keep_splits)
        self.unsplit = found[UNSPLIT] if self.splits[UNSPLIT] != UNSPLIT else 0
        self.is_merged = len(+found) > 1 and set(self.splits.values()) == {UNSPLIT}
        self.cutter = Cutter(config.tile_size, config.tile_overlap, config.tile_min_visibility)
        self.statistics = Statistics()
        self.images = self.rows = self.objects = self.without_objects = 0
        self.seen: dict[bytes, tuple[str, str]] = {}  # split and name of each image, by its digest of 16 bytes
        self.shared = Tally()  # images in two splits

    def pieces(self) -> Iterator[tuple[str, str, AnnotatedImage, bytes]]:
        """Yield split, the source's name, and each image or tile with its file."""
        with Progress("annotations", self.total, "images") as progress:
            for given in self.collection.images():
                self.images += 1
                progress.advance()
                found = self.checker.check(given)
                if found is None:
                    continue
                self._see(found[0], found[1])
                image = self.checker.check_annotations(found[0])
                for tile, data in self.cutter.tiles_of(image, found[1], self.config.max_pixels):
                    if tile.annotations or self.config.keep_empty:
                        yield self._counted(tile, image, data)
                    else:
                        self.without_objects += 1

    def _see(self, image: AnnotatedImage, data: bytes) -> None:
        """Count an image that was in another split before, under any name."""
        split, key = self.splits[image.split], hashlib.blake2b(data, digest_size=16).digest()
        before, name = self.seen.setdefault(key, (split, image.name))
        if before != split:
            self.shared.add(f"{name} in {before} is {image.name} in {split}")

    def _counted(
        self, tile: AnnotatedImage, image: AnnotatedImage, data: bytes
    ) -> tuple[str, str, AnnotatedImage, bytes]:
        split = self.splits[image.split]
        self.statistics.see(tile, split)
        self.rows += 1
        self.objects += len(tile.annotations)
        source = f"{image.split}/{image.name}" if self.is_merged else image.name  # a name is one in its split only
        return split, source, tile, data

    def tell(self, writer: DatasetWriter, labels: tuple[str, ...]) -> None:
        """Record what fell, and what the report shows."""
        for rule, dropped in self.checker.dropped_images.items():
            writer.drop(rule, dropped.count, dropped.examples)
        if not self.config.keep_empty:
            writer.drop("image or tile has no object in it", self.without_objects)
        collection = self.collection
        source = {"format": collection.format, "labels": list(collection.labels), "metadata": dict(collection.metadata)}
        findings = list(collection.findings)
        if self.shared.count:
            examples = tuple(self.shared.examples)
            findings.append(Finding(rule=SHARED, count=self.shared.count, examples=examples))
            log_info(f"{SHARED}: {self.shared.count:,}, such as {examples[0]}; what is measured on them is too good")
        note: dict[str, Any] = {
            "source": source,
            "checks": self.checker.report(),
            "findings": [asdict(finding) for finding in findings],
            "statistics": self.statistics.note(labels),
        }
        if self.unsplit:
            note["unsplit"] = {"rule": "image without a split goes to train", "count": self.unsplit}
        if self.config.tile_size:
            cutter = self.cutter
            lost = {"rule": LOST, "count": cutter.lost.count, "examples": cutter.lost.examples}
            parts = {"clipped": cutter.clipped, "left_out": cutter.left_out, "lost": lost}
            note["tiles"] = {"images": cutter.cut, "tiles": cutter.tiles, **parts}
        writer.note(note)

    def dropped(self) -> str:
        """Return in words what fell most."""
        fallen = {rule: found.count for rule, found in self.checker.dropped_images.items()}
        fallen |= {"no object in it": self.without_objects} if self.without_objects else {}
        rule, count = max(fallen.items(), key=lambda entry: entry[1], default=("there was none", 0))
        return f"{count:,} fell because {rule!r}"


def _splits(found: Counter[str], keep: bool) -> dict[str, str]:
    """Return the dataset's split for each of the source's.

    Without training images there is nothing that data.split could cut from, so that all are one split; images of no
    split beside others are training images.
    """
    if not keep or not (found["train"] or (found[UNSPLIT] and len(+found) > 1)):
        return dict.fromkeys((UNSPLIT, *SPLITS), UNSPLIT)
    return {UNSPLIT: "train", **{name: name for name in SPLITS if found[name]}}


def _check_digest(folder: Folder, config: Config) -> None:
    if config.digest and folder.sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} is not the data that was agreed on: its SHA-256 is {folder.sha256}, digest says "
            f"{config.digest.lower()}; find out which is right"
        )
