"""Architecture: toolchain.evaluate.platform_parity, in the image that runs optimized models."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def platform_parity(
    variants: dsl.Input[dsl.Model],
    accuracy: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    elsewhere: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    architecture: str = "arm64",
    environment: str = ".venv-arm64/environment.json",
    every_variant: bool = False,
    seconds: int = 900,
):
    """Ask the gate's winner the recorded rows on a processor of another architecture, natively or emulated.

    Args:
        variants: The variants of the model.
        accuracy: What they answered, with a few answers to single rows.
        verdict: What the gate found.
        elsewhere: Whether labels and scores agree, for each variant that was tried; or why none was.
        metrics: How many variants were tried and rows asked, how many were answered alike, and the largest difference.
        architecture: "arm64", or "" for none.
        environment: Of the arm64 Python that `make arm64` makes; not read on arm64 itself.
        every_variant: Whether all are tried, in place of the winner and fp32.
        seconds: For each variant.
    """
    from pathlib import Path

    from toolchain.evaluate.platform_parity import Config, run

    config = Config(architecture=architecture, environment=environment, every_variant=every_variant, seconds=seconds)
    result = run(Path(variants.path), Path(accuracy.path), Path(verdict.path), Path(elsewhere.path), config)
    metrics.log_metric("tried", result.tried)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("matching_labels", result.matching_labels)
    metrics.log_metric("matching_scores", result.matching_scores)
    metrics.log_metric("max_difference", result.max_difference)
