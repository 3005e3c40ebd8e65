"""Check the values of each row with pandera, batch by batch."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, ROW, TEXT, Dataset
from toolchain.data.validate.rules import Rule
from toolchain.data.validate.settings import TYPES, Config
from toolchain.data.validate.splits import required_splits
from toolchain.progress import Progress

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import Check


def check_rows(dataset: Dataset, config: Config) -> list[Rule]:
    """Return the rules on values of columns, with the rows that break them."""
    from pandera.errors import SchemaErrors
    from pandera.pandas import Column, DataFrameSchema

    checks = _checks(dataset, config)
    rules = {str(check.error): Rule(str(check.error)) for of_column in checks.values() for check in of_column}
    schema = DataFrameSchema({name: Column(checks=checks[name], nullable=True) for name in _scalar_columns(dataset)})
    for split, frame in _frames(dataset):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # pandera's own, about how it collects failures
                schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            for rule, cases in errors.failure_cases.groupby("check", sort=False):
                rows = [f"row {int(row)} of {split}" for row in cases["index"].dropna()]
                rules[str(rule)].add_breaks(rows or [f"all rows of {split}"])
    return list(rules.values())


def _checks(dataset: Dataset, config: Config) -> dict[str, list["Check"]]:
    """Return pandera's checks by column; the ``error`` of each is the text of the rule."""
    from pandas.api import types
    from pandera.pandas import Check

    names, last = dataset.schema.names, len(dataset.labels) - 1
    checks: dict[str, list[Check]] = {name: [] for name in _scalar_columns(dataset)}
    checks[ROW].append(Check.ge(0, error="row is a number from 0"))
    if TEXT in names:
        checks[TEXT].append(
            _check("text is not blank", lambda text: text.notna() & (text.fillna("").str.strip() != ""))
        )
    if dataset.labels and LABEL in names:
        rule = f"label is one of {', '.join(dataset.labels)}"
        checks[LABEL].append(_check(rule, lambda label: label.notna() & label.between(0, last)))
    for column, name in config.column_types.items():
        checks[column].append(_check(f"{column} has type {name}", getattr(types, TYPES[name])))
    for column, (low, high) in config.column_ranges.items():
        checks[column].append(Check.in_range(low, high, error=f"{column} is from {low:g} to {high:g}"))
    return checks


def _check(rule: str, holds: Any) -> "Check":
    from pandera.pandas import Check

    return Check(holds, error=rule, ignore_na=False)


def _scalar_columns(dataset: Dataset) -> list[str]:
    """Return the columns of single values; images and lists have other checks."""
    return [column.name for column in dataset.schema if not pa.types.is_nested(column.type)]


def _frames(dataset: Dataset) -> Iterator[tuple[str, "pd.DataFrame"]]:
    """Yield each split's rows as pandas frames, indexed by the row's number in the source."""
    import pandas as pd

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}  # otherwise nulls turn columns into floats
    splits = required_splits(dataset)
    with Progress("validate", sum(map(dataset.rows, splits)), "rows") as progress:
        for split in splits:
            for batch in dataset.batches(split, _scalar_columns(dataset)):
                yield split, batch.to_pandas(types_mapper=nullable.get).set_index(ROW, drop=False)
                progress.advance(batch.num_rows)
