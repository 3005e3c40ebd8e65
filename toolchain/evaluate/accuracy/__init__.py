"""Measure the accuracy of all variants of a model on the same rows: metrics, intervals, calibration, slices."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.folder import disk_space_reported
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, open_variants
from toolchain.errors import ConfigError
from toolchain.evaluate.accuracy.measuring import measure_variants
from toolchain.evaluate.accuracy.profiling import record_profiles
from toolchain.evaluate.accuracy.recording import record_expected
from toolchain.hardware.cpu import usable_cores
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.settings import MetricSettings


@dataclass(frozen=True, kw_only=True)
class Config:
    split: str = "test"  # Split to measure on, which training must not have used.
    threads: int = 0  # Number of parallel inferences, one thread each; 0: one per usable core.
    resamples: int = 1000  # Number of bootstrap resamples; 1000 give the second digit of a 95 % bound.
    confidence: float = 0.95  # Confidence level of the intervals, 0..1.
    seed: int = 0  # Random seed of the bootstrap.
    bins: int = 15  # Number of bins of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599).
    # Upper length of each slice by text length but the last, in tokens.
    lengths: list[int] = field(default_factory=lambda: [16, 32, 64])

    def __post_init__(self) -> None:
        Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)
        if not self.split:
            raise ConfigError("split is empty: give the name of a split, such as test")
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}: give a number of threads, or 0 for one on each core")
        if self.bins < 2:
            raise ConfigError(f"bins is {self.bins}: calibration needs at least 2 bins, such as 15")
        if self.lengths != sorted({int(length) for length in self.lengths if length >= 1}):
            raise ConfigError(f"lengths is {self.lengths}: give increasing numbers of tokens, such as [16, 32, 64]")


@dataclass(frozen=True)
class Result:
    rows: int
    variants: int
    accuracy: float  # of the reference, 0..1, as are the following rates; of a detector: mAP50
    f1: float  # macro average
    worst_class_accuracy: float
    calibration_error: float  # 0 for a detector, whose scores are not probabilities of classes
    lowest_accuracy: float  # of all variants
    labels: list[str]  # of the matrix; of a detector also "background": no object, or not detected
    confusion: list[list[int]]  # a row for each true class
    false_positive_rates: list[float]  # of the ROC curve's points, by decreasing threshold
    true_positive_rates: list[float]
    thresholds: list[float]


def run(variants: Path, dataset: Path, accuracy: Path, config: Config) -> Result:
    """Measure all ``variants`` on the same rows of ``dataset`` and write the measurement ``accuracy``.

    The measurement also contains predictions.parquet with all predictions (of classifiers row, variant, label,
    predicted, length and logits; of detectors the columns of toolchain.metrics.detections.table), and
    expected/<variant>/ with the predictions for a few single rows and a profile of all rows, for serving and
    monitoring.

    Raises:
        ArtifactError: an input is damaged, or a variant does not run or predicts NaN or Inf.
        DataError: the split is missing or empty, or its classes are not the model's.
    """
    models, data = open_variants(variants), open_dataset(dataset)
    work = Work("evaluate.accuracy", config, variants=models, dataset=data)
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    settings = MetricSettings(bootstrap, config.bins, [int(length) for length in config.lengths])
    threads = config.threads or usable_cores()
    with new_measurement(accuracy, "accuracy", work) as writer:
        with disk_space_reported(accuracy):
            found = measure_variants(models, data, writer.folder, config.split, threads, settings)
            threshold = found.get("threshold", 0.5)
            record_expected(models, data, config.split, writer.folder, threshold)
            record_profiles(models, data, config.split, writer.folder, threshold)
        writer.data = {"task": models.reference.signature.task, "split": config.split, **found}
        work.metrics |= {f"accuracy_{name}": entry["accuracy"]["value"] for name, entry in found["variants"].items()}
    return _result(writer.data)


def _result(data: dict[str, Any]) -> Result:
    reference = data["variants"][REFERENCE]
    points = reference["roc"]["points"] if "roc" in reference else []
    return Result(
        rows=data["rows"],
        variants=len(data["variants"]),
        accuracy=reference["accuracy"]["value"],
        f1=reference["f1"]["value"],
        worst_class_accuracy=reference["worst_class_accuracy"],
        calibration_error=reference["calibration"]["expected_error"] if "calibration" in reference else 0.0,
        lowest_accuracy=min(entry["accuracy"]["value"] for entry in data["variants"].values()),
        labels=data["confusion_labels"],
        confusion=reference["confusion"],
        false_positive_rates=[point["false_positive_rate"] for point in points],
        true_positive_rates=[point["true_positive_rate"] for point in points],
        thresholds=[point["threshold"] for point in points],
    )
