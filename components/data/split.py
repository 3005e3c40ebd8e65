"""Split: toolchain.data.split, in the base image."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def split(
    dataset: dsl.Input[dsl.Dataset],
    splits: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    group_column: str = "",
    rows: int = 0,
):
    """Part a dataset into training, validation and test rows that share no text and no group.

    Args:
        dataset: A cleaned dataset with one split, "all".
        splits: The same rows in train, validation and test.
        metrics: rows_train, rows_validation, rows_test and rows_left_out.
        validation: Share of the rows that training is stopped and tuned by.
        test: Share of the rows that are only measured on.
        seed: Another seed gives another split.
        group_column: Rows with the same value stay in one split; "" for none.
        rows: Training rows at most; 0 for all.
    """
    from pathlib import Path

    from toolchain.data.split import Config, run

    result = run(
        Path(dataset.path),
        Path(splits.path),
        Config(validation=validation, test=test, seed=seed, group_column=group_column, rows=rows),
    )
    metrics.log_metric("rows_train", result.train)
    metrics.log_metric("rows_validation", result.validation)
    metrics.log_metric("rows_test", result.test)
    metrics.log_metric("rows_left_out", result.left_out)
