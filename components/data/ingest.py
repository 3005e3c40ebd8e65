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
        source: Rows: a CSV, TSV, JSON or Parquet file or folder at a path, s3://, https:// or
            hf://OWNER/DATASET[/CONFIG][#SPLIT].
        digest: Expected SHA-256 of the source, 64 hexadecimal digits; "": not checked.
        format: File format: csv, tsv, jsonl or parquet; "": by the file name, or by the content.
        text_column: Column of texts, renamed to "text"; "": no texts.
        label_column: Column of classes, renamed to "label"; "": no classes.
        columns: Other columns to keep; ["*"]: all.
        column_names: Column names of a CSV or TSV without a header; []: the first row is the header.
        encoding: Encoding of text files by its Python name, such as cp1252; "": UTF-8, or by the byte order mark.
        delimiter: Field delimiter of a CSV or TSV, one character; "": detected.
        quoting: Quoting: standard (RFC 4180), backslash (\\" inside fields) or none (marks are text); "": detected.
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
