"""Ingest a table from a path, a folder, S3, the web or the Hugging Face hub into a dataset, unchanged."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from toolchain.artifacts.dataset import DatasetWriter, new_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.ingest.columns import ColumnSelection, select_columns, standardize
from toolchain.data.ingest.delimited import open_delimited
from toolchain.data.ingest.formats import check_content, format_of
from toolchain.data.ingest.json_rows import open_json
from toolchain.data.ingest.parquet import open_parquet
from toolchain.data.ingest.quoting import QuotingError
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.source_files import SourceFiles, fetch_files
from toolchain.data.ingest.tables import ColumnTypeError, Table, Types
from toolchain.errors import DataError
from toolchain.progress import Progress, log_info

__all__ = ["Config", "Result", "ingest", "run"]

COMMON_OPTIONS = ({"utf-8"}, {",", "\t"}, {"standard"})  # encoding, delimiter, quoting that are not worth a message


@dataclass(frozen=True)
class Result:
    rows: int
    columns: int
    bytes: int  # of the source, as stored


@dataclass
class ReadOptions:
    """The options for reading the files, corrected after each failed attempt."""

    quoting: str
    types: Types = field(default_factory=dict)  # of columns whose first rows have a narrower type
    quoting_error: QuotingError | None = None  # why the standard quoting failed

    def correct(self, error: ColumnTypeError | QuotingError, config: Config) -> None:
        """Change the options according to ``error``; raise DataError if there is nothing left to try."""
        if isinstance(error, ColumnTypeError):
            self.types[error.column] = error.wider
        elif self.quoting_error or not error.fallback:
            raise DataError(_quoting_message(config, self.quoting_error or error)) from error
        else:
            self.quoting, self.quoting_error = error.fallback, error


def ingest(batches: Iterable[pa.RecordBatch], selection: ColumnSelection, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` with the standard column names and ``row``, the row's number in the source from ``first``."""
    for batch in batches:
        yield standardize(batch, selection, first)
        first += batch.num_rows


def run(dataset: Path, config: Config) -> Result:
    """Write the table at ``config.source`` to ``dataset``, in one split, "all", or in the splits of its files.

    Raises:
        DataError: the source is missing, empty, damaged, of another format or digest than expected, or a column is
            missing.
        ServiceError: the service that holds the source is not available.
    """
    work = Work("data.ingest", config)
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        files = fetch_files(config, Path(folder))
        _check_digest(files, config)
        work.source = {
            "uri": config.source,
            "sha256": files.sha256,
            "version": files.revision,
            "bytes": files.bytes,
        }
        columns = _write_with_retries(dataset, files, config, work)
    return Result(int(work.metrics["rows"]), columns, files.bytes)


def _write_with_retries(dataset: Path, files: SourceFiles, config: Config, work: Work) -> int:
    """Write ``dataset`` and return its number of columns; retry when a later row contradicts the first rows."""
    options = ReadOptions(config.quoting)
    while True:
        try:
            return _write(dataset, files, config, work, options)
        except (ColumnTypeError, QuotingError) as error:
            options.correct(error, config)
        except DataError as error:
            if options.quoting_error:  # the fallback quoting failed too
                raise DataError(_quoting_message(config, options.quoting_error)) from error
            raise


def _write(dataset: Path, files: SourceFiles, config: Config, work: Work, options: ReadOptions) -> int:
    tables = [(split, _open(file, config, options)) for split, file in files.files]
    rows = _rows(tables, config)
    first = next((entry for entry in rows if entry[1].num_rows), None)
    if first is None:
        raise DataError(f"{config.source} has columns but no rows; give a source with rows")
    with new_dataset(dataset, first[1].schema, work) as writer, Progress("ingest", unit="rows") as progress:
        for split in dict.fromkeys(split for split, _ in tables):
            writer.write(split, first[1].slice(0, 0))
        work.source["rows"] = _write_all(writer, first, rows, progress)
        work.metrics["rows"] = float(work.source["rows"])
        work.source |= tables[0][1].options
    _print_options(config, tables[0][1].options, options)
    return len(first[1].schema)


def _open(file: Path, config: Config, options: ReadOptions) -> Table:
    file_format = config.format or format_of(file, config.source, config.encoding)
    check_content(file, file_format, config.source, config.encoding)
    if config.column_names and file_format not in ("csv", "tsv"):
        raise DataError(f"{config.source} is {file_format}, which has column names; leave column_names empty")
    if file_format == "parquet":
        return open_parquet(file, config.source)
    if file_format == "jsonl":
        return open_json(file, config, options.types)
    return open_delimited(file, file_format, config, options.types, options.quoting)


def _rows(tables: list[tuple[str, Table]], config: Config) -> Iterator[tuple[str, pa.RecordBatch]]:
    first = 0
    for split, table in tables:
        available = tables[0][1].columns if "*" in config.columns else table.columns  # "*": those of the first file
        is_delimited = "delimiter" in table.options
        selection = select_columns(
            available, config.text_column, config.label_column, config.columns, config.source, is_delimited
        )
        known = set(table.columns)
        missing = next((name for name in selection.columns if name not in known), None)
        if missing is not None:
            raise DataError(
                f"{config.source}: one of its files has no column {missing!r}; use files with the same columns"
            )
        for batch in ingest(table.batches(selection.columns), selection, first):
            yield split, batch
            first += batch.num_rows


def _write_all(
    writer: DatasetWriter,
    first: tuple[str, pa.RecordBatch],
    rest: Iterator[tuple[str, pa.RecordBatch]],
    progress: Progress,
) -> int:
    writer.write(*first)
    progress.advance(first[1].num_rows)
    for split, batch in rest:
        _write_batch(writer, split, batch)
        progress.advance(batch.num_rows)
    return progress.done


def _write_batch(writer: DatasetWriter, split: str, batch: pa.RecordBatch) -> None:
    try:
        writer.write(split, batch)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        name = next(
            name for name in batch.schema.names if batch.schema.field(name).type != writer.schema.field(name).type
        )
        types = f"{writer.schema.field(name).type} in one, {batch.schema.field(name).type} in another"
        raise DataError(f"the source's files differ: column {name!r} is {types}; remove it from columns") from error


def _print_options(config: Config, found: dict[str, str], options: ReadOptions) -> None:
    """Print the detected options of a text file unless they are common."""
    if all(value in common for value, common in zip(found.values(), COMMON_OPTIONS, strict=False)):
        return
    listed = ", ".join(f"{name}={value!r}" for name, value in found.items())
    log_info(f"{config.source}: read with {listed}" + (f" ({options.quoting_error})" if options.quoting_error else ""))


def _quoting_message(config: Config, error: QuotingError) -> str:
    return (
        f"{config.source}, {error}; correct that line, or set quoting to standard, backslash or none (marks are text)"
    )


def _check_digest(files: SourceFiles, config: Config) -> None:
    if config.digest and files.sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} has the SHA-256 {files.sha256}, expected digest={config.digest.lower()}; find out which "
            "is right"
        )
