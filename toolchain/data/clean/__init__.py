"""Clean a dataset: drop rows that a model cannot learn from, repair text, and name classes; count drops by rule."""

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import CLEAN, LABEL, ROW, TEXT, Dataset, new_dataset, open_dataset
from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.provenance import Work
from toolchain.data.clean.conditions import MAX_CLASSES, not_classes_error, seem_continuous, sort_classes
from toolchain.data.clean.duplicates import CONFLICT, DUPLICATE, NEAR_DUPLICATE, NORMALIZED, Duplicates, Outcomes
from toolchain.data.clean.outliers import ColumnStatistics, numeric_values
from toolchain.data.clean.rules import clean
from toolchain.data.clean.settings import Config
from toolchain.data.clean.tally import Tally
from toolchain.errors import DataError
from toolchain.progress import Progress, log_info
from toolchain.text_repair import VERSION

__all__ = ["Config", "Result", "clean", "run"]

MAX_OTHER_LABELS = 10  # raw labels outside all classes that are listed

RULES = {
    CONFLICT: "duplicate of a row with a different label",
    DUPLICATE: "duplicate of an earlier row",
    NORMALIZED: "duplicate of an earlier row, ignoring case, commas, full stops, quotation marks and spaces",
    NEAR_DUPLICATE: "near-duplicate of an earlier row",
}


@dataclass(frozen=True)
class Result:
    rows_in: int
    rows_out: int
    repaired: int  # rows whose text was repaired
    classes: int


def run(raw: Path, dataset: Path, config: Config) -> Result:
    """Write the dataset at ``raw``, cleaned, to ``dataset``.

    The first pass applies the rules for single rows, writes the remaining rows to a temporary file, and collects
    duplicates and column statistics. The second pass drops duplicates and outliers. Memory holds one batch and 1 byte
    per row.

    Raises:
        DataError: a column is missing or of the wrong type, a query fails, there are too many classes, or no rows are
            left.
        ArtifactError: ``raw`` is not a dataset, or was modified.
    """
    source = open_dataset(raw)
    source.require(*_configured_columns(config))
    work = Work(CLEAN, config, raw=source)
    dataset.parent.mkdir(parents=True, exist_ok=True)
    with disk_space_reported(dataset), tempfile.TemporaryDirectory(prefix=".clean-", dir=dataset.parent) as folder:
        first = _FirstPass(source, Path(folder), config)
        _print_other_labels(first.tally)
        rows = _write(dataset, source, first, work)
    return Result(_total_rows(source), rows, first.tally.repaired_rows, len(first.classes))


def _configured_columns(config: Config) -> list[str]:
    """Return the columns that ``config`` names."""
    raw_labels = [LABEL] if any(isinstance(definition, list) for definition in config.labels.values()) else []
    return [*config.required_columns, *config.duplicate_columns, *config.outlier_columns, *raw_labels]


class _FirstPass:
    """The rows that passed the rules for single rows, in a temporary file, with duplicates and column statistics."""

    def __init__(self, source: Dataset, folder: Path, config: Config) -> None:
        self.config, self.tally = config, Tally()
        self.classes: Counter[str] = Counter(dict.fromkeys(config.labels, 0))
        self.statistics = {name: ColumnStatistics() for name in config.outlier_columns}
        self._file = folder / "rows.arrow"
        self._splits: list[str] = []  # of the batches in the file
        empty = next(clean([_empty_batch(source.schema)], config, self.tally))
        self.duplicates = _duplicates(empty.schema, folder, _total_rows(source), config)
        self.schema = empty.schema
        self._read(source)
        if not config.labels and seem_continuous(self.classes):
            raise not_classes_error(self.classes)

    def batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the remaining rows, in order, with their split."""
        with pa.OSFile(str(self._file)) as file, pa.ipc.open_stream(file) as stream:
            yield from zip(self._splits, stream, strict=True)

    def _read(self, source: Dataset) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(self._file), "wb") as file, pa.ipc.new_stream(file, self.schema, options=options) as stream:
            for batch in clean(self._source_batches(source), self.config, self.tally):
                stream.write_batch(batch)
                self.duplicates.add(batch)
                self._count(batch)

    def _source_batches(self, source: Dataset) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all splits and record the split of each batch; duplicates are kept in the first split."""
        with Progress("clean", _total_rows(source), "rows") as progress:
            for split in source.splits:
                for batch in source.batches(split):
                    self._splits.append(split)
                    yield batch
                    progress.advance(batch.num_rows)

    def _count(self, batch: pa.RecordBatch) -> None:
        for name, statistics in self.statistics.items():
            statistics.add(numeric_values(batch, name))
        self.classes.update(_class_counts(batch))
        if len(self.classes) > MAX_CLASSES:
            raise not_classes_error(self.classes)


def _total_rows(source: Dataset) -> int:
    return sum(map(source.rows, source.splits))


def _class_counts(batch: pa.RecordBatch) -> dict[str, int]:
    if LABEL not in batch.schema.names:
        return {}
    counted = pc.value_counts(batch.column(LABEL))
    return dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))


