"""Clean: keep the rows that a model can learn from, mend their text, name their classes, and say what fell and why."""

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
from toolchain.data.clean.conditions import MAX_CLASSES, are_no_classes, in_order, no_classes
from toolchain.data.clean.outliers import Usual, numbers
from toolchain.data.clean.repeats import CONFLICT, LOOKALIKE, REPEAT, SIMILAR, Fates, Repeats
from toolchain.data.clean.rules import clean
from toolchain.data.clean.settings import Config
from toolchain.data.clean.tally import Tally
from toolchain.errors import DataError
from toolchain.progress import Progress, say
from toolchain.text_repair import VERSION

__all__ = ["Config", "Result", "clean", "run"]

OTHERS_SHOWN = 10  # raw labels that are in no class

FATES = {
    CONFLICT: "says the same as another row that has another label",
    REPEAT: "repeats an earlier row",
    LOOKALIKE: "says the same as an earlier row, case, commas, full stops, quotation marks and spaces aside",
    SIMILAR: "is similar to an earlier row",
}


@dataclass(frozen=True)
class Result:
    rows_in: int
    rows_out: int
    repaired: int  # rows whose text was mended
    classes: int


def run(raw: Path, dataset: Path, config: Config) -> Result:
    """Write the dataset at ``raw``, cleaned, to ``dataset``.

    Two passes: the first applies the rules for single rows, sets what passes aside on disk and notes what repeats and
    what is usual; the second leaves out repeats and outliers. Memory holds one batch, and 1 byte for each row.

    Raises:
        DataError: a column is missing or of the wrong type, a query fails, there are too many classes, or no row is
            left.
        ArtifactError: ``raw`` is no dataset, or was changed.
    """
    source = open_dataset(raw)
    source.require(*_named(config))
    work = Work(CLEAN, config, raw=source)
    dataset.parent.mkdir(parents=True, exist_ok=True)
    with disk_space_reported(dataset), tempfile.TemporaryDirectory(prefix=".clean-", dir=dataset.parent) as folder:
        first = _FirstPass(source, Path(folder), config)
        _print_other_labels(first.tally)
        rows = _write(dataset, source, first, work)
    return Result(_total(source), rows, first.tally.repaired_rows, len(first.classes))


def _named(config: Config) -> list[str]:
    """Return the columns that ``config`` speaks of by name."""
    raw_labels = [LABEL] if any(isinstance(meaning, list) for meaning in config.labels.values()) else []
    return [*config.required, *config.duplicate_columns, *config.outlier_columns, *raw_labels]


