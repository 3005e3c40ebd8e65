"""Split: part a dataset into training, validation and test rows that share no text, no picture and no group.

What its source has parted already stays parted: only splits that are missing are cut from the training rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import IMAGE, LABEL, ROW, TEXT, UNSPLIT, Dataset, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.dedup import Keys, keys_of, keys_of_pictures, keys_of_texts
from toolchain.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, LEFT_OUT = range(4)  # a row's part, 1 byte of memory for each row

Parts = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Config:
    validation: float = (
        0.1  # share of the rows that training is stopped and tuned by; 0.1 of 10,000 tells 2 points apart
    )
    test: float = 0.1  # share of the rows that are only measured on
    seed: int = 0  # another seed gives another split
    group_column: str = (
        ""  # rows with the same value stay in one split (one author, one patient); "": each row for itself
    )
    rows: int = 0  # training rows at most, of each class in proportion; validation and test stay whole; 0: all

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            if not 0 < getattr(self, name) < 0.5:
                raise ConfigError(f"{name}={getattr(self, name)} is out of range; give a share above 0 and below 0.5")
        if self.rows < 0:
            raise ConfigError(f"rows={self.rows} is out of range; give 0 for all rows, or a number above 0")


@dataclass(frozen=True)
class Result:
    train: int  # rows
    validation: int
    test: int
    left_out: int  # training rows beyond Config.rows


@dataclass(frozen=True)
class Shares:
    """How rows are parted."""

    validation: float  # of the rows, 0..1
    test: float
    rows: int = 0  # training rows at most; 0: all


def split(units: Integers, classes: Integers, ranks: Keys, shares: Shares) -> Parts:
    """Return the part of each row: TRAIN, VALIDATION, TEST or LEFT_OUT (uint8).

    Args:
        units: For each row the number of its unit, 0..; the rows of a unit stay together.
        classes: For each row the position of its class, 0..; each class is parted in the same proportions.
        ranks: For each unit a random number; units of a class go to test, validation and training in this order.
        shares: Of the splits, and the limit of training rows.
    """
    parts = np.full(len(units), TRAIN, np.uint8)
    order = _by_class_then_rank(units, classes, ranks)
    for begin, end in _runs(_class_of_unit(units, classes)[units][order]):
        rows = order[begin:end]
        parts[rows] = _parts_of_class(units[rows], shares)
    return _limited(parts, classes, ranks[units], shares.rows) if shares.rows else parts


def run(dataset: Path, splits: Path, config: Config) -> Result:
    """Write ``dataset`` as three splits to ``splits``, each in the order of its source.

    The part of a row depends on the seed, its content and its group, not on the order of rows or batches. Rows that say
    the same (see artifacts.sameness), hold the same picture or share a group stay together. Memory holds about 60 bytes
    for each row. A test or validation split that ``dataset`` has already is kept as it is.

    Raises:
        DataError: there are no rows to part, no group column, or a class has too few rows for three splits.
    """
    source = open_dataset(dataset)
    source.require(*([config.group_column] if config.group_column else []))
    work = Work("data.split", config, dataset=source)
    pool, given = _given(source)
    units, classes, ranks = _units(source, pool, config)
    parts = split(units, classes, ranks, _without(given, config))
    _check_enough(parts, classes, source, given)
    with new_dataset(splits, source.schema, work, source.labels, source) as writer:
        for name, batch in _parted(source, pool, parts):
            writer.write(name, batch)
        for name in given:
            for batch in source.batches(name):
                writer.write(name, batch)
        left_out = int((parts == LEFT_OUT).sum())
        if config.rows:
            writer.drop(f"more than {config.rows:,} training rows were not asked for", left_out)
        counts = {
            name: source.rows(name) if name in given else int((parts == part).sum()) for part, name in enumerate(SPLITS)
        }
        writer.note({"rows": counts, "units": len(ranks), "given": given})
    return Result(**counts, left_out=left_out)


def _given(source: Dataset) -> tuple[str, list[str]]:
    """Return the split whose rows are parted, and those that the source has parted already."""
    if UNSPLIT in source.splits:
        return UNSPLIT, []
    if SPLITS[TRAIN] not in source.splits:
        raise DataError(f"{source.path} has the splits {', '.join(source.splits)}; one called train is needed")
    return SPLITS[TRAIN], [name for name in SPLITS[1:] if name in source.splits]


def _without(given: list[str], config: Config) -> "Shares":
    """Return the shares that are cut: none for a split that is given."""
    validation, test = (0.0 if name in given else getattr(config, name) for name in SPLITS[1:])
    return Shares(validation, test, config.rows)


def _units(source: Dataset, pool: str, config: Config) -> tuple[Integers, Integers, Keys]:
    """Return unit and class of each row, and the random rank of each unit."""
    texts, groups, classes = [], [], []
    for batch in source.batches(pool):
        texts.append(_content_keys(batch))
        groups.append(_group_keys(batch, config.group_column) if config.group_column else texts[-1])
        has_classes = bool(source.labels) and LABEL in batch.schema.names
        classes.append(batch.column(LABEL).to_numpy() if has_classes else np.zeros(batch.num_rows, np.int64))
    text, group = np.concatenate(texts), np.concatenate(groups)
    units = _connected(text, group) if config.group_column else np.unique(text, return_inverse=True)[1]
    smallest = np.full(int(units.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, units, text)  # a unit is known by its content, wherever its rows stand
    return units.astype(np.int64), np.concatenate(classes), _mixed(smallest, config.seed)


def _content_keys(batch: pa.RecordBatch) -> Keys:
    if TEXT in batch.schema.names:
        return keys_of_texts(batch.column(TEXT).to_pylist())
    if IMAGE in batch.schema.names:
        return keys_of_pictures(batch.column(IMAGE))
    return keys_of([str(row) for row in batch.column(ROW).to_pylist()])


def _group_keys(batch: pa.RecordBatch, column: str) -> Keys:
    """Return a key for each row's group; a row without one is a group of its own."""
    groups, rows = batch.column(column).to_pylist(), batch.column(ROW).to_pylist()
    return keys_of(
        [f"row {row}" if group is None else f"group {group}" for group, row in zip(groups, rows, strict=True)]
    )


