"""Rules that look at one row at a time: missing values, repair of text, its length, the query, the class."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import LABEL, ROW, TEXT
from toolchain.data.clean.conditions import class_names, classify, holds
from toolchain.data.clean.settings import Config, has_queries
from toolchain.data.clean.tally import Tally
from toolchain.errors import DataError
from toolchain.text_repair import repair

REPAIRS_SHOWN = 5  # repaired texts that a person is shown


def clean(batches: Iterable[pa.RecordBatch], config: Config, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` after the rules that look at one row at a time: missing, repair, length, query, classes.

    The label column, where there is one, comes out as class names (string). ``tally`` counts what falls.
    """
    for batch in batches:
        for name in _needed(batch.schema.names, config):
            batch = tally.keep(f"{name} is missing", batch, _present(batch.column(name)))
        if TEXT in batch.schema.names:
            batch = _clean_text(batch, config, tally)
        if config.query:
            batch = tally.keep(f"not {config.query}", batch, holds(batch, config.query))
        yield _with_classes(batch, config, tally)


def _needed(names: list[str], config: Config) -> list[str]:
    """Return the columns that must have a value; a raw label is none of them where queries say the class."""
    standard = [name for name in (TEXT, LABEL) if name in names and not (name == LABEL and has_queries(config.labels))]
    return list(dict.fromkeys([*standard, *config.required]))


def _present(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which ``values`` are there: neither null, nor NaN, nor blank."""
    present = pc.is_valid(values)
    if pa.types.is_floating(values.type):
        present = pc.and_(present, pc.invert(pc.fill_null(pc.is_nan(values), True)))
    if pa.types.is_string(values.type):
        present = pc.and_(present, pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(values), ""), False))
    return np.asarray(present.to_numpy(zero_copy_only=False), dtype=bool)


def _clean_text(batch: pa.RecordBatch, config: Config, tally: Tally) -> pa.RecordBatch:
    if config.repair_text:
        batch = _repair(batch, tally)
    lengths = pc.utf8_length(batch.column(TEXT)).to_numpy(zero_copy_only=False)
    rule = f"text is shorter than {config.minimum_characters} characters"
    batch = tally.keep(rule, batch, lengths >= config.minimum_characters)
    lengths = lengths[lengths >= config.minimum_characters]
    rule = f"text is longer than {config.maximum_characters:,} characters"
    return tally.keep(rule, batch, lengths <= config.maximum_characters)


def _repair(batch: pa.RecordBatch, tally: Tally) -> pa.RecordBatch:
    texts, rows = batch.column(TEXT).to_pylist(), batch.column(ROW)
    repaired = [repair(text) for text in texts]
    for index, (text, damage) in enumerate(repaired):
        if damage:
            tally.repaired_rows += 1
            tally.repaired.update(damage)
            if len(tally.repairs) < REPAIRS_SHOWN:
                tally.repairs.append({"row": rows[index].as_py(), "before": texts[index], "after": text})
    return _set_column(batch, TEXT, pa.array([text for text, _ in repaired], pa.string()))


def _with_classes(batch: pa.RecordBatch, config: Config, tally: Tally) -> pa.RecordBatch:
    if config.labels:
        classes = classify(batch, config.labels)
        if config.other_labels == "refuse" and not has_queries(config.labels):
            _refuse_others(batch, classes)
        if LABEL in batch.schema.names and not has_queries(config.labels):
            others = class_names(batch.column(LABEL).filter(classes.is_null()), tally.spellings)
            tally.other_labels.update(others.to_pylist())
        batch = _set_column(batch, LABEL, classes)
        return tally.keep("label is in no class", batch, classes.is_valid().to_numpy(zero_copy_only=False))
    return (
        _set_column(batch, LABEL, class_names(batch.column(LABEL), tally.spellings))
        if LABEL in batch.schema.names
        else batch
    )


def _refuse_others(batch: pa.RecordBatch, classes: pa.Array) -> None:
    if classes.null_count:
        index = pc.index(classes.is_null(), True).as_py()
        label, row = (batch.column(name)[index].as_py() for name in (LABEL, ROW))
        raise DataError(f"label {label!r} of row {row} is in no class; list it in labels, or set other_labels=drop")


def _set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    columns = {column: values if column == name else batch.column(column) for column in batch.schema.names}
    return pa.record_batch({**columns, name: values})
