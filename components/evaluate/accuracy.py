"""Component for toolchain.evaluate.accuracy."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def accuracy(
    variants: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    accuracy: dsl.Output[dsl.Artifact],
    classification: dsl.Output[dsl.ClassificationMetrics],
    metrics: dsl.Output[dsl.Metrics],
    split: str = "test",
    threads: int = 0,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    bins: int = 15,
    lengths: list[int] = [16, 32, 64],
):
    """Measure accuracy, calibration and slices of every variant, all on the same rows.

    Args:
        variants: The variants of one model.
        dataset: The rows; the model was not trained on those of the measured split.
        accuracy: Accuracy, F1, classes, confusion matrix, ROC, calibration and slices of each variant, and all
            predictions.
        classification: Confusion matrix and ROC curve of the reference.
        metrics: Metrics of the reference, and the lowest accuracy of all variants.
        split: Split to measure on, which training must not have used.
        threads: Number of parallel inferences, one thread each; 0: one per usable core.
        resamples: Number of bootstrap resamples; 1000 give the second digit of a 95 % bound.
        confidence: Confidence level of the intervals, 0..1.
        seed: Random seed of the bootstrap.
        bins: Number of bins of the calibration error, as in Guo et al. 2017 (arXiv 1706.04599).
        lengths: Upper length of each slice by text length but the last, in tokens.
    """
    from pathlib import Path

    from toolchain.evaluate.accuracy import Config, run

    config = Config(
        split=split, threads=threads, resamples=resamples, confidence=confidence, seed=seed, bins=bins, lengths=lengths
    )
    result = run(Path(variants.path), Path(dataset.path), Path(accuracy.path), config)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("accuracy", result.accuracy)
    metrics.log_metric("f1", result.f1)
    metrics.log_metric("worst_class_accuracy", result.worst_class_accuracy)
    metrics.log_metric("calibration_error", result.calibration_error)
    metrics.log_metric("lowest_accuracy", result.lowest_accuracy)
    classification.log_confusion_matrix(result.labels, result.confusion)
    classification.log_roc_curve(result.false_positive_rates, result.true_positive_rates, result.thresholds)
