"""Component for toolchain.data.clean."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def clean(
    raw: dsl.Input[dsl.Dataset],
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    required_columns: list[str] = [],
    repair_text: bool = True,
    min_characters: int = 1,
    max_characters: int = 10_000,
    query: str = "",
    labels: dict[str, object] = {},
    unknown_label: str = "drop",
    duplicates: str = "normalized",
    duplicate_columns: list[str] = [],
    similarity: float = 0.8,
    drop_conflicts: bool = True,
    outlier_columns: list[str] = [],
    outlier_method: str = "zscore",
    outlier_threshold: float = 3.0,
):
    """Drop rows that a model cannot learn from, repair text, and name classes; count dropped rows by rule.

    Args:
        raw: An ingested dataset.
        dataset: The remaining rows in the source's splits, or in one, "all"; label is the index of the class name.
        metrics: rows_in, rows_out, rows_repaired and classes.
        required_columns: Columns that need a value, besides text and label.
        repair_text: Repair HTML, wrong encodings, control characters and runs of spaces.
        min_characters: Minimum length of a text.
        max_characters: Maximum length of a text.
        query: Rows to keep, as a pandas query ("label > 0"); "": all.
        labels: Class name to list of raw labels, or to a query; {}: each raw label is a class.
        unknown_label: drop rows whose raw label is not in labels, or fail.
        duplicates: off, exact, normalized (ignoring case, commas, full stops, quotation marks and spaces) or similar.
        duplicate_columns: Columns to compare; []: the text.
        similarity: For "similar": share of common three-word shingles.
        drop_conflicts: Drop all duplicates with different labels, instead of keeping the first.
        outlier_columns: Numeric columns whose outliers are dropped.
        outlier_method: zscore or iqr.
        outlier_threshold: Standard deviations, or interquartile ranges beyond the quartiles.
    """
    from pathlib import Path

    from toolchain.data.clean import Config, run

    result = run(
        Path(raw.path),
        Path(dataset.path),
        Config(
            required_columns=required_columns,
            repair_text=repair_text,
            min_characters=min_characters,
            max_characters=max_characters,
            query=query,
            labels=labels,
            unknown_label=unknown_label,
            duplicates=duplicates,
            duplicate_columns=duplicate_columns,
            similarity=similarity,
            drop_conflicts=drop_conflicts,
            outlier_columns=outlier_columns,
            outlier_method=outlier_method,
            outlier_threshold=outlier_threshold,
        ),
    )
    metrics.log_metric("rows_in", result.rows_in)
    metrics.log_metric("rows_out", result.rows_out)
    metrics.log_metric("rows_repaired", result.repaired)
    metrics.log_metric("classes", result.classes)
