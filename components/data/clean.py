"""Clean: toolchain.data.clean, in the base image."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def clean(
    raw: dsl.Input[dsl.Dataset],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    required: list[str] = [],
    repair_text: bool = True,
    minimum_characters: int = 1,
    maximum_characters: int = 10_000,
    query: str = "",
    labels: dict[str, object] = {},
    other_labels: str = "drop",
    duplicates: str = "normalized",
    duplicate_columns: list[str] = [],
    similarity: float = 0.8,
    drop_conflicts: bool = True,
    outlier_columns: list[str] = [],
    outlier_method: str = "zscore",
    outlier_limit: float = 3.0,
):
    """Keep the rows that a model can learn from, mend their text, name their classes, and say what fell and why.

    Args:
        raw: An ingested dataset.
        dataset: What is left of it, in one split, "all"; label holds positions of its class names.
        metrics: rows_in, rows_out, rows_repaired and classes.
        required: Columns that need a value, besides text and label.
        repair_text: Whether to undo HTML, wrong encoding, control characters and runs of spaces.
        minimum_characters: Of a text.
        maximum_characters: Of a text.
        query: Rows that stay, as pandas writes it ("label > 0"); "" for all.
        labels: Class name to list of raw labels, or to a query; {} makes each raw label a class.
        other_labels: drop or refuse rows of raw labels that labels does not list.
        duplicates: off, exact, normalized (case, commas, full stops, quotation marks and spaces aside) or similar.
        duplicate_columns: Columns that are compared; [] for the text.
        similarity: Of "similar": the share of common three-word runs.
        drop_conflicts: Whether rows that say the same under different labels all fall.
        outlier_columns: Numeric columns whose outliers fall.
        outlier_method: zscore or iqr.
        outlier_limit: Standard deviations, or interquartile ranges beyond the quartiles.
    """
    from pathlib import Path

    from toolchain.data.clean import Config, run

    result = run(
        Path(raw.path),
        Path(dataset.path),
        Config(
            required=required,
            repair_text=repair_text,
            minimum_characters=minimum_characters,
            maximum_characters=maximum_characters,
            query=query,
            labels=labels,
            other_labels=other_labels,
            duplicates=duplicates,
            duplicate_columns=duplicate_columns,
            similarity=similarity,
            drop_conflicts=drop_conflicts,
            outlier_columns=outlier_columns,
            outlier_method=outlier_method,
            outlier_limit=outlier_limit,
        ),
    )
    metrics.log_metric("rows_in", result.rows_in)
    metrics.log_metric("rows_out", result.rows_out)
    metrics.log_metric("rows_repaired", result.repaired)
    metrics.log_metric("classes", result.classes)
