"""Fetch: toolchain.release.fetch, in the image that publishes."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def fetch(
    variants: dsl.Output[dsl.Model],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    model: str = "",
):
    """Bring a registered model's variants back, with the rows that they were measured on.

    Args:
        variants: The variants that were registered together.
        dataset: The test rows that were kept with them.
        metrics: How many variants and rows there are.
        model: Registered model: name (its last registration), name@alias or name:version; required.
    """
    from pathlib import Path

    from toolchain.release.fetch import Config, run

    result = run(Path(variants.path), Path(dataset.path), Config(model=model))
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("rows", result.rows)
