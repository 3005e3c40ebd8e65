"""Prepare data: raw rows (text or table) in, clean, split and validated rows and a report on them out."""

from typing import Any

from kfp import dsl

from components.data.clean import clean
from components.data.ingest import ingest
from components.data.report import report
from components.data.split import split
from components.data.validate import validate
from pipelines._placing import placed


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
    query: str = "",
    labels: dict[str, Any] = {},
    validation: float = 0.1,
    test: float = 0.1,
    rows: int = 0,
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
        query: Rows to keep, as pandas' query has it: "rating > 0.5 or rating < -0.5".
        labels: Raw values of each class, {"positive": ["1", "pos"]}; empty takes the values as they are.
        validation: Share of the rows for validation, 0..1.
        test: Share of the rows for the test, 0..1.
        rows: Training rows to use at most, evenly from all classes; 0 uses all.
        seed: Of the split.
    """
    raw = placed(
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
    cleaned = placed(clean(raw=raw.outputs["dataset"], query=query, labels=labels))
    splits = placed(split(dataset=cleaned.outputs["dataset"], validation=validation, test=test, rows=rows, seed=seed))
    checked = placed(validate(dataset=splits.outputs["splits"]))
    placed(report(dataset=splits.outputs["splits"], checks=checked.outputs["checks"]))
