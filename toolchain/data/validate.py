"""Validate: stop the run when the split data break a rule, naming the rule and the rows."""

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import IMAGE, LABEL, OBJECTS, ROW, TEXT, Dataset, open_dataset
from toolchain.artifacts.image import HEIGHT, WIDTH
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.dedup import KeyFiles, Keys, first_of_each, keys_of_pictures, keys_of_texts
from toolchain.errors import ConfigError, DataError
from toolchain.progress import Progress, warn

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import Check, DataFrameSchema

SPLITS = ("train", "validation", "test")
AUTOMATIC = -1.0  # of a share: by the number of classes
PART_OF_EVEN = 0.1  # of the share that each class would have if all had as many rows
ROWS_NAMED = 10  # of those that break a rule
TYPES = {  # what a rule may say of a column, and the function of pandas.api.types that tells
    "text": "is_object_dtype",
    "integer": "is_integer_dtype",
    "number": "is_numeric_dtype",
    "boolean": "is_bool_dtype",
}


@dataclass(frozen=True, kw_only=True)
class Config:
    minimum_rows: int = 20  # in each split: of fewer, one row is worth more than 5 points of accuracy
    # Of the rarest class among the training rows: below, a model does well to ignore it. -1: a tenth of an even share,
    # which is 5 % of two classes and 0.5 % of twenty; 0: any.
    minimum_share: float = -1.0
    gate_rows: int = 100  # in the test split: with fewer (of objects, for boxes) the gate can select no variant
    types: dict[str, str] = field(default_factory=dict)  # column -> "text", "integer", "number" or "boolean"
    ranges: dict[str, list[float]] = field(default_factory=dict)  # column -> [lowest, highest], both allowed

    def __post_init__(self) -> None:
        if self.minimum_rows < 1:
            raise ConfigError(f"minimum_rows={self.minimum_rows} is out of range; give 1 or more")
        if self.minimum_share != AUTOMATIC and not 0 <= self.minimum_share <= 0.5:
            raise ConfigError(f"minimum_share={self.minimum_share} is out of range; give 0 to 0.5, or -1 for the usual")
        for column, kind in self.types.items():
            if kind not in TYPES:
                raise ConfigError(f"types[{column!r}]={kind!r} is not known; give one of {', '.join(TYPES)}")
        for column, bounds in self.ranges.items():
            if not isinstance(bounds, list) or len(bounds) != 2 or not bounds[0] <= bounds[1]:
                raise ConfigError(f"ranges[{column!r}]={bounds!r} is no range; give [lowest, highest]")


@dataclass(frozen=True)
class Result:
    rules: int  # all of them passed
    rows: int  # looked at
    smallest_share: float  # of the rarest class among the training rows; 1.0 where there are no classes


@dataclass
class Rule:
    """A rule and what broke it."""

    text: str  # what must hold
    faults: int = 0
    rows: list[str] = field(default_factory=list)  # a few of those that break it: "row 17 of test"
    found: str = ""  # what was seen, whether or not it holds
    advice: str = ""  # what to do where it is broken

    def broken_by(self, rows: list[str]) -> None:
        self.faults += len(rows)
        self.rows += rows[: ROWS_NAMED - len(self.rows)]

    @property
    def detail(self) -> str:
        more = f" and {self.faults - len(self.rows):,} more" if self.faults > len(self.rows) else ""
        return ", ".join(self.rows) + more if self.rows else self.found

    @property
    def fault(self) -> str:
        """What broke the rule, and what to do, in one line."""
        return f"{self.text}: broken by {self.detail}" + (f"; {self.advice}" if self.advice else "")


def validate(dataset: Dataset, config: Config, folder: Path) -> list[Rule]:
    """Return every rule with what breaks it; a rule without faults holds.

    ``folder`` is an empty one, for the keys by which texts are compared across splits (28 bytes for each row).
    """
    rules = {
        str(check.error): Rule(str(check.error)) for checks in _checks(dataset, config).values() for check in checks
    }
    _check_rows(dataset, config, rules)
    found = list(rules.values())
    found += _check_counts(dataset, balance(dataset), config)
    found += [_check_objects(dataset)] if OBJECTS in dataset.schema.names else []
    return [*found, _check_leaks(dataset, folder)] if _content(dataset) else found


