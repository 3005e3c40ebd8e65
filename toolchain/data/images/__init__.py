"""Read images and their classes from any source into a dataset, and check each image.

Sources are a folder for each class (inside train, validation and test folders or not), archives and S3 prefixes of such
folders, IDX files (MNIST, Fashion-MNIST), a CSV of pixels, Parquet with images, and datasets on the Hugging Face hub.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, LABEL, ROW, DatasetWriter, new_dataset
from toolchain.artifacts.image import HEIGHT, IMAGE_TYPE, WIDTH
from toolchain.artifacts.provenance import Work
from toolchain.data.images.checking import Loaded, Tally, load
from toolchain.data.images.class_folders import Images, ImageSource, SourceImage
from toolchain.data.images.settings import Config, Result
from toolchain.data.images.sources import open_file, open_folder, open_parquet
from toolchain.errors import DataError
from toolchain.hardware.cpu import usable_cores
from toolchain.progress import Progress
from toolchain.services import storage
from toolchain.services.folders import fetch_folder, is_folder

__all__ = ["SCHEMA", "Config", "Result", "run"]

IMAGES_PER_BATCH = 64  # decoded and written together: at most 2 GB with 12 megapixels each
SCHEMA = pa.schema(
    [(ROW, pa.int64()), (IMAGE, IMAGE_TYPE), (WIDTH, pa.int64()), (HEIGHT, pa.int64()), (LABEL, pa.int64())]
)


def run(dataset: Path, config: Config) -> Result:
    """Write the images and classes of ``config.source`` to ``dataset``, in the source's splits or in one, "all".

    Raises:
        ConfigError: a package that should contain the source is not installed.
        DataError: the source is missing, damaged, unsafe, of another digest or without classes, or has an empty class
            folder or an image that breaks a rule whose action is "fail".
        ServiceError: the service that holds the source is not available.
    """
    work = Work("data.images", config)
    tally = Tally(config)
    with tempfile.TemporaryDirectory(prefix="images-") as folder:
        source = _open(config, Path(folder), work)
        labels = _labels(source.images, config)
        with new_dataset(dataset, SCHEMA, work, labels) as writer:
            _write(writer, source.images, labels, tally, config)
            for rule, count in tally.dropped.items():
                writer.drop(rule, count, tally.examples[rule])
            writer.note(tally.note(source.skipped))
    tally.warn(source.skipped)
    rows = tally.formats.total()
    return Result(rows, len(labels), tally.rows - rows)


def _open(config: Config, folder: Path, work: Work) -> ImageSource:
    columns = config.image_column, config.label_column
    if is_folder(config.source):
        fetched = fetch_folder(config.source, folder)
        sha256, revision = fetched.sha256, fetched.revision
        source = open_folder(fetched.path, config.source, config.split_folders, columns)
    else:
        file = storage.fetch(config.source, folder)
        sha256, revision = file.sha256, file.revision
        if config.source.startswith("hf://"):
            source = open_parquet(file.files, config.source, *columns)
        else:
            source = open_file(file.files[0], config.source, *columns)
    if config.digest and sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} has the SHA-256 {sha256}, expected digest={config.digest}; find out which is right"
        )
    work.source = {"uri": config.source, "sha256": sha256, "version": revision}
    return source


def _labels(images: Images, config: Config) -> tuple[str, ...]:
    """Return the names of the classes: numbers in numeric order, other names in alphabetical order."""
    found = {image.label for image in images()}
    if "" in found:
        raise DataError(f"{config.source} has images without a class; give each a class, or remove them")
    if not all(_is_number(name) for name in found):
        if config.labels and not found <= set(config.labels):
            unknown = ", ".join(sorted(found - set(config.labels))[:5])
            raise DataError(f"{config.source} has the classes {unknown}, which are not in labels; add them to labels")
        return tuple(config.labels) or tuple(sorted(found))
    numbers = sorted(found, key=lambda name: (int(name), name))  # 007 before 7
    if config.labels and int(numbers[-1]) >= len(config.labels):
        raise DataError(
            f"{config.source} has the class {numbers[-1]}, but labels has {len(config.labels)} names; add the others"
        )
    return tuple(config.labels) or tuple(numbers)


def _write(writer: DatasetWriter, images: Images, labels: tuple[str, ...], tally: Tally, config: Config) -> None:
    indices = {name: index for index, name in enumerate(labels)}
    if config.labels and not any(_is_number(name) for name in config.labels):  # 07 and 7 are the same number
        indices |= {name: int(name) for name in {image.label for image in images()} if _is_number(name)}
    with Progress("images", unit="images") as progress, ThreadPoolExecutor(usable_cores()) as threads:
        for batch in _batches(images()):
            loaded = list(enumerate(threads.map(lambda image: load(image, config), batch), tally.rows))
            for split in dict.fromkeys(image.source.split for _, image in loaded):
                of_split = [(row, image) for row, image in loaded if image.source.split == split]
                kept = [(row, image) for row, image in of_split if tally.keep(row, image)]
                writer.write(split, _table(kept, indices))
            tally.rows += len(batch)
            progress.advance(len(batch))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()  # "²".isdigit() is true, but int("²") fails


def _batches(images: Iterator[SourceImage]) -> Iterator[list[SourceImage]]:
    while batch := list(islice(images, IMAGES_PER_BATCH)):
        yield batch


def _table(kept: list[tuple[int, Loaded]], indices: dict[str, int]) -> pa.Table:
    facts = [image.facts for _, image in kept if image.facts]
    columns = [
        [row for row, _ in kept],
        [{"bytes": image.data, "path": image.source.path} for _, image in kept],
        [fact.width for fact in facts],
        [fact.height for fact in facts],
        [indices[image.source.label] for _, image in kept],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, column_type) for column, column_type in zip(columns, SCHEMA.types, strict=True)],
        schema=SCHEMA,
    )
