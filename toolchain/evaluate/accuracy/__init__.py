"""Accuracy: how often, where and how surely each variant of a classifier is right, all on the same rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import LABEL, ROW, TEXT, Dataset, open_dataset
from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.model import Model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, Variants, open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate.accuracy.scores import Ints, by_class, by_length, calibration, confuse, intervals, roc, softmax
from toolchain.inference import Logits, open_session
from toolchain.intervals import Bootstrap
from toolchain.preprocess import Preprocessor, predict, preprocessor_of
from toolchain.processor import usable_cores
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


@dataclass(frozen=True, kw_only=True)
class Config:
    split: str = "test"  # rows that no earlier step has learned or chosen from
    threads: int = 0  # inferences side by side, each on one thread; 0: as many as cores that this process may use
    resamples: int = 1000  # draws of the bootstrap: enough for the second digit of a 95 % bound
    confidence: float = 0.95  # share of intervals that hold the true figure, 0..1
    seed: int = 0  # of the bootstrap
    bins: int = 15  # of the calibration error, as Guo et al. 2017 (arXiv 1706.04599) use
    lengths: list[int] = field(default_factory=lambda: [16, 32, 64])  # tokens: longest text of each slice but the last

    def __post_init__(self) -> None:
        Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)
        if not self.split:
            raise ConfigError("split must name a split, got an empty string; 'test' is usual")
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}: give a number of threads, or 0 for every core")
        if self.bins < 2:
            raise ConfigError(f"bins is {self.bins}: calibration needs 2 bins at least, 15 is usual")
        if self.lengths != sorted({int(length) for length in self.lengths if length >= 1}):
            raise ConfigError(f"lengths is {self.lengths}: give rising numbers of tokens, such as [16, 32, 64]")


@dataclass(frozen=True)
class Rows:
    """The rows that every variant answers, in order; their texts or pictures stay on disk."""

    numbers: Ints  # int64 (rows,): each row's number in its source
    labels: Ints  # int64 (rows,): positions in ``names``
    names: list[str]  # class names


@dataclass(frozen=True)
class Result:
    rows: int
    variants: int
    accuracy: float  # of the reference, 0..1, like the rates that follow
    f1: float  # macro average
    worst_class_accuracy: float
    calibration_error: float
    lowest_accuracy: float  # of all variants
    labels: list[str]
    confusion: list[list[int]]  # a row for each true class
    false_positive_rates: list[float]  # of the ROC curve's points, thresholds falling
    true_positive_rates: list[float]
    thresholds: list[float]


def measure(logits: Logits, lengths: Ints, rows: Rows, config: Config) -> dict[str, Any]:
    """Return what the answers of one variant say about it.

    Args:
        logits: float32 of shape (rows, labels).
        lengths: int64 of shape (rows,): the tokens of each text, 1 for each picture.

    Returns:
        accuracy and f1 (macro) with intervals; the worst class by recall; precision, recall, f1 and rows per class; the
        confusion matrix (a row for each true class); ROC; calibration; accuracy by length, of texts. Rates are 0..1.
    """
    probabilities, predicted = softmax(logits), logits.argmax(axis=1)
    confusion = confuse(predicted, rows.labels, len(rows.names))
    classes = by_class(confusion, rows.names)
    worst = min((entry for entry in classes if entry["rows"]), key=lambda entry: entry["recall"])
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    return {
        **intervals(confusion, bootstrap),
        "worst_class_accuracy": worst["recall"],
        "worst_class": worst["label"],
        "per_class": classes,
        "confusion": confusion.tolist(),
        "roc": roc(probabilities, rows.labels),
        "calibration": calibration(probabilities, rows.labels, config.bins),
        "slices": by_length(lengths, predicted == rows.labels, [int(length) for length in config.lengths])
        if lengths.max(initial=0) > 1
        else [],
    }


def run(variants: Path, dataset: Path, accuracy: Path, config: Config) -> Result:
    """Measure every one of ``variants`` on the same rows of ``dataset`` and write the measurement ``accuracy``.

    Beside the figures stands each answer, in predictions.parquet: row, variant, label, predicted, length, logits.

    Raises:
        ArtifactError: an input is damaged, or a variant cannot be run or answers with what is no number.
        DataError: the split is missing or empty, or its classes are not the model's.
    """
    models, data = open_variants(variants), open_dataset(dataset)
    work = Work("evaluate.accuracy", config, variants=models, dataset=data)
    preprocessor = preprocessor_of(models.reference)
    data.require(preprocessor.column)
    rows = read_rows(data, models.reference, config.split)
    lengths = _lengths(data, preprocessor, config.split)
    found: dict[str, Any] = {}
    with new_measurement(accuracy, "accuracy", work) as writer:
        with disk_space_reported(accuracy), pq.ParquetWriter(writer.folder / PREDICTIONS, SCHEMA) as file:
            for model, logits in _answers(models, data, rows, config):
                file.write_table(_table(model.variant, logits, lengths, rows))
                kind = {"backend": model.signature.backend, "origin": model.signature.origin}
                found[model.variant] = {**kind, **measure(logits, lengths, rows, config)}
        writer.data = {"split": config.split, "rows": len(rows.labels), "labels": rows.names, "variants": found}
        work.metrics |= {f"accuracy_{name}": entry["accuracy"]["value"] for name, entry in found.items()}
    return _result(writer.data)


def read_rows(data: Dataset, model: Model, split: str) -> Rows:
    """Return the rows of ``split``, after a check that ``model`` knows their classes."""
    data.require(ROW, LABEL)
    names = list(model.signature.labels)
    if list(data.labels) != names:
        raise DataError(f"{data.path} has the classes {', '.join(data.labels)}; the model has {', '.join(names)}")
    table = data.table(split, [ROW, LABEL])
    if not table.num_rows:
        raise DataError(f"the {split} split of {data.path} is empty: nothing can be measured on it")
    labels = table.column(LABEL).to_numpy().astype(np.int64)
    if labels.min() < 0 or labels.max() >= len(names):
        span = f"{labels.min()}..{labels.max()}"
        raise DataError(f"the {split} split of {data.path} has labels {span}; its {len(names)} classes start at 0")
    return Rows(table.column(ROW).to_numpy().astype(np.int64), labels, names)


def _lengths(data: Dataset, preprocessor: Preprocessor, split: str) -> Ints:
    if preprocessor.column != TEXT:
        return np.ones(data.rows(split), np.int64)
    texts = (batch.column(TEXT).to_pylist() for batch in data.batches(split, [TEXT]))
    return np.array([preprocessor.length(ids) for part in texts for ids in preprocessor.prepare(part)], np.int64)


def _answers(models: Variants, data: Dataset, rows: Rows, config: Config) -> Iterator[tuple[Model, Logits]]:
    for model in track(models.models.values(), "accuracy", len(models.models), "variants"):
        logits = _answer(model, data, config.split, config.threads or usable_cores())
        if logits.shape != (len(rows.labels), len(rows.names)):
            raise ArtifactError(f"{model.path} answers {logits.shape}; {(len(rows.labels), len(rows.names))} is due")
        if not np.isfinite(logits).all():
            broken = int((~np.isfinite(logits)).any(axis=1).sum())
            raise ArtifactError(f"{model.path} answers {broken} of {len(logits)} rows with no number; make it again")
        yield model, logits


def _answer(model: Model, data: Dataset, split: str, threads: int) -> Logits:
    """Return the logits of all rows of ``split``, read batch by batch."""
    session, preprocessor = open_session(model, streams=threads), preprocessor_of(model)
    column = preprocessor.column
    parts = (batch.column(column).to_pylist() for batch in data.batches(split, [column]))
    return np.concatenate([predict(session, preprocessor, part, streams=threads) for part in parts if part])


def _table(variant: str, logits: Logits, lengths: Ints, rows: Rows) -> pa.Table:
    columns = [rows.numbers, [variant] * len(logits), rows.labels, logits.argmax(axis=1), lengths, list(logits)]
    arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _result(data: dict[str, Any]) -> Result:
    reference = data["variants"][REFERENCE]
    points = reference["roc"]["points"]
    return Result(
        rows=data["rows"],
        variants=len(data["variants"]),
        accuracy=reference["accuracy"]["value"],
        f1=reference["f1"]["value"],
        worst_class_accuracy=reference["worst_class_accuracy"],
        calibration_error=reference["calibration"]["expected_error"],
        lowest_accuracy=min(entry["accuracy"]["value"] for entry in data["variants"].values()),
        labels=data["labels"],
        confusion=reference["confusion"],
        false_positive_rates=[point["false_positive_rate"] for point in points],
        true_positive_rates=[point["true_positive_rate"] for point in points],
        thresholds=[point["threshold"] for point in points],
    )