def run(dataset: Path, checks: Path, config: Config) -> Result:
    """Write what was checked in the splits of ``dataset`` to ``checks``.

    Raises:
        DataError: rules are broken: a line for each, with the rows; nothing is written.
    """
    source = open_dataset(dataset)
    source.require(*config.types, *config.ranges)
    work = Work("data.validate", config, dataset=source)
    with tempfile.TemporaryDirectory(prefix="validate-") as folder:
        rules = validate(source, config, Path(folder))
    broken = [rule for rule in rules if rule.faults]
    if broken:
        lines = [rule.fault for rule in broken]
        raise DataError("\n".join([f"{dataset} breaks {len(broken)} of {len(rules)} rules", *lines]))
    counts = balance(source)
    _warn_of_few_test_rows(source, counts, config)
    shares = _shares(counts[_splits(source)[0]])
    rows = sum(source.rows(split) for split in _splits(source))
    work.metrics |= {
        "rules": float(len(rules)),
        "rows": float(rows),
        "smallest_share": min(shares.values(), default=1.0),
    }
    with new_measurement(checks, "checks", work) as writer:
        passed = [{"rule": rule.text, "passed": True, "detail": rule.detail} for rule in rules]
        writer.data = {
            "rules": passed,
            "balance": counts,
            "rows": {split: source.rows(split) for split in _splits(source)},
        }
    return Result(len(rules), rows, work.metrics["smallest_share"])


def _warn_of_few_test_rows(dataset: Dataset, counts: dict[str, dict[str, int]], config: Config) -> None:
    """Say before hours of training what the gate will say after them: see ``minimum_rows`` of evaluate.gate."""
    boxes = OBJECTS in dataset.schema.names
    rows, counted = (sum(counts[SPLITS[-1]].values()), "boxes") if boxes else (dataset.rows(SPLITS[-1]), "rows")
    if rows < config.gate_rows:
        warn(
            f"the test split has {rows:,} {counted}; the gate needs {config.gate_rows:,} to select a faster variant, "
            "so fp32 will stay. Add rows, or give the test split a larger share of them"
        )


def _splits(dataset: Dataset) -> tuple[str, ...]:
    """Return the splits that must be there: all, or the test rows alone, as they are kept to measure a model again."""
    return SPLITS[-1:] if set(dataset.splits) == {SPLITS[-1]} else SPLITS


