"""Compare the predictions of each variant with those of the reference and of its origin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE
from toolchain.errors import ConfigError, DataError
from toolchain.inference.box_output import BoxOutput
from toolchain.inference.tasks import TASKS
from toolchain.metrics.bootstrap import Bootstrap, Counts, Floats
from toolchain.metrics.detections.comparing import compare as compare_boxes
from toolchain.metrics.detections.table import read_table

Ints = NDArray[np.int64]
PREDICTIONS = "predictions.parquet"  # beside the measurement of accuracy
COLUMNS = ["row", "variant", "label", "predicted", "logits"]


@dataclass(frozen=True, kw_only=True)
class Config:
    resamples: int = 1000  # Number of paired bootstrap resamples; 1000 give the second digit of a 95 % bound.
    confidence: float = 0.95  # Confidence level of the intervals, 0..1.
    seed: int = 0  # Random seed of the bootstrap.
    flips: int = 100  # Maximum number of rows with a different prediction to list per variant.

    def __post_init__(self) -> None:
        Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)
        if self.flips < 0:
            raise ConfigError(f"flips is {self.flips}: give the number of rows to list, or 0 for none")


@dataclass(frozen=True)
class Predictions:
    """The predictions of one variant, for the same rows in the same order as all variants."""

    rows: Ints  # int64 (rows,): each row's number in its source
    labels: Ints  # int64 (rows,): the truth
    predicted: Ints  # int64 (rows,)
    logits: Floats  # float64 (rows, labels)


@dataclass(frozen=True)
class Result:
    variants: int
    lowest_agreement: float  # with the reference, 0..1, over all variants
    lowest_origin_agreement: float  # with the origin of each converted variant, 0..1; 1 without any
    max_accuracy_drop: float  # the reference's accuracy minus a variant's, over all variants


def compare(
    variant: Predictions, reference: Predictions, origin: Predictions, names: list[str], config: Config
) -> dict[str, Any]:
    """Return how ``variant`` differs from ``reference``, and from ``origin``, the model it was converted from.

    All rates are 0..1, and all intervals are paired: the rows are resampled once for both sides, so that rows that are
    hard for both do not widen them. Cosine and largest difference are of all logits, against ``origin``.
    """
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    flipped = np.flatnonzero(variant.predicted != reference.predicted)
    return {
        "agreement": agreement(variant, reference, bootstrap),
        "origin_agreement": agreement(variant, origin, bootstrap),
        "accuracy_drop": accuracy_drop(variant, reference, bootstrap),
        "worst_class_drop": worst_class_drop(variant, reference, names, bootstrap),
        "cosine": cosine(variant.logits, origin.logits),
        "max_difference": float(np.abs(variant.logits - origin.logits).max()),
        "flipped": len(flipped),
        "flips": [_flip(variant, reference, names, position) for position in flipped[: config.flips]],
    }


def run(accuracy: Path, parity: Path, config: Config) -> Result:
    """Compare the predictions in the measurement ``accuracy`` and write the measurement ``parity``.

    Raises:
        ArtifactError: ``accuracy`` is damaged or another kind of measurement.
        DataError: the variants have predictions for different rows, or the origin of one is missing.
    """
    measured = open_measurement(accuracy, "accuracy")
    work = Work("evaluate.parity", config, accuracy=measured)
    detects = TASKS[measured.data["task"]].output_type is BoxOutput
    compare_all = _compare_detectors if detects else _compare_classifiers
    origins = {name: entry["origin"] for name, entry in measured.data["variants"].items()}
    for name, origin in origins.items():
        if origin and origin not in origins:
            raise DataError(
                f"{name} was converted from {origin!r}, which was not measured; there are {', '.join(origins)}"
            )
    found = {
        name: {"origin": origins[name], **compared} for name, compared in compare_all(measured, origins, config).items()
    }
    with new_measurement(parity, "parity", work) as writer:
        writer.data = {key: measured.data[key] for key in ("task", "rows", "objects") if key in measured.data} | {
            "reference": REFERENCE,
            "variants": found,
        }
        work.metrics |= {f"agreement_{name}": entry["agreement"]["value"] for name, entry in found.items()}
    return _result(found)


def _compare_classifiers(measured: Measurement, origins: dict[str, str], config: Config) -> dict[str, Any]:
    predictions, names = read_predictions(measured), measured.data["labels"]
    return {
        name: compare(own, predictions[REFERENCE], predictions[origins[name] or REFERENCE], names, config)
        for name, own in predictions.items()
    }


def _compare_detectors(measured: Measurement, origins: dict[str, str], config: Config) -> dict[str, Any]:
    table = pq.read_table(measured.path / PREDICTIONS)
    read = {name: read_table(table.filter(pc.equal(table.column("variant"), name))) for name in origins}
    images = read[REFERENCE][0]
    for name, (own, _) in read.items():
        if [image.row for image in own] != [image.row for image in images]:
            raise DataError(f"{name} and {REFERENCE} have predictions for different rows; measure accuracy again")
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    names, threshold = measured.data["labels"], measured.data["threshold"]
    return {
        name: compare_boxes(
            own,
            read[REFERENCE][1],
            read[origins[name] or REFERENCE][1],
            images,
            names,
            threshold,
            bootstrap,
            config.flips,
        )
        for name, (_, own) in read.items()
    }


def read_predictions(measured: Measurement) -> dict[str, Predictions]:
    """Return the predictions by variant, after checking that all are for the same rows."""
    table = pq.read_table(measured.path / PREDICTIONS, columns=COLUMNS)
    predictions = {
        name: _predictions_of(table.filter(pc.equal(table.column("variant"), name)))
        for name in measured.data["variants"]
    }
    for name, own in predictions.items():
        if not np.array_equal(own.rows, predictions[REFERENCE].rows):
            raise DataError(f"{name} and {REFERENCE} have predictions for different rows; measure accuracy again")
    return predictions


def _predictions_of(table: pa.Table) -> Predictions:
    rows, labels, predicted = (table.column(name).to_numpy() for name in ("row", "label", "predicted"))
    logits = table.column("logits").combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
    return Predictions(rows, labels, predicted, logits.astype(np.float64))


def agreement(one: Predictions, other: Predictions, bootstrap: Bootstrap) -> dict[str, float]:
    """Return the share of rows with the same predicted class, with its interval."""
    same = int((one.predicted == other.predicted).sum())
    cells = np.array([len(one.rows) - same, same], np.int64)
    return bootstrap.of_counts(cells, lambda counts: counts[:, 1] / counts.sum(axis=1)).to_json()


def accuracy_drop(variant: Predictions, reference: Predictions, bootstrap: Bootstrap) -> dict[str, float]:
    """Return the reference's accuracy minus the variant's, with its paired interval; negative: a gain."""
    return bootstrap.of_counts(_outcomes(variant, reference, np.ones_like(variant.rows, bool)), _drop).to_json()


def worst_class_drop(
    variant: Predictions, reference: Predictions, names: list[str], bootstrap: Bootstrap
) -> dict[str, float | str]:
    """Return the recall of the reference's worst class minus that of the variant's, with its paired interval.

    The worst class may differ between them. ``label`` is the variant's.
    """
    present = np.unique(variant.labels)
    cells = np.concatenate([_outcomes(variant, reference, variant.labels == label) for label in present])
    right = [(variant.predicted == label)[variant.labels == label].mean() for label in present]
    return {**bootstrap.of_counts(cells, _worst_drop).to_json(), "label": names[present[int(np.argmin(right))]]}


def cosine(one: Floats, other: Floats) -> float:
    """Return the cosine between the logits of two variants, all rows as one long vector; 1: the same direction."""
    norms = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.vdot(one, other) / norms) if norms else 0.0


def _outcomes(variant: Predictions, reference: Predictions, among: NDArray[np.bool_]) -> Counts:
    """Return the number of rows that both, only the reference, only the variant and neither predict correctly."""
    right, reference_right = ((side.predicted == side.labels)[among] for side in (variant, reference))
    pairs = (reference_right & right, reference_right & ~right, ~reference_right & right, ~reference_right & ~right)
    return np.array([pair.sum() for pair in pairs], np.int64)


def _drop(counts: Counts) -> Floats:
    return np.asarray((counts[:, 1] - counts[:, 2]) / counts.sum(axis=1), np.float64)


def _worst_drop(counts: Counts) -> Floats:
    """Return the drop from ``_outcomes`` of all classes, (resamples, 4 x classes); classes without rows have none."""
    both, reference_only, variant_only, neither = np.moveaxis(counts.reshape(len(counts), -1, 4), 2, 0)
    rows = both + reference_only + variant_only + neither

    def lowest_recall(right: Counts) -> Floats:
        return np.asarray(np.where(rows, right / np.maximum(rows, 1), 1.0).min(axis=1), np.float64)

    return lowest_recall(both + reference_only) - lowest_recall(both + variant_only)


def _flip(variant: Predictions, reference: Predictions, names: list[str], position: int) -> dict[str, Any]:
    classes = {"label": variant.labels, "reference": reference.predicted, "variant": variant.predicted}
    return {"row": int(variant.rows[position]), **{key: names[value[position]] for key, value in classes.items()}}


def _result(found: dict[str, Any]) -> Result:
    repeating = [entry["origin_agreement"]["value"] for entry in found.values() if entry["origin"]]
    return Result(
        variants=len(found),
        lowest_agreement=min(entry["agreement"]["value"] for entry in found.values()),
        lowest_origin_agreement=min(repeating, default=1.0),
        max_accuracy_drop=max(entry["accuracy_drop"]["value"] for entry in found.values()),
    )
