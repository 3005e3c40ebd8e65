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
    query: str = "",
    labels: dict[str, Any] = {},
    validation: float = 0.1,
    test: float = 0.1,
    rows: int = 0,
    seed: int = 0,
):
    """Prepare the rows of source for training.

    Args:
        source: A path, s3://, https:// or hf:// address of a CSV, TSV, JSONL or Parquet file, gzipped or not.
        digest: SHA-256 that the source must have; empty for any.
        text_column: The column that holds the text; empty for a table without one.
        label_column: The column that holds the class; empty for a table without one.
        columns: Further columns to keep; ["*"] keeps all.
        query: Rows to keep, as pandas' query has it: "rating > 0.5 or rating < -0.5".
        labels: Raw values of each class, {"positive": ["1", "pos"]}; empty takes the values as they are.
        validation: Share of the rows for validation, 0..1.
        test: Share of the rows for the test, 0..1.
        rows: Training rows to use at most, evenly from all classes; 0 uses all.
        seed: Of the split.
    """
    raw = placed(
        ingest(source=source, digest=digest, text_column=text_column, label_column=label_column, columns=columns)
    )
    cleaned = placed(clean(raw=raw.outputs["dataset"], query=query, labels=labels))
    splits = placed(split(dataset=cleaned.outputs["dataset"], validation=validation, test=test, rows=rows, seed=seed))
    checked = placed(validate(dataset=splits.outputs["splits"]))
    placed(report(dataset=splits.outputs["splits"], checks=checked.outputs["checks"]))
