"""Component for toolchain.data.validate."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def validate(
    dataset: dsl.Input[dsl.Dataset],
    checks: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    minimum_rows: int = 20,
    minimum_share: float = -1.0,
    gate_rows: int = 100,
    types: dict[str, str] = {},
    ranges: dict[str, list[float]] = {},
):
    """Check the split data against rules, and stop the run if rules are broken.

    Args:
        dataset: A dataset with the splits train, validation and test.
        checks: The rules that were checked.
        metrics: rules, rows and smallest_share, the share of the rarest class among the training rows.
        minimum_rows: Minimum number of rows in each split.
        minimum_share: Minimum share of each class among the training rows; -1: a tenth of an equal share; 0: none.
        gate_rows: Test rows (boxes for detection) that the gate needs; fewer give a warning.
        types: Column to "text", "integer", "number" or "boolean".
        ranges: Column to [lowest, highest].
    """
    from pathlib import Path

    from toolchain.data.validate import Config, run

    result = run(
        Path(dataset.path),
        Path(checks.path),
        Config(minimum_rows=minimum_rows, minimum_share=minimum_share, gate_rows=gate_rows, types=types, ranges=ranges),
    )
    metrics.log_metric("rules", result.rules)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("smallest_share", result.smallest_share)
