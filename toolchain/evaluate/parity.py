"""Compare the predictions of each variant with those of the reference and of its origin."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from toolchain.artifacts.columns import ROW
from toolchain.artifacts.measurement import Measurement, new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE
from toolchain.errors import ConfigError, DataError
from toolchain.inference.evaluation import evaluation_of
from toolchain.metrics.bootstrap import Bootstrap

PREDICTIONS = "predictions.parquet"  # in the measurement of accuracy
DEFAULT_THRESHOLD = 0.5  # of tasks whose predictions have none


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
class Result:
    variants: int
    lowest_agreement: float  # with the reference, 0..1, over all variants
    lowest_origin_agreement: float  # with the origin of each converted variant, 0..1; 1 without any
    max_accuracy_drop: float  # the reference's accuracy minus a variant's, over all variants


def run(accuracy: Path, parity: Path, config: Config) -> Result:
    """Compare the predictions in the measurement ``accuracy`` and write the measurement ``parity``.

    Raises:
        ArtifactError: ``accuracy`` is damaged or another type of measurement.
        DataError: the variants have predictions for different rows, or the origin of one is missing.
    """
    measured = open_measurement(accuracy, "accuracy")
    work = Work("evaluate.parity", config, accuracy=measured)
    origins = _origins(measured)
    compared = _compare(measured, {name: origin or REFERENCE for name, origin in origins.items()}, config)
    found = {name: {"origin": origins[name], **entry} for name, entry in compared.items()}
    with new_measurement(parity, "parity", work) as writer:
        writer.data = {key: measured.data[key] for key in ("task", "rows", "objects") if key in measured.data} | {
            "reference": REFERENCE,
            "variants": found,
        }
        work.metrics |= {f"agreement_{name}": entry["agreement"]["value"] for name, entry in found.items()}
    return _result(found)


def _origins(measured: Measurement) -> dict[str, str]:
    """Return the variant that each was converted from, "" where there is none."""
    origins = {name: entry["origin"] for name, entry in measured.data["variants"].items()}
    for name, origin in origins.items():
        if origin and origin not in origins:
            raise DataError(
                f"{name} was converted from {origin!r}, which was not measured; there are {', '.join(origins)}"
            )
    return origins


def _compare(measured: Measurement, origins: dict[str, str], config: Config) -> dict[str, Any]:
    evaluation = evaluation_of(measured.data["task"], measured.data["labels"])
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    threshold = measured.data.get("threshold", DEFAULT_THRESHOLD)
    return evaluation.compare(_tables(measured), origins, threshold, bootstrap, config.flips)


def _tables(measured: Measurement) -> dict[str, pa.Table]:
    """Return the predictions by variant, after checking that all are for the same rows."""
    table = pq.read_table(measured.path / PREDICTIONS)
    tables = {name: table.filter(pc.equal(table.column("variant"), name)) for name in measured.data["variants"]}
    for name, own in tables.items():
        if not own.column(ROW).equals(tables[REFERENCE].column(ROW)):
            raise DataError(f"{name} and {REFERENCE} have predictions for different rows; measure accuracy again")
    return tables


def _result(found: dict[str, Any]) -> Result:
    repeating = [entry["origin_agreement"]["value"] for entry in found.values() if entry["origin"]]
    return Result(
        variants=len(found),
        lowest_agreement=min(entry["agreement"]["value"] for entry in found.values()),
        lowest_origin_agreement=min(repeating, default=1.0),
        max_accuracy_drop=max(entry["accuracy_drop"]["value"] for entry in found.values()),
    )
