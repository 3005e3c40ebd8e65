"""Apply the rules for single rows: missing values, text repair, text length, query and class."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from toolchain.artifacts.dataset import LABEL, ROW, TEXT
from toolchain.data.clean.conditions import class_names, classify, matching_rows
from toolchain.data.clean.settings import Config, has_queries
from toolchain.data.clean.tally import Tally
from toolchain.errors import DataError
from toolchain.text_repair import repair

MAX_REPAIR_EXAMPLES = 5


def clean(batches: Iterable[pa.RecordBatch], config: Config, tally: Tally) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` after the rules for single rows.

    The label column, if there is one, then has class names (string). ``tally`` counts the dropped rows.
    """
    for batch in batches:
        for name in _required_columns(batch.schema.names, config):
            batch = tally.keep(f"{name} is missing", batch, _present(batch.column(name)))
        if TEXT in batch.schema.names:
            batch = _clean_text(batch, config, tally)
        if config.query:
            batch = tally.keep(f"query is not true: {config.query}", batch, matching_rows(batch, config.query))
        yield _with_classes(batch, config, tally)


def _required_columns(names: list[str], config: Config) -> list[str]:
    """Return the columns that must have a value; the raw label is optional if queries define the classes."""
    standard = [name for name in (TEXT, LABEL) if name in names and not (name == LABEL and has_queries(config.labels))]
    return list(dict.fromkeys([*standard, *config.required_columns]))


def _present(values: pa.Array) -> npt.NDArray[np.bool_]:
    """Return which ``values`` are neither null, NaN nor blank."""
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
    rule = f"text is shorter than {config.min_characters} characters"
    batch = tally.keep(rule, batch, lengths >= config.min_characters)
    lengths = lengths[lengths >= config.min_characters]
    rule = f"text is longer than {config.max_characters:,} characters"
    return tally.keep(rule, batch, lengths <= config.max_characters)


def _repair(batch: pa.RecordBatch, tally: Tally) -> pa.RecordBatch:
    texts, rows = batch.column(TEXT).to_pylist(), batch.column(ROW)
    repaired = [repair(text) for text in texts]
    for index, (text, damage_types) in enumerate(repaired):
        if damage_types:
            tally.repaired_rows += 1
            tally.repaired.update(damage_types)
            if len(tally.repairs) < MAX_REPAIR_EXAMPLES:
                tally.repairs.append({"row": rows[index].as_py(), "before": texts[index], "after": text})
    return _set_column(batch, TEXT, pa.array([text for text, _ in repaired], pa.string()))


def _with_classes(batch: pa.RecordBatch, config: Config, tally: Tally) -> pa.RecordBatch:
    if config.labels:
        classes = classify(batch, config.labels)
        if config.unknown_label == "fail" and not has_queries(config.labels):
            _check_labels(batch, classes)
        if LABEL in batch.schema.names and not has_queries(config.labels):
            others = class_names(batch.column(LABEL).filter(classes.is_null()), tally.spellings)
            tally.other_labels.update(others.to_pylist())
        batch = _set_column(batch, LABEL, classes)
        return tally.keep("label belongs to no class", batch, classes.is_valid().to_numpy(zero_copy_only=False))
    if LABEL not in batch.schema.names:
        return batch
    return _set_column(batch, LABEL, class_names(batch.column(LABEL), tally.spellings))


def _check_labels(batch: pa.RecordBatch, classes: pa.Array) -> None:
    """Raise DataError if a label belongs to no class."""
    if classes.null_count:
        index = pc.index(classes.is_null(), True).as_py()
        label, row = (batch.column(name)[index].as_py() for name in (LABEL, ROW))
        raise DataError(
            f"label {label!r} of row {row} belongs to no class; add it to a class in labels, or set unknown_label=drop"
        )


def _set_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    columns = {column: values if column == name else batch.column(column) for column in batch.schema.names}
    return pa.record_batch({**columns, name: values})