def _empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], column.type) for column in schema], schema=schema)


def _duplicates(schema: pa.Schema, folder: Path, rows: int, config: Config) -> Duplicates:
    if config.duplicates == "similar" and TEXT not in schema.names:
        raise DataError("duplicates=similar compares texts, but there is no text column; use normalized or exact")
    compared = [TEXT] if TEXT in schema.names else [name for name in schema.names if name not in (ROW, LABEL)]
    return Duplicates(folder, rows, config.duplicates, config.duplicate_columns or compared, config.similarity)


def _write(dataset: Path, source: Dataset, first: _FirstPass, work: Work) -> int:
    """Write the remaining rows and the counts of dropped ones; return the number of remaining rows."""
    labels = sort_classes(first.classes)
    schema = pa.schema([(each.name, pa.int64() if each.name == LABEL else each.type) for each in first.schema])
    total = _total_rows(source)
    work.metrics |= {"rows_in": float(total), "rows_repaired": float(first.tally.repaired_rows)}
    rows, classes = 0, Counter(dict.fromkeys(labels, 0))
    with new_dataset(dataset, schema, work, labels, source) as writer:
        for split in source.splits:
            writer.write(split, _with_label_indices(_empty_batch(first.schema), labels))
        for split, batch in _second_pass(first):
            writer.write(split, _with_label_indices(batch, labels))
            rows += batch.num_rows
            classes.update(_class_counts(batch))
        for rule, dropped in first.tally.rows.items():
            writer.drop(rule, dropped, first.tally.examples[rule])
        if not rows:
            raise DataError(f"all {total:,} rows were dropped: {_strictest_rule(first.tally)}; relax that rule")
        work.metrics["rows_out"] = float(rows)
        writer.note(_note(classes, first.tally, first.config))
    return rows


def _second_pass(first: _FirstPass) -> Iterator[tuple[str, pa.RecordBatch]]:
    config, tally = first.config, first.tally
    outcomes = first.duplicates.outcomes(config.drop_conflicts)
    bounds = {
        name: statistics.bounds(config.outlier_method, config.outlier_threshold)
        for name, statistics in first.statistics.items()
    }
    begin = 0
    for split, batch in first.batches():
        end = begin + batch.num_rows
        batch = _without_duplicates(batch, outcomes[begin:end], config, tally)
        for name, (low, high) in bounds.items():
            values = numeric_values(batch, name)
            rule = f"{name} is an outlier: outside {low:.4g} to {high:.4g} ({config.outlier_method})"
            batch = tally.keep(rule, batch, ~((values < low) | (values > high)))
        begin = end
        yield split, batch


def _without_duplicates(batch: pa.RecordBatch, outcomes: Outcomes, config: Config, tally: Tally) -> pa.RecordBatch:
    for outcome, rule in RULES.items():
        if _is_enabled(outcome, config):
            batch = tally.keep(rule, batch, outcomes != outcome)
            outcomes = outcomes[outcomes != outcome]
    return batch


def _is_enabled(outcome: int, config: Config) -> bool:
    """Return whether the rule for ``outcome`` is enabled; an enabled rule is reported even if it drops no rows."""
    enabled = {
        CONFLICT: config.drop_conflicts and config.duplicates != "off",
        DUPLICATE: config.duplicates != "off",
        NORMALIZED: config.duplicates in ("normalized", "similar"),
        NEAR_DUPLICATE: config.duplicates == "similar",
    }
    return enabled[outcome]


def _with_label_indices(batch: pa.RecordBatch, labels: tuple[str, ...]) -> pa.RecordBatch:
    """Return ``batch`` with class names replaced by their indices in ``labels`` (int64)."""
    if LABEL not in batch.schema.names:
        return batch
    indices = pc.index_in(batch.column(LABEL), pa.array(labels, pa.string())).cast(pa.int64())
    return batch.set_column(batch.schema.get_field_index(LABEL), LABEL, indices)


def _strictest_rule(tally: Tally) -> str:
    rule, rows = max(tally.rows.items(), key=lambda entry: entry[1], default=("no rule", 0))
    return f"{rows:,} by the rule {rule!r}"


def _note(classes: Counter[str], tally: Tally, config: Config) -> dict[str, object]:
    repaired = {"rows": tally.repaired_rows, "by_type": dict(tally.repaired), "examples": tally.repairs}
    version = VERSION if config.repair_text else ""
    others = dict(tally.other_labels.most_common(MAX_OTHER_LABELS))
    return {"classes": dict(classes), "repaired": repaired, "text_repair": version, "other_labels": others}


def _print_other_labels(tally: Tally) -> None:
    """Print the raw labels that belong to no class: one of them may be misspelled."""
    others = tally.other_labels
    if others:
        listed = ", ".join(f"{label} ({rows:,})" for label, rows in others.most_common(MAX_OTHER_LABELS))
        log_info(f"clean: {others.total():,} rows dropped because their label belongs to no class: {listed}")
