"""Measure classifiers: predict the rows of a split with each variant and compute its metrics."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import LABEL, ROW, TEXT, Dataset
from toolchain.artifacts.model import Model
from toolchain.artifacts.variants import REFERENCE, Variants
from toolchain.errors import ArtifactError, DataError
from toolchain.evaluate.accuracy.saliency import explain_worst
from toolchain.evaluate.accuracy.scores import (
    Ints,
    against_baseline,
    by_class,
    by_length,
    calibration,
    confuse,
    intervals,
    roc,
)
from toolchain.inference.batch_prediction import predict
from toolchain.inference.class_output import softmax
from toolchain.inference.runtime import Logits, open_session
from toolchain.inference.tasks import Task, task_of
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.progress import track

PREDICTIONS = "predictions.parquet"
SCHEMA = pa.schema(
    [
        (ROW, pa.int64()),
        ("variant", pa.string()),
        (LABEL, pa.int64()),
        ("predicted", pa.int64()),
        ("length", pa.int64()),
        ("logits", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class Rows:
    """The rows to predict, in order; their texts or images stay on disk."""

    numbers: Ints  # int64 (rows,): each row's number in its source
    labels: Ints  # int64 (rows,): indices into ``names``
    names: list[str]  # class names


def measure_variants(
    models: Variants,
    data: Dataset,
    folder: Path,
    *,
    split: str,
    threads: int,
    bootstrap: Bootstrap,
    bins: int,
    lengths: list[int],
) -> dict[str, Any]:
    """Return the metrics of ``models`` on ``split``, and write all predictions to ``folder``."""
    task = task_of(models.reference)
    data.require(task.column)
    rows, sizes = read_rows(data, models.reference, split), _lengths(data, task, split)
    found: dict[str, Any] = {}
    all_logits: dict[str, Logits] = {}
    with pq.ParquetWriter(folder / PREDICTIONS, SCHEMA) as file:
        for model, logits in _predict_all(models, data, rows, split, threads):
            file.write_table(_table(model.variant, logits, sizes, rows))
            origin = {"backend": model.signature.backend, "origin": model.signature.origin}
            found[model.variant] = {**origin, **measure(logits, sizes, rows, bootstrap, bins, lengths)}
            all_logits[model.variant] = logits
    result = {"rows": len(rows.labels), "labels": rows.names, "confusion_labels": rows.names, "variants": found}
    if task.column == TEXT:
        return result
    return {**result, "saliency": explain_worst(models.reference, data, split, all_logits[REFERENCE], rows.labels)}


def measure(
    logits: Logits, lengths: Ints, rows: Rows, bootstrap: Bootstrap, bins: int, slices: list[int]
) -> dict[str, Any]:
    """Return the metrics of one variant.

    Args:
        logits: float32 of shape (rows, labels).
        lengths: int64 of shape (rows,): the tokens of each text, 1 for each image.
        rows: The rows with their true labels.
        bootstrap: Computes the intervals.
        bins: Number of bins of the calibration error.
        slices: Longest text of each slice but the last, in tokens.

    Returns:
        accuracy and f1 (macro) with intervals; the worst class by recall; the comparison with a baseline that always
        predicts the most frequent class; precision, recall, f1 and rows per class; the confusion matrix (a row for each
        true class); ROC; calibration; accuracy by length of texts. Rates are 0..1.
    """
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    confusion = confuse(predicted, rows.labels, len(rows.names))
    classes = by_class(confusion, rows.names)
    worst = min((entry for entry in classes if entry["rows"]), key=lambda entry: entry["recall"])
    return {
        **intervals(confusion, bootstrap),
        "worst_class_accuracy": worst["recall"],
        "worst_class": worst["label"],
        "baseline": against_baseline(confusion, rows.names),
        "per_class": classes,
        "confusion": confusion.tolist(),
        "roc": roc(probabilities, rows.labels),
        "calibration": calibration(probabilities, rows.labels, bins),
        "slices": by_length(lengths, predicted == rows.labels, slices) if lengths.max(initial=0) > 1 else [],
    }


def read_rows(data: Dataset, model: Model, split: str) -> Rows:
    """Return the rows of ``split``, after checking that their classes are those of ``model``."""
    data.require(ROW, LABEL)
    names = list(model.signature.labels)
    if list(data.labels) != names:
        raise DataError(f"{data.path} has the classes {', '.join(data.labels)}; the model has {', '.join(names)}")
    table = data.table(split, [ROW, LABEL])
    if not table.num_rows:
        raise DataError(f"the {split} split of {data.path} is empty: give a split with rows")
    labels = table.column(LABEL).to_numpy().astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(names):
        span = f"{labels.min()}..{labels.max()}"
        raise DataError(f"the {split} split of {data.path} has labels {span}: expected 0 to {len(names) - 1}")
    return Rows(table.column(ROW).to_numpy().astype(np.int64), labels, names)


def _lengths(data: Dataset, task: Task, split: str) -> Ints:
    if task.column != TEXT:
        return np.ones(data.rows(split), np.int64)
    texts = (batch.column(TEXT).to_pylist() for batch in data.batches(split, [TEXT]))
    return np.array([task.input.length(ids) for part in texts for ids in task.input.prepare(part)], np.int64)


def _predict_all(
    models: Variants, data: Dataset, rows: Rows, split: str, threads: int
) -> Iterator[tuple[Model, Logits]]:
    for model in track(models.models.values(), "accuracy", len(models.models), "variants"):
        logits = _predict(model, data, split, threads)
        if logits.shape != (len(rows.labels), len(rows.names)):
            raise ArtifactError(
                f"{model.path} has output {logits.shape}, expected {(len(rows.labels), len(rows.names))}"
            )
        if not np.isfinite(logits).all():
            broken = int((~np.isfinite(logits)).any(axis=1).sum())
            raise ArtifactError(f"{model.path} predicts NaN or Inf for {broken} of {len(logits)} rows; export it again")
        yield model, logits


def _predict(model: Model, data: Dataset, split: str, threads: int) -> Logits:
    """Return the logits of all rows of ``split``, read batch by batch."""
    session, task = open_session(model, streams=threads), task_of(model)
    column = task.column
    parts = (batch.column(column).to_pylist() for batch in data.batches(split, [column]))
    return np.concatenate([predict(session, task.input, part, streams=threads) for part in parts if part])


def _table(variant: str, logits: Logits, lengths: Ints, rows: Rows) -> pa.Table:
    columns = [rows.numbers, [variant] * len(logits), rows.labels, logits.argmax(axis=1), lengths, list(logits)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
