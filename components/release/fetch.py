"""Component for toolchain.release.fetch."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def fetch(
    variants: dsl.Output[dsl.Model],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    model: str = "",
):
    """Fetch the variants of a registered model, and the rows that they were measured on.

    Args:
        variants: The variants that were registered together.
        dataset: The test rows that were stored with them.
        metrics: Numbers of variants and of rows.
        model: Registered model: name (its last registration), name@alias or name:version; required.
    """
    from pathlib import Path

    from toolchain.release.fetch import Config, run

    result = run(Path(variants.path), Path(dataset.path), Config(model=model))
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("rows", result.rows)
