"""Component for toolchain.data.validate."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def validate(
    dataset: dsl.Input[dsl.Dataset],
    checks: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    min_rows: int = 20,
    min_class_fraction: float = -1.0,
    min_test_rows: int = 100,
    column_types: dict[str, str] = {},
    column_ranges: dict[str, list[float]] = {},
):
    """Check the split data against rules, and stop the run if rules are broken.

    Args:
        dataset: A dataset with the splits train, validation and test.
        checks: The rules that were checked.
        metrics: rules, rows and smallest_share, the share of the rarest class among the training rows.
        min_rows: Minimum number of rows in each split; with fewer, one row is worth more than 5 points of accuracy.
        min_class_fraction: Minimum fraction of the rarest class among the training rows; -1: a tenth of an equal share;
            0: no minimum.
        min_test_rows: Minimum number of test rows (for detection: boxes) for the gate to select a variant.
        column_types: Expected types of columns: {"stars": "integer"}; text, integer, number or boolean.
        column_ranges: Allowed values of columns, inclusive: {"stars": [1, 5]}.
    """
    from pathlib import Path

    from toolchain.data.validate import Config, run

    result = run(
        Path(dataset.path),
        Path(checks.path),
        Config(
            min_rows=min_rows,
            min_class_fraction=min_class_fraction,
            min_test_rows=min_test_rows,
            column_types=column_types,
            column_ranges=column_ranges,
        ),
    )
    metrics.log_metric("rules", result.rules)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("smallest_share", result.smallest_share)
