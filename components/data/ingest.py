"""Ingest: toolchain.data.ingest, in the base image."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def ingest(
    dataset: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    source: str = "samples/movie_reviews.csv.gz",
    digest: str = "",
    format: str = "",
    text_column: str = "text",
    label_column: str = "label",
    columns: list[str] = [],
    encoding: str = "utf-8",
    delimiter: str = "",
):
    """Take a table (CSV, TSV, JSON Lines or Parquet, .gz or not) into a dataset, as it stands.

    Args:
        dataset: Its rows in one split, "all": text, label, the columns asked for, and row, its number in the source.
        metrics: rows, columns and bytes of the source.
        source: A path, s3://, https:// or hf://OWNER/DATASET[/CONFIG][#SPLIT].
        digest: SHA-256 that the source's bytes must have; "" for any.
        format: csv, tsv, jsonl or parquet; "" for what the name's ending says.
        text_column: The source's name of the text; "" for a table without text.
        label_column: The source's name of the class; "" for none.
        columns: Other columns to keep; ["*"] for all.
        encoding: Of CSV, TSV and JSON Lines, as Python names it.
        delimiter: Between the fields of a CSV; "" for the usual one.
    """
    from pathlib import Path

    from toolchain.data.ingest import Config, run

    result = run(
        Path(dataset.path),
        Config(
            source=source,
            digest=digest,
            format=format,
            text_column=text_column,
            label_column=label_column,
            columns=columns,
            encoding=encoding,
            delimiter=delimiter,
        ),
    )
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("columns", result.columns)
    metrics.log_metric("bytes", result.bytes)
