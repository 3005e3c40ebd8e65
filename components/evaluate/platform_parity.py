"""Component for toolchain.evaluate.platform_parity."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def platform_parity(
    variants: dsl.Input[dsl.Model],
    accuracy: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    platform_parity: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    architecture: str = "arm64",
    environment: str = ".venv-arm64/environment.json",
    all_variants: bool = False,
    timeout_s: int = 900,
):
    """Compare predictions on another CPU architecture, native or emulated, with the recorded ones.

    Args:
        variants: The variants of one model.
        accuracy: The measurement of accuracy, with the expected predictions of a few single rows.
        verdict: The gate's verdict.
        platform_parity: How labels and scores compare with the recorded ones, or why the check was skipped.
        metrics: Numbers of variants, rows, equal labels and equal scores, and the largest difference.
        architecture: CPU architecture to check: arm64; "": skip the check.
        environment: Environment made by `make arm64`; not used on arm64 itself.
        all_variants: Check all variants instead of the selected one and fp32.
        timeout_s: Time limit per variant in seconds; emulated, 16 texts take a six-layer BERT half a minute.
    """
    from pathlib import Path

    from toolchain.evaluate.platform_parity import Config, run

    config = Config(architecture=architecture, environment=environment, all_variants=all_variants, timeout_s=timeout_s)
    result = run(Path(variants.path), Path(accuracy.path), Path(verdict.path), Path(platform_parity.path), config)
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("matching_labels", result.matching_labels)
    metrics.log_metric("matching_scores", result.matching_scores)
    metrics.log_metric("max_difference", result.max_difference)
