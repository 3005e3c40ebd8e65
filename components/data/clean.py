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
        min_characters: Minimum length of a repaired text in characters; 1: only empty texts are dropped.
        max_characters: Maximum length of a text in characters: 10,000 are about 2,000 words, longer ones are documents.
        query: Rows to keep, as a pandas query: "label > 0 and text.str.len() > 20"; "": all.
        labels: Raw labels, or a query, by class: {"positive": ["1", "pos"]}; {}: each raw label is a class.
        unknown_label: Action for rows whose raw label is not in labels: drop, or fail to find typing errors.
        duplicates: Duplicates to drop: off, exact, normalized (ignoring case, punctuation and spaces) or similar.
        duplicate_columns: Columns to compare for duplicates; []: text, or all but row and label.
        similarity: Minimum share of common three-word shingles of "similar" texts, 0..1; unreliable below 0.7.
        drop_conflicts: Drop all duplicates with different labels, instead of keeping the first.
        outlier_columns: Numeric columns whose outliers are dropped.
        outlier_method: Outlier detection: zscore (for normal distributions) or iqr (for skewed ones).
        outlier_threshold: Outlier threshold in standard deviations, or in interquartile ranges beyond the quartiles.
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
