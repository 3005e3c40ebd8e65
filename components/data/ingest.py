"""Component for toolchain.data.ingest."""

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
    """Ingest a table (CSV, TSV, JSON or Parquet, compressed or not, in one file or many) into a dataset, unchanged.

    Args:
        dataset: The rows, in one split, "all", or in the splits of the files: text, label, the columns to keep, and
            row, the number of the row in the source.
        metrics: rows, columns and bytes of the source.
        source: A path, a folder of files, s3://, https:// or hf://OWNER/DATASET[/CONFIG][#SPLIT].
        digest: SHA-256 that the source must have; "": any.
        format: csv, tsv, jsonl or parquet; "": by the file name or the content.
        text_column: Column of texts in the source; "": no texts.
        label_column: Column of classes in the source; "": no classes.
        columns: Other columns to keep; ["*"]: all.
        column_names: Names of all columns of a CSV or TSV without a header.
        encoding: Of text files, by its name in Python; "": UTF-8, or by the byte order mark.
        delimiter: Between the fields of a CSV or TSV; "": detected from the first rows.
        quoting: "standard" (RFC 4180), "backslash" (before quotation marks inside fields) or "none" (quotation marks
            are text); "": detected.
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