def balance(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Return the rows (or the objects) of each class in each split; {} for each split where there are no classes."""
    counts = {split: dict.fromkeys(dataset.labels, 0) for split in _splits(dataset)}
    column = LABEL if LABEL in dataset.schema.names else OBJECTS
    for split in _splits(dataset) if dataset.labels else ():
        for batch in dataset.batches(split, [column]):
            labels = batch.column(column) if column == LABEL else batch.column(column).flatten().field(LABEL)
            for entry in pc.value_counts(labels).to_pylist():
                if entry["values"] is not None and 0 <= entry["values"] < len(dataset.labels):
                    counts[split][dataset.labels[entry["values"]]] += entry["counts"]
    return counts


def _checks(dataset: Dataset, config: Config) -> dict[str, list["Check"]]:
    """Return pandera's checks by column; the ``error`` of each is the rule in words."""
    from pandas.api import types
    from pandera.pandas import Check

    names, top = dataset.schema.names, len(dataset.labels) - 1
    checks: dict[str, list[Check]] = {name: [] for name in _plain_columns(dataset)}
    checks[ROW].append(Check.ge(0, error="row is a number from 0"))
    if TEXT in names:
        checks[TEXT].append(
            _check("text is not blank", lambda text: text.notna() & (text.fillna("").str.strip() != ""))
        )
    if dataset.labels and LABEL in names:
        meant = f"label is one of {', '.join(dataset.labels)}"
        checks[LABEL].append(_check(meant, lambda label: label.notna() & label.between(0, top)))
    for column, kind in config.types.items():
        checks[column].append(_check(f"{column} holds {kind}", getattr(types, TYPES[kind])))
    for column, (low, high) in config.ranges.items():
        checks[column].append(Check.in_range(low, high, error=f"{column} is from {low:g} to {high:g}"))
    return checks


def _check(rule: str, holds: Any) -> "Check":
    from pandera.pandas import Check

    return Check(holds, error=rule, ignore_na=False)


def _schema(dataset: Dataset, config: Config) -> "DataFrameSchema":
    from pandera.pandas import Column, DataFrameSchema

    checks = _checks(dataset, config)
    return DataFrameSchema({name: Column(checks=checks[name], nullable=True) for name in _plain_columns(dataset)})


def _plain_columns(dataset: Dataset) -> list[str]:
    """Return the columns of single values; pictures and lists have checks of their own."""
    return [column.name for column in dataset.schema if not pa.types.is_nested(column.type)]


def _check_rows(dataset: Dataset, config: Config, rules: dict[str, Rule]) -> None:
    """Take every row through pandera, batch by batch, and note in ``rules`` which row broke what."""
    from pandera.errors import SchemaErrors

    schema = _schema(dataset, config)
    for split, frame in _frames(dataset):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # pandera's own, about how it gathers what failed
                schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            for rule, cases in errors.failure_cases.groupby("check", sort=False):
                rows = [f"row {int(row)} of {split}" for row in cases["index"].dropna()]
                rules[str(rule)].broken_by(rows or [f"all rows of {split}"])


def _frames(dataset: Dataset) -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Yield each split's rows as pandas frames whose index is the row's number in the source."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # a missing value makes them no floats
    with Progress("validate", sum(dataset.rows(split) for split in _splits(dataset)), "rows") as progress:
        for split in _splits(dataset):
            for batch in dataset.batches(split, _plain_columns(dataset)):
                yield split, batch.to_pandas(types_mapper=nullable.get).set_index(ROW, drop=False)
                progress.advance(batch.num_rows)


def _check_counts(dataset: Dataset, counts: dict[str, dict[str, int]], config: Config) -> list[Rule]:
    rows = Rule(f"each split has {config.minimum_rows} rows or more")
    rows.advice = "give more rows or larger shares for validation and test, or set minimum_rows"
    rows.found = ", ".join(f"{split} {dataset.rows(split):,}" for split in _splits(dataset))
    rows.broken_by([f"{s} with {dataset.rows(s):,}" for s in _splits(dataset) if dataset.rows(s) < config.minimum_rows])
    if not dataset.labels:
        return [rows]
    several, *others = _check_classes(counts, config)
    return [rows, *([several] if LABEL in dataset.schema.names else []), *others]  # one kind of object can be found


def _check_classes(counts: dict[str, dict[str, int]], config: Config) -> list[Rule]:
    shares = _shares(next(iter(counts.values())))  # of the training rows, or of the only ones there are
    several = Rule("there are two classes or more", found=", ".join(shares))
    if len([share for share in shares.values() if share]) < 2:
        several.broken_by(
            [f"one class only in training: {', '.join(n for n, share in shares.items() if share) or 'none'}"]
        )
    least = _least_share(config, len(shares))
    rare = Rule(f"each class is {least * 100:.2g}% or more of the training rows")
    rare.found = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    rare.broken_by([f"{name} with {share:.1%}" for name, share in shares.items() if share < least])
    lower = floor(min(shares.values()) * 1000) / 1000
    rare.advice = f"add rows of rare classes, join them with others, or set minimum_share={lower:g}"
    everywhere = Rule("each class is in each split")
    everywhere.advice = "give more rows of it or larger shares for validation and test, or join classes"
    everywhere.broken_by(
        [f"{name} not in {split}" for split in counts for name, rows in counts[split].items() if not rows]
    )
    return [several, *([rare] if least else []), everywhere]


def _least_share(config: Config, classes: int) -> float:
    """Return the share of the training rows that each of ``classes`` needs, 0..1."""
    return PART_OF_EVEN / classes if config.minimum_share == AUTOMATIC else config.minimum_share


def _shares(counts: dict[str, int]) -> dict[str, float]:
    return {name: rows / max(sum(counts.values()), 1) for name, rows in counts.items()}


def _check_objects(dataset: Dataset) -> Rule:
    """Find boxes that are none, lie outside their picture, or are of a class that is not there."""
    rule = Rule("each box has an area, lies in its picture and has a class")
    total = 0
    for split in _splits(dataset):
        for batch in dataset.batches(split, [ROW, WIDTH, HEIGHT, OBJECTS]):
            for row in batch.to_pylist():
                total += len(row[OBJECTS])
                if any(not _is_sound(entry, row, len(dataset.labels)) for entry in row[OBJECTS]):
                    rule.broken_by([f"row {row[ROW]} of {split}"])
    rule.found = f"{total:,} boxes"
    return rule


def _is_sound(entry: dict[str, Any], row: dict[str, Any], classes: int) -> bool:
    left, top, right, bottom = entry["box"]
    inside = 0 <= left < right <= row[WIDTH] and 0 <= top < bottom <= row[HEIGHT]
    return bool(0 <= entry[LABEL] < classes and (inside or entry["rotation"]))  # a turned box may reach beyond


def _content(dataset: Dataset) -> str:
    """Return the column that tells whether two rows are the same, "" where none does."""
    return next((column for column in (TEXT, IMAGE) if column in dataset.schema.names), "")


def _keys(batch: pa.RecordBatch, column: str) -> Keys:
    if column == TEXT:
        return keys_of_texts(batch.column(TEXT).to_pylist())
    return keys_of_pictures(batch.column(IMAGE))


def _check_leaks(dataset: Dataset, folder: Path) -> Rule:
    """Find what is the same in two splits: a model would be measured on what it learned by heart."""
    column = _content(dataset)
    alike = {
        TEXT: "no text is in two splits (case, commas, full stops, quotation marks and spaces aside)",
        IMAGE: "no picture is in two splits",
    }
    rule = Rule(alike[column])
    files = KeyFiles(folder / "keys", sum(dataset.rows(split) for split in _splits(dataset)))
    for number, split in enumerate(_splits(dataset)):
        for batch in dataset.batches(split, [column, ROW]):
            files.add(_keys(batch, column), batch.column(ROW).to_numpy(), number)
    for entries in files.repeated():
        for index, first in enumerate(first_of_each(entries) if len(entries) else []):
            one, other = entries[first], entries[index]
            if one["group"] != other["group"]:
                where = [f"row {entry['position']} of {_splits(dataset)[entry['group']]}" for entry in (one, other)]
                rule.broken_by([" = ".join(where)])
    return rule
