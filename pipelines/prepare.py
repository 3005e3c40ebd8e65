"""Prepare data: raw rows (text or table) in, clean, split and validated rows and a report on them out."""

from typing import Any

from kfp import dsl

from components.data.clean import clean
from components.data.ingest import ingest
from components.data.report import report
from components.data.split import split
from components.data.validate import validate
from pipelines._pods import configure_pod


@dsl.pipeline(name="prepare")
def prepare(
    source: str = "samples/movie_reviews.csv.gz",
    digest: str = "",
    text_column: str = "text",
    label_column: str = "label",
    columns: list[str] = [],
    column_names: list[str] = [],
    format: str = "",
    encoding: str = "",
    delimiter: str = "",
    quoting: str = "",
    required_columns: list[str] = [],
    repair_text: bool = True,
    min_characters: int = 1,
    max_characters: int = 10_000,
    query: str = "",
    labels: dict[str, Any] = {},
    unknown_label: str = "drop",
    duplicates: str = "normalized",
    duplicate_columns: list[str] = [],
    similarity: float = 0.8,
    drop_conflicts: bool = True,
    outlier_columns: list[str] = [],
    outlier_method: str = "zscore",
    outlier_threshold: float = 3.0,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.1,
    group_column: str = "",
    max_train_rows: int = 0,
    min_rows: int = 20,
    min_class_fraction: float = -1.0,
    min_test_rows: int = 100,
    column_types: dict[str, Any] = {},
    column_ranges: dict[str, Any] = {},
    seed: int = 0,
):
    """Prepare the rows of source for training.

    Args:
        source: A path, s3://, https:// or hf:// address of a CSV, TSV, JSON or Parquet file, compressed or not, or a
            folder of such files.
        digest: SHA-256 that the source must have; empty for any.
        text_column: The column that holds the text; empty for a table without one.
        label_column: The column that holds the class; empty for a table without one.
        columns: Further columns to keep; ["*"] keeps all.
        column_names: Names of all columns of a CSV or TSV without a header.
        format: csv, tsv, jsonl or parquet; empty takes it from the name or the content.
        encoding: Of text files, as Python names it: cp1252, utf-16; empty is UTF-8, or what byte order marks say.
        delimiter: Between the fields of a CSV or TSV; empty finds it in the first rows.
        quoting: How quotation marks are read: standard, backslash (before those inside) or none; empty finds it.
        required_columns: Columns that need a value, besides text and label.
        repair_text: Whether to undo HTML, wrong encoding, control characters and runs of spaces.
        min_characters: Shorter texts are dropped.
        max_characters: Longer texts are dropped.
        query: Rows to keep, as pandas' query has it: "rating > 0.5 or rating < -0.5".
        labels: Raw values of each class, {"positive": ["1", "pos"]}; empty takes the values as they are.
        unknown_label: drop rows whose raw label is not in labels, or fail.
        duplicates: off, exact, normalized (case, commas, full stops, quotation marks and spaces aside) or similar.
        duplicate_columns: Columns that are compared; [] for the text.
        similarity: Of "similar": the share of common three-word runs.
        drop_conflicts: Whether rows that say the same under different labels all fall.
        outlier_columns: Numeric columns whose outliers fall.
        outlier_method: zscore or iqr.
        outlier_threshold: Standard deviations, or interquartile ranges beyond the quartiles.
        validation_fraction: Share of the rows for validation, 0..1.
        test_fraction: Share of the rows for the test, 0..1.
        group_column: Column whose equal values stay in one split: an author, a patient; empty for none.
        max_train_rows: Training rows to use at most, evenly from all classes; 0 uses all.
        min_rows: The fewest rows of each split.
        min_class_fraction: Of the rarest class among the training rows; -1: a tenth of an even share; 0: any.
        min_test_rows: Test rows that the gate of a training pipeline needs; with fewer, a warning is printed.
        column_types: What columns must hold: {"stars": "integer"}; text, integer, number or boolean.
        column_ranges: Lowest and highest value of columns: {"stars": [1, 5]}.
        seed: Of the split.
    """
    raw = configure_pod(
        ingest(
            source=source,
            digest=digest,
            format=format,
            text_column=text_column,
            label_column=label_column,
            columns=columns,
            column_names=column_names,
            encoding=encoding,
            delimiter=delimiter,
            quoting=quoting,
        )
    )
    cleaned = configure_pod(
        clean(
            raw=raw.outputs["dataset"],
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
            required_columns=required_columns,
            repair_text=repair_text,
            min_characters=min_characters,
            max_characters=max_characters,
        )
    )
    splits = configure_pod(
        split(
            dataset=cleaned.outputs["dataset"],
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            max_train_rows=max_train_rows,
            seed=seed,
            group_column=group_column,
        )
    )
    checked = configure_pod(
        validate(
            dataset=splits.outputs["splits"],
            min_rows=min_rows,
            min_class_fraction=min_class_fraction,
            min_test_rows=min_test_rows,
            column_types=column_types,
            column_ranges=column_ranges,
        )
    )
    configure_pod(report(dataset=splits.outputs["splits"], checks=checked.outputs["checks"]))
