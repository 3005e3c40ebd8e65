"""Split a dataset into training, validation and test rows that have no text, no image and no group in common.

Splits of the source are kept; only missing ones are taken from its training rows.
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
from toolchain.dedup import Keys, keys_of, keys_of_images, keys_of_texts
from toolchain.errors import ConfigError, DataError

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST, UNUSED = range(4)  # the assignment of a row, 1 byte of memory each

Assignment = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Config:
    # Fraction of the rows for validation, if the source has no such split; 1,000 rows resolve 2 points of accuracy.
    validation_fraction: float = 0.1
    test_fraction: float = 0.1  # Fraction of the rows for the test, if the source has no such split.
    seed: int = 0  # Random seed.
    # Column whose equal values (one author, one patient, one source_image) stay in one split; "": no groups.
    group_column: str = ""
    max_train_rows: int = (
        0  # Maximum number of training rows, stratified by class; 0: all. The test rows do not change.
    )

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 0.5:
                raise ConfigError(f"{name}={getattr(self, name)} is out of range; give a share above 0 and below 0.5")
        if self.max_train_rows < 0:
            raise ConfigError(
                f"max_train_rows={self.max_train_rows} is out of range; give 0 for all rows, or a number above 0"
            )


@dataclass(frozen=True)
class Result:
    train: int  # rows
    validation: int
    test: int
    unused: int  # training rows beyond Config.max_train_rows


@dataclass(frozen=True)
class Shares:
    """The sizes of the splits."""

    validation: float  # of the rows, 0..1
    test: float
    rows: int = 0  # maximum number of training rows; 0: all


def split(units: Integers, classes: Integers, ranks: Keys, shares: Shares) -> Assignment:
    """Return the assignment of each row: TRAIN, VALIDATION, TEST or UNUSED (uint8).

    Args:
        units: For each row the number of its unit, 0..; the rows of a unit stay together.
        classes: For each row the index of its class, 0..; every class is split in the same proportions.
        ranks: For each unit a random number; units of a class go to test, validation and training in this order.
        shares: The sizes of the splits.
    """
    assignment = np.full(len(units), TRAIN, np.uint8)
    order = _by_class_then_rank(units, classes, ranks)
    for begin, end in _runs(_class_of_unit(units, classes)[units][order]):
        rows = order[begin:end]
        assignment[rows] = _assign_class(units[rows], shares)
    return _limit(assignment, classes, ranks[units], shares.rows) if shares.rows else assignment


def run(dataset: Path, splits: Path, config: Config) -> Result:
    """Write ``dataset`` as three splits to ``splits``, each in the order of the source.

    The assignment of a row depends on the seed, its content and its group, not on the order of rows or batches. Rows
    with equal text (see toolchain.dedup), equal images or a common group stay together. The memory use is about 60
    bytes per row. A test or validation split of ``dataset`` is kept unchanged.

    Raises:
        DataError: there are no training rows, there is no group column, or a class has too few rows for three splits.
    """
    source = open_dataset(dataset)
    source.require(*([config.group_column] if config.group_column else []))
    work = Work("data.split", config, dataset=source)
    pool, existing = _existing_splits(source)
    units, classes, ranks = _units(source, pool, config)
    assignment = split(units, classes, ranks, _missing_shares(existing, config))
    _check_every_split(assignment, classes, source, existing)
    unused = int((assignment == UNUSED).sum())
    counts = {name: int((assignment == number).sum()) for number, name in enumerate(SPLITS)}
    counts |= {name: source.rows(name) for name in existing}
    with new_dataset(splits, source.schema, work, source.labels, source) as writer:
        for name, batch in _assigned_batches(source, pool, assignment):
            writer.write(name, batch)
        for name in existing:
            for batch in source.batches(name):
                writer.write(name, batch)
        if config.max_train_rows:
            writer.drop(f"training row beyond max_train_rows={config.max_train_rows}", unused)
        writer.note({"rows": counts, "units": len(ranks), "existing_splits": existing})
    return Result(**counts, unused=unused)


def _existing_splits(source: Dataset) -> tuple[str, list[str]]:
    """Return the split whose rows are assigned, and the splits of the source to keep."""
    if UNSPLIT in source.splits:
        return UNSPLIT, []
    if SPLITS[TRAIN] not in source.splits:
        raise DataError(
            f"{source.path} has the splits {', '.join(source.splits)} but no split train; add training rows"
        )
    return SPLITS[TRAIN], [name for name in SPLITS[1:] if name in source.splits]


def _missing_shares(existing: list[str], config: Config) -> Shares:
    """Return the shares of the splits, 0 for those in ``existing``."""
    validation, test = (0.0 if name in existing else getattr(config, f"{name}_fraction") for name in SPLITS[1:])
    return Shares(validation, test, config.max_train_rows)


def _units(source: Dataset, pool: str, config: Config) -> tuple[Integers, Integers, Keys]:
    """Return the unit and the class of each row, and the random rank of each unit."""
    content_keys, group_keys, classes = [], [], []
    for batch in source.batches(pool):
        content_keys.append(_content_keys(batch))
        group_keys.append(_group_keys(batch, config.group_column) if config.group_column else content_keys[-1])
        has_classes = bool(source.labels) and LABEL in batch.schema.names
        classes.append(batch.column(LABEL).to_numpy() if has_classes else np.zeros(batch.num_rows, np.int64))
    content, group = np.concatenate(content_keys), np.concatenate(group_keys)
    units = _connected(content, group) if config.group_column else np.unique(content, return_inverse=True)[1]
    smallest = np.full(int(units.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, units, content)  # identifies a unit by its content, independent of the order of rows
    return units.astype(np.int64), np.concatenate(classes), _random_ranks(smallest, config.seed)


def _content_keys(batch: pa.RecordBatch) -> Keys:
    if TEXT in batch.schema.names:
        return keys_of_texts(batch.column(TEXT).to_pylist())
    if IMAGE in batch.schema.names:
        return keys_of_images(batch.column(IMAGE))
    return keys_of([str(row) for row in batch.column(ROW).to_pylist()])


def _group_keys(batch: pa.RecordBatch, column: str) -> Keys:
    """Return a key for each row's group; a row without a value is a separate group."""
    groups, rows = batch.column(column).to_pylist(), batch.column(ROW).to_pylist()
    return keys_of(
        [f"row {row}" if group is None else f"group {group}" for group, row in zip(groups, rows, strict=True)]
    )


