"""Check the number of rows of each split and class."""

from math import floor

import pyarrow.compute as pc

from toolchain.artifacts.dataset import LABEL, OBJECTS, Dataset
from toolchain.data.validate.rules import Rule
from toolchain.data.validate.settings import AUTOMATIC, Config
from toolchain.data.validate.splits import required_splits

MIN_PART_OF_EQUAL_SHARE = 0.1  # equal share: that of each class if all had the same number of rows


def count_classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Return the rows (or the objects) of each class by split; {} for each split if there are no classes."""
    counts = {split: dict.fromkeys(dataset.labels, 0) for split in required_splits(dataset)}
    column = LABEL if LABEL in dataset.schema.names else OBJECTS
    for split in counts if dataset.labels else ():
        for batch in dataset.batches(split, [column]):
            labels = batch.column(column) if column == LABEL else batch.column(column).flatten().field(LABEL)
            for entry in pc.value_counts(labels).to_pylist():
                if entry["values"] is not None and 0 <= entry["values"] < len(dataset.labels):
                    counts[split][dataset.labels[entry["values"]]] += entry["counts"]
    return counts


def shares_of(counts: dict[str, int]) -> dict[str, float]:
    """Return the share of each class, 0..1."""
    return {name: rows / max(sum(counts.values()), 1) for name, rows in counts.items()}


def check_counts(dataset: Dataset, counts: dict[str, dict[str, int]], config: Config) -> list[Rule]:
    """Return the rules on numbers of rows, with the splits and classes that break them."""
    rules = [_check_split_sizes(dataset, config)]
    if dataset.labels:
        shares = shares_of(next(iter(counts.values())))  # of the training rows, or of the only split
        if LABEL in dataset.schema.names:  # a detector may have a single class
            rules.append(_check_several_classes(shares))
        if minimum := _minimum_share(config, len(shares)):
            rules.append(_check_rare_classes(shares, minimum))
        rules.append(_check_every_split(counts))
    return rules


def _check_split_sizes(dataset: Dataset, config: Config) -> Rule:
    rows = {split: dataset.rows(split) for split in required_splits(dataset)}
    rule = Rule(f"each split has {config.min_rows} rows or more")
    rule.advice = "add rows, increase the shares of validation and test, or set min_rows"
    rule.found = ", ".join(f"{split} {count:,}" for split, count in rows.items())
    rule.add_breaks([f"{split} with {count:,}" for split, count in rows.items() if count < config.min_rows])
    return rule


def _check_several_classes(shares: dict[str, float]) -> Rule:
    rule = Rule("there are two classes or more", found=", ".join(shares))
    present = [name for name, share in shares.items() if share]
    if len(present) < 2:
        rule.add_breaks([f"the training split, which has {', '.join(present) or 'none'} only"])
    return rule


def _check_rare_classes(shares: dict[str, float], minimum: float) -> Rule:
    rule = Rule(f"each class is {minimum * 100:.2g}% or more of the training rows")
    rule.found = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
    rule.add_breaks([f"{name} with {share:.1%}" for name, share in shares.items() if share < minimum])
    smallest = floor(min(shares.values()) * 1000) / 1000
    rule.advice = f"add rows of rare classes, merge them with others, or set min_class_fraction={smallest:g}"
    return rule


def _check_every_split(counts: dict[str, dict[str, int]]) -> Rule:
    rule = Rule("each class is in each split")
    rule.advice = "add rows of the class, increase the shares of validation and test, or merge classes"
    rule.add_breaks(
        [f"{name} not in {split}" for split, classes in counts.items() for name, rows in classes.items() if not rows]
    )
    return rule


def _minimum_share(config: Config, classes: int) -> float:
    """Return the minimum share of each of ``classes`` among the training rows, 0..1."""
    return MIN_PART_OF_EQUAL_SHARE / classes if config.min_class_fraction == AUTOMATIC else config.min_class_fraction
