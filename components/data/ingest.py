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
    column_names: list[str] = [],
    encoding: str = "",
    delimiter: str = "",
    quoting: str = "",
):
    """Read a table (CSV, TSV, JSON or Parquet, compressed or not, in one file or many) into a dataset, as it stands.

    Args:
        dataset: Its rows, in one split, "all", or in the splits that its files' names give: text, label, the columns to
            keep, and row, its number in the source.
        metrics: rows, columns and bytes of the source.
        source: A path, a folder of such files, s3://, https:// or hf://OWNER/DATASET[/CONFIG][#SPLIT].
        digest: SHA-256 that the source's bytes must have; "" for any.
        format: csv, tsv, jsonl or parquet; "" to take it from the name or the content.
        text_column: The source's name of the text; "" for a table without text.
        label_column: The source's name of the class; "" for none.
        columns: Other columns to keep; ["*"] for all.
        column_names: Names of all columns of a CSV or TSV without a header.
        encoding: Of text files, as Python names it; "" for UTF-8, or what byte order marks say.
        delimiter: Between the fields of a CSV or TSV; "" to find it in the first rows.
        quoting: Quotation marks are "standard" (RFC 4180), preceded by a "backslash" inside fields, or text ("none");
            "" to find it.
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
            column_names=column_names,
            encoding=encoding,
            delimiter=delimiter,
            quoting=quoting,
        ),
    )
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("columns", result.columns)
    metrics.log_metric("bytes", result.bytes)
