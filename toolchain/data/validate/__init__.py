"""Validate: check the split data against rules, and stop the run with the broken rules and the rows that break them."""

import tempfile
from pathlib import Path

from toolchain.artifacts.dataset import OBJECTS, Dataset, open_dataset
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.data.validate.classes import check_counts, count_classes, shares_of
from toolchain.data.validate.leaks import check_leaks, content_column
from toolchain.data.validate.objects import check_objects
from toolchain.data.validate.rows import check_rows
from toolchain.data.validate.rules import Rule
from toolchain.data.validate.settings import Config, Result
from toolchain.data.validate.splits import TEST, required_splits
from toolchain.errors import DataError
from toolchain.progress import log_warning

__all__ = ["Config", "Result", "run", "validate"]

ClassCounts = dict[str, dict[str, int]]


def validate(dataset: Dataset, class_counts: ClassCounts, config: Config, folder: Path) -> list[Rule]:
    """Return every rule with the rows that break it.

    ``folder`` is an empty folder for the keys by which content is compared across splits (28 bytes for each row).
    """
    rules = check_rows(dataset, config)
    rules += check_counts(dataset, class_counts, config)
    if OBJECTS in dataset.schema.names:
        rules.append(check_objects(dataset))
    if content_column(dataset):
        rules.append(check_leaks(dataset, folder))
    return rules


def run(dataset: Path, checks: Path, config: Config) -> Result:
    """Check the splits of ``dataset``, and write the rules that were checked to ``checks``.

    Raises:
        DataError: rules are broken: a line for each, with the rows; nothing is written.
    """
    source = open_dataset(dataset)
    source.require(*config.column_types, *config.column_ranges)
    work = Work("data.validate", config, dataset=source)
    class_counts = count_classes(source)
    with tempfile.TemporaryDirectory(prefix="validate-") as folder:
        rules = validate(source, class_counts, config, Path(folder))
    broken = [rule.message for rule in rules if rule.is_broken]
    if broken:
        raise DataError("\n".join([f"{dataset} breaks {len(broken)} of {len(rules)} rules", *broken]))
    _warn_about_few_test_rows(source, class_counts, config)
    rows = {split: source.rows(split) for split in required_splits(source)}
    result = Result(len(rules), sum(rows.values()), _smallest_share(class_counts))
    work.metrics |= {"rules": float(result.rules), "rows": float(result.rows), "smallest_share": result.smallest_share}
    with new_measurement(checks, "checks", work) as writer:
        passed = [{"rule": rule.text, "passed": True, "detail": rule.detail} for rule in rules]
        writer.data = {"rules": passed, "class_counts": class_counts, "rows": rows}
    return result


def _smallest_share(class_counts: ClassCounts) -> float:
    """Return the share of the rarest class among the training rows, 1.0 if there are no classes."""
    return min(shares_of(next(iter(class_counts.values()))).values(), default=1.0)


def _warn_about_few_test_rows(dataset: Dataset, class_counts: ClassCounts, config: Config) -> None:
    """Warn before hours of training that the gate needs more test rows: see ``min_rows`` of evaluate.gate."""
    if OBJECTS in dataset.schema.names:
        rows, unit = sum(class_counts[TEST].values()), "boxes"
    else:
        rows, unit = dataset.rows(TEST), "rows"
    if rows < config.min_test_rows:
        log_warning(
            f"the test split has {rows:,} {unit}; the gate needs {config.min_test_rows:,} to select a faster variant, "
            "so fp32 will be selected. Add rows, or increase test_fraction (of data.split)"
        )