def _connected(content: Keys, group: Keys) -> Integers:
    """Return the number of each row's unit: the connected components of rows with equal content or an equal group."""
    contents, groups = (np.unique(keys, return_inverse=True)[1] for keys in (content, group))
    unit = groups.astype(np.int64)
    while True:
        before = unit
        for members in (contents, groups):
            smallest = np.full(int(members.max(initial=-1)) + 1, len(unit), np.int64)
            np.minimum.at(smallest, members, unit)
            unit = smallest[members]
        if np.array_equal(unit, before):
            return np.unique(unit, return_inverse=True)[1].astype(np.int64)


def _random_ranks(keys: Keys, seed: int) -> Keys:
    """Return a pseudorandom number for each of ``keys`` (SplitMix64, Steele et al., 2014)."""
    values = keys + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _class_of_unit(units: Integers, classes: Integers) -> Integers:
    """Return the most frequent class of each unit, the first one of equally frequent classes."""
    pairs, counts = np.unique(np.stack([units, classes]), axis=1, return_counts=True)
    order = np.lexsort((-pairs[1], counts, pairs[0]))  # the last entry of each unit is its most frequent class
    found = np.empty(int(units.max(initial=-1)) + 1, np.int64)
    found[pairs[0][order]] = pairs[1][order]
    return found


def _by_class_then_rank(units: Integers, classes: Integers, ranks: Keys) -> Integers:
    """Return the indices of rows sorted by their unit's class, then by its rank; the rows of a unit are adjacent."""
    return np.lexsort((units, ranks[units], _class_of_unit(units, classes)[units])).astype(np.int64)


def _runs(values: Integers) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each run of equal ``values``."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    yield from pairwise(edges)


def _assign_class(units: Integers, shares: Shares) -> Assignment:
    """Return the assignment of the rows of one class, sorted by rank: test first, then validation.

    A unit is assigned by the middle of its rows, so that the shares are right for units of any size.
    """
    middle = np.empty(len(units))
    for begin, end in _runs(units):
        middle[begin:end] = (begin + end) / 2
    test, validation = (round(share * len(units)) for share in (shares.test, shares.validation))
    assignment = np.full(len(units), TRAIN, np.uint8)
    assignment[middle < test + validation] = VALIDATION
    assignment[middle < test] = TEST
    return assignment


def _limit(assignment: Assignment, classes: Integers, ranks: Keys, rows: int) -> Assignment:
    """Return ``assignment`` with at most ``rows`` training rows, stratified by class (largest remainder method)."""
    training = np.flatnonzero(assignment == TRAIN)
    if len(training) <= rows:
        return assignment
    names, counts = np.unique(classes[training], return_counts=True)
    exact = counts * rows / len(training)
    kept = np.floor(exact).astype(int)
    kept[np.argsort(kept - exact, kind="stable")[: rows - kept.sum()]] += 1
    limited = assignment.copy()
    for name, count in zip(names, kept, strict=True):
        members = training[classes[training] == name]
        limited[members[np.argsort(ranks[members], kind="stable")[count:]]] = UNUSED
    return limited


def _check_every_split(assignment: Assignment, classes: Integers, source: Dataset, existing: list[str]) -> None:
    """Raise DataError when a class has no rows in a split."""
    names = source.labels if LABEL in source.schema.names and source.labels else ("all",)
    for index, name in enumerate(names):
        of_class = assignment[classes == index]
        for number, split_name in enumerate(SPLITS):
            if split_name not in existing and not (of_class == number).any():
                raise DataError(
                    f"class {name!r} has {len(of_class):,} rows, too few for the {split_name} split, which needs at "
                    "least one row of each class; add rows, increase the shares of validation and test, or merge "
                    "classes"
                )


def _assigned_batches(source: Dataset, pool: str, assignment: Assignment) -> Iterator[tuple[str, pa.RecordBatch]]:
    begin = 0
    for batch in source.batches(pool):
        part = assignment[begin : begin + batch.num_rows]
        begin += batch.num_rows
        for number, name in enumerate(SPLITS):
            if (part == number).any():
                yield name, batch.filter(pa.array(part == number))
