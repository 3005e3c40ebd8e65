"""Component for toolchain.data.split."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def split(
    dataset: dsl.Input[dsl.Dataset],
    splits: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 0,
    group_column: str = "",
    max_train_rows: int = 0,
):
    """Split a dataset into training, validation and test rows that have no text, no image and no group in common.

    Args:
        dataset: A dataset with one split, "all", or with some of the splits.
        splits: The rows in train, validation and test.
        metrics: rows_train, rows_validation, rows_test and rows_unused.
        validation_fraction: Fraction of the rows for validation, if the source has no such split; 1,000 rows resolve 2
            points of accuracy.
        test_fraction: Fraction of the rows for the test, if the source has no such split.
        seed: Random seed.
        group_column: Column whose equal values (one author, one patient, one source_image) stay in one split; "": no
            groups.
        max_train_rows: Maximum number of training rows, stratified by class; 0: all. The test rows do not change.
    """
    from pathlib import Path

    from toolchain.data.split import Config, run

    result = run(
        Path(dataset.path),
        Path(splits.path),
        Config(
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            seed=seed,
            group_column=group_column,
            max_train_rows=max_train_rows,
        ),
    )
    metrics.log_metric("rows_train", result.train)
    metrics.log_metric("rows_validation", result.validation)
    metrics.log_metric("rows_test", result.test)
    metrics.log_metric("rows_unused", result.unused)
