"""Read annotated images in any common format, check them, and write them to a dataset."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from toolchain.annotations import AnnotatedImage, Collection, open_source
from toolchain.annotations.checks.checker import Checker
from toolchain.annotations.rows import SCHEMA, to_row
from toolchain.annotations.types import KEYPOINTS, UNKNOWN_CLASS, summarize
from toolchain.artifacts.dataset import DatasetWriter, new_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.annotations.row_source import RowSource
from toolchain.data.annotations.settings import Config
from toolchain.errors import DataError
from toolchain.progress import log_info
from toolchain.services.folders import Folder, fetch_folder

__all__ = ["Config", "Result", "read", "run"]

MAX_BUFFERED_ROWS, MAX_BUFFERED_BYTES = 64, 256 * 1024**2  # held in memory before they are written


@dataclass(frozen=True)
class Result:
    images: int  # read
    rows: int  # written: images, or their tiles
    objects: int  # in the rows
    labels: int


def run(dataset: Path, config: Config) -> Result:
    """Write the annotated images of ``config`` to ``dataset``, in one split, "all", or in the source's splits.

    A row is an image or a tile of one: ``image`` upright, ``objects`` in its pixels, ``metadata``, and
    ``source_image``, by which data.split keeps the tiles of an image together. Memory holds one image and 64 rows.

    Raises:
        ConfigError: the format is not known.
        DataError: the source is missing, has another digest, is damaged, or has a problem whose action is "fail".
        ServiceError: the service that holds the source is down or denies access.
    """
    config = config.with_sample_settings()
    work = Work("data.annotations", config)
    with tempfile.TemporaryDirectory(prefix="annotations-") as scratch:
        folder = fetch_folder(config.source, Path(scratch) / "source")
        _check_digest(folder, config)
        images = fetch_folder(config.images, Path(scratch) / "images") if config.images else None
        work.source = {"uri": config.source, "sha256": folder.sha256, "version": folder.revision}
        work.source |= {"images": config.images, "images_sha256": images.sha256} if images else {}
        collection = read(folder.path, images.path if images else None, config)
        return _write(dataset, collection, config, work)


def read(folder: Path, images_dir: Path | None, config: Config) -> Collection:
    """Return the annotated images in ``folder``, unchecked, one at a time."""
    return renamed(open_source(folder, config.format, images_dir, config.origin, config.task), config.rename)


def renamed(collection: Collection, names: Mapping[str, str]) -> Collection:
    """Return ``collection`` with its labels renamed by ``names``; several labels may become one.

    Names of labels that the collection does not have are logged.
    """
    unknown = sorted(set(names) - set(collection.labels))
    if unknown:
        log_info(f"rename: the source has no label {', '.join(unknown)}; it has {', '.join(collection.labels)}")
    if not names:
        return collection

    def images() -> Iterator[AnnotatedImage]:
        for image in collection.images():
            annotations = (replace(a, label=names.get(a.label, a.label)) for a in image.annotations)
            yield replace(image, annotations=tuple(annotations))

    labels = tuple(dict.fromkeys(names.get(label, label) for label in collection.labels))
    points = {names.get(label, label): value for label, value in (collection.metadata.get(KEYPOINTS) or {}).items()}
    metadata = {**collection.metadata, **({KEYPOINTS: points} if points else {})}
    return replace(collection, labels=labels, images=images, metadata=metadata)


def _write(dataset: Path, collection: Collection, config: Config, work: Work) -> Result:
    labels = tuple(config.labels) or tuple(name for name in collection.labels if not name.startswith(UNKNOWN_CLASS))
    if not labels:
        details = summarize(collection.findings)
        raise DataError(f"{config.source} has no label{details}; annotate objects, or set labels")
    counts = Counter(image.split for image in collection.images())
    if not counts:
        raise DataError(f"{config.source} has annotations but no image{summarize(collection.findings)}")
    checker = Checker(config.actions(), labels, config.max_pixels)
    checker.add_source(collection)
    source = RowSource(collection, checker, config, counts)
    with new_dataset(dataset, SCHEMA, work, labels) as writer:
        for split in sorted(set(source.splits.values())):
            writer.write(split, pa.Table.from_pylist([], SCHEMA))
        _write_rows(writer, source, {label: index for index, label in enumerate(labels)})
        checker.finish()
        source.report(writer, labels)
        if not source.row_count:
            raise DataError(f"no image of {config.source} is left: {source.main_drop_reason()}")
        work.metrics |= {"images": float(source.image_count), "objects": float(source.object_count)}
    return Result(source.image_count, source.row_count, source.object_count, len(labels))


def _write_rows(writer: DatasetWriter, source: RowSource, label_index: dict[str, int]) -> None:
    buffer: dict[str, list[dict[str, Any]]] = {}
    buffered_bytes = 0
    for number, row in enumerate(source.rows()):
        buffer.setdefault(row.split, []).append(to_row(row.image, row.source_image, row.data, number, label_index))
        buffered_bytes += len(row.data)
        if buffered_bytes > MAX_BUFFERED_BYTES or sum(map(len, buffer.values())) >= MAX_BUFFERED_ROWS:
            _flush(writer, buffer)
            buffered_bytes = 0
    _flush(writer, buffer)


def _flush(writer: DatasetWriter, buffer: dict[str, list[dict[str, Any]]]) -> None:
    for split, rows in buffer.items():
        writer.write(split, pa.Table.from_pylist(rows, SCHEMA))
    buffer.clear()


def _check_digest(folder: Folder, config: Config) -> None:
    if config.digest and folder.sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} has changed: its SHA-256 is {folder.sha256}, expected digest={config.digest.lower()}; "
            f"restore the source, or update the digest"
        )
