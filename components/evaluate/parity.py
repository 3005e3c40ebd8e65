"""Component for toolchain.evaluate.parity."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def parity(
    accuracy: dsl.Input[dsl.Artifact],
    parity: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    flips: int = 100,
):
    """Compare the predictions of every variant with those of the reference, and with those of its float model.

    Args:
        accuracy: The measurement of accuracy, with all predictions.
        parity: Agreement, drops with paired intervals, cosine similarity and the rows with other predictions, for each
            variant.
        metrics: The lowest agreements and the largest drop of all variants.
        resamples: Number of paired bootstrap resamples; 1000 give the second digit of a 95 % bound.
        confidence: Confidence level of the intervals, 0..1.
        seed: Random seed of the bootstrap.
        flips: Maximum number of rows with a different prediction to list per variant.
    """
    from pathlib import Path

    from toolchain.evaluate.parity import Config, run

    config = Config(resamples=resamples, confidence=confidence, seed=seed, flips=flips)
    result = run(Path(accuracy.path), Path(parity.path), config)
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("lowest_agreement", result.lowest_agreement)
    metrics.log_metric("lowest_origin_agreement", result.lowest_origin_agreement)
    metrics.log_metric("max_accuracy_drop", result.max_accuracy_drop)