def _connected(text: Keys, group: Keys) -> Integers:
    """Return the number of each row's unit: rows are in one when a chain of equal texts and equal groups joins them."""
    texts, groups = (np.unique(keys, return_inverse=True)[1] for keys in (text, group))
    unit = groups.astype(np.int64)
    while True:
        before = unit
        for members in (texts, groups):
            least = np.full(int(members.max(initial=-1)) + 1, len(unit), np.int64)
            np.minimum.at(least, members, unit)
            unit = least[members]
        if np.array_equal(unit, before):
            return np.unique(unit, return_inverse=True)[1].astype(np.int64)


def _mixed(keys: Keys, seed: int) -> Keys:
    """Return a random number for each of ``keys``, the same for the same seed (SplitMix64, Steele et al., 2014)."""
    values = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _class_of_unit(units: Integers, classes: Integers) -> Integers:
    """Return the class of each unit: that of most of its rows, of equally many the first."""
    pairs, counts = np.unique(np.stack([units, classes]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], counts, pairs[0]))  # the last one of each unit has the most rows
    found = np.empty(int(units.max(initial=-1)) + 1, np.int64)
    found[pairs[0][order]] = pairs[1][order]
    return found


def _by_class_then_rank(units: Integers, classes: Integers, ranks: Keys) -> Integers:
    """Return the rows ordered by their unit's class, then by its rank; the rows of a unit stand together."""
    return np.lexsort((units, ranks[units], _class_of_unit(units, classes)[units])).astype(np.int64)


def _runs(values: Integers) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of equal ``values``."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(edges)


def _parts_of_class(units: Integers, shares: Shares) -> Parts:
    """Return the parts of the rows of one class, given in the order of their rank: test first, then validation.

    A unit goes where the middle of its rows falls, so that the shares come out right whatever the sizes of units.
    """
    middle = np.empty(len(units))
    for begin, end in _runs(units):
        middle[begin:end] = (begin + end) / 2
    test, validation = (round(share * len(units)) for share in (shares.test, shares.validation))
    parts = np.full(len(units), TRAIN, np.uint8)
    parts[middle < test + validation] = VALIDATION
    parts[middle < test] = TEST
    return parts


def _limited(parts: Parts, classes: Integers, ranks: Keys, rows: int) -> Parts:
    """Return ``parts`` with at most ``rows`` rows in training, of each class in proportion (largest remainders)."""
    training = np.flatnonzero(parts == TRAIN)
    if len(training) <= rows:
        return parts
    names, counts = np.unique(classes[training], return_counts=True)
    exact = counts * rows / len(training)
    kept = np.floor(exact).astype(int)
    kept[np.argsort(kept - exact, kind="stable")[: rows - kept.sum()]] += 1
    limited = parts.copy()
    for name, count in zip(names, kept, strict=True):
        members = training[classes[training] == name]
        limited[members[np.argsort(ranks[members], kind="stable")[count:]]] = LEFT_OUT
    return limited


def _check_enough(parts: Parts, classes: Integers, source: Dataset, given: list[str]) -> None:
    names = source.labels if LABEL in source.schema.names and source.labels else ("all",)
    for position, name in enumerate(names):
        mine = parts[classes == position]
        for part, split_name in enumerate(SPLITS):
            if split_name not in given and not (mine == part).any():
                raise DataError(
                    f"too few rows for a split: {len(mine):,} rows of {name!r} leave none for {split_name}; each split "
                    "needs one of each class at least: give more rows, larger shares for validation and test, or join "
                    "classes"
                )


def _parted(source: Dataset, pool: str, parts: Parts) -> Iterator[tuple[str, pa.RecordBatch]]:
    begin = 0
    for batch in source.batches(pool):
        mine = parts[begin : begin + batch.num_rows]
        begin += batch.num_rows
        for part, name in enumerate(SPLITS):
            if (mine == part).any():
                yield name, batch.filter(pa.array(mine == part))