class _FirstPass:
    """The rows that passed the rules for single rows, set aside on disk, and what the second pass must know of them."""

    def __init__(self, source: Dataset, folder: Path, config: Config) -> None:
        self.config, self.tally = config, Tally()
        self.classes: Counter[str] = Counter(dict.fromkeys(config.labels, 0))
        self.usual = {name: Usual() for name in config.outlier_columns}
        self._aside = folder / "rows.arrow"
        self._splits: list[str] = []  # of the batches that are set aside
        empty = next(clean([_no_rows(source.schema)], config, self.tally))
        self.repeats = _repeats(empty.schema, folder, _total(source), config)
        self.schema = empty.schema
        self._read(source)
        if not config.labels and are_no_classes(self.classes):
            raise no_classes(self.classes)

    def batches(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Yield the rows that were set aside, in order, with their split."""
        with pa.OSFile(str(self._aside)) as file, pa.ipc.open_stream(file) as aside:
            yield from zip(self._splits, aside, strict=True)

    def _read(self, source: Dataset) -> None:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(self._aside), "wb") as file, pa.ipc.new_stream(file, self.schema, options=options) as aside:
            for batch in clean(self._shown(source), self.config, self.tally):
                aside.write_batch(batch)
                self.repeats.see(batch)
                self._note(batch)

    def _shown(self, source: Dataset) -> Iterator[pa.RecordBatch]:
        """Yield the rows of all splits, noting the split of each batch; of repeats the first split keeps its row."""
        with Progress("clean", _total(source), "rows") as progress:
            for split in source.splits:
                for batch in source.batches(split):
                    self._splits.append(split)
                    yield batch
                    progress.advance(batch.num_rows)

    def _note(self, batch: pa.RecordBatch) -> None:
        for name, usual in self.usual.items():
            usual.see(numbers(batch, name))
        self.classes.update(_class_counts(batch))
        if len(self.classes) > MAX_CLASSES:
            raise no_classes(self.classes)


def _total(source: Dataset) -> int:
    """Return the number of rows in all splits of ``source``."""
    return sum(map(source.rows, source.splits))


def _class_counts(batch: pa.RecordBatch) -> dict[str, int]:
    if LABEL not in batch.schema.names:
        return {}
    counted = pc.value_counts(batch.column(LABEL))
    return dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))


def _no_rows(schema: pa.Schema) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], column.type) for column in schema], schema=schema)


def _repeats(schema: pa.Schema, folder: Path, rows: int, config: Config) -> Repeats:
    if config.duplicates == "similar" and TEXT not in schema.names:
        raise DataError("duplicates=similar compares texts, and there is no text column; use normalized or exact")
    compared = [TEXT] if TEXT in schema.names else [name for name in schema.names if name not in (ROW, LABEL)]
    return Repeats(folder, rows, config.duplicates, config.duplicate_columns or compared, config.similarity)


def _write(dataset: Path, source: Dataset, first: _FirstPass, work: Work) -> int:
    """Write the rows that are left, with what happened to the others; return how many are left."""
    labels = in_order(first.classes)
    schema = pa.schema([(each.name, pa.int64() if each.name == LABEL else each.type) for each in first.schema])
    total = _total(source)
    work.metrics |= {"rows_in": float(total), "rows_repaired": float(first.tally.repaired_rows)}
    rows, classes = 0, Counter(dict.fromkeys(labels, 0))
    with new_dataset(dataset, schema, work, labels, source) as writer:
        for split in source.splits:
            writer.write(split, _positions(_no_rows(first.schema), labels))
        for split, batch in _second_pass(first):
            writer.write(split, _positions(batch, labels))
            rows += batch.num_rows
            classes.update(_class_counts(batch))
        for rule, fell in first.tally.rows.items():
            writer.drop(rule, fell, first.tally.examples[rule])
        if not rows:
            raise DataError(f"no row is left of {total:,}: {_worst(first.tally)}; loosen that rule")
        work.metrics["rows_out"] = float(rows)
        writer.note(_note(classes, first.tally, first.config))
    return rows


def _second_pass(first: _FirstPass) -> Iterator[tuple[str, pa.RecordBatch]]:
    config, tally = first.config, first.tally
    fates = first.repeats.fates(config.drop_conflicts)
    bounds = {name: usual.bounds(config.outlier_method, config.outlier_limit) for name, usual in first.usual.items()}
    begin = 0
    for split, batch in first.batches():
        end = begin + batch.num_rows
        batch = _without_repeats(batch, fates[begin:end], config, tally)
        for name, (low, high) in bounds.items():
            values = numbers(batch, name)
            rule = f"{name} is an outlier: outside {low:.4g} to {high:.4g} ({config.outlier_method})"
            batch = tally.keep(rule, batch, ~((values < low) | (values > high)))
        begin = end
        yield split, batch


def _without_repeats(batch: pa.RecordBatch, fates: Fates, config: Config, tally: Tally) -> pa.RecordBatch:
    for fate, rule in FATES.items():
        if _applies(fate, config):
            batch = tally.keep(rule, batch, fates != fate)
            fates = fates[fates != fate]
    return batch


def _applies(fate: int, config: Config) -> bool:
    """Whether the rule behind ``fate`` is asked for, so that it is reported even where it met no row."""
    conflicts = config.drop_conflicts and config.duplicates != "off"
    asked = {CONFLICT: conflicts, REPEAT: config.duplicates != "off", SIMILAR: config.duplicates == "similar"}
    return asked.get(fate, config.duplicates in ("normalized", "similar"))


def _positions(batch: pa.RecordBatch, labels: tuple[str, ...]) -> pa.RecordBatch:
    """Return ``batch`` with class names as their positions in ``labels`` (int64)."""
    if LABEL not in batch.schema.names:
        return batch
    index = batch.schema.get_field_index(LABEL)
    positions = pc.index_in(batch.column(LABEL), pa.array(labels, pa.string())).cast(pa.int64())
    return batch.set_column(index, LABEL, positions)


def _worst(tally: Tally) -> str:
    rule, rows = max(tally.rows.items(), key=lambda entry: entry[1], default=("no rule", 0))
    return f"{rows:,} fell because {rule!r}"


def _note(classes: Counter[str], tally: Tally, config: Config) -> dict[str, object]:
    repaired = {"rows": tally.repaired_rows, "by": dict(tally.repaired), "examples": tally.repairs}
    version = VERSION if config.repair_text else ""
    others = dict(tally.other_labels.most_common(OTHERS_SHOWN))
    return {"classes": dict(classes), "repaired": repaired, "text_repair": version, "other_labels": others}


def _print_other_labels(tally: Tally) -> None:
    """Print which raw labels are in no class: one of them may be a misspelt one."""
    others = tally.other_labels
    if others:
        shown = ", ".join(f"{label} ({rows:,})" for label, rows in others.most_common(OTHERS_SHOWN))
        say(f"clean: {others.total():,} rows dropped, their labels are in no class: {shown}")
