"""Ingest: read a table from wherever it is (a path, a folder, S3, the web, the hub) into a dataset, as it stands."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from toolchain.artifacts.dataset import DatasetWriter, new_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.ingest.columns import Chosen, choose, standard
from toolchain.data.ingest.delimited import open_delimited
from toolchain.data.ingest.formats import check_content, format_of
from toolchain.data.ingest.json_rows import open_json
from toolchain.data.ingest.parquet import open_parquet
from toolchain.data.ingest.parts import Parts, fetch_parts
from toolchain.data.ingest.quoting import QuotingError
from toolchain.data.ingest.settings import Config
from toolchain.data.ingest.tables import Table, Types, WrongTypeError
from toolchain.errors import DataError
from toolchain.progress import Progress, log_info

__all__ = ["Config", "Result", "ingest", "run"]

USUAL = ({"utf-8"}, {",", "\t"}, {"standard"})  # how files are read without a word about it


@dataclass(frozen=True)
class Result:
    rows: int
    columns: int
    bytes: int  # of the source, as stored


@dataclass
class Reading:
    """How the files are read, as far as is known; what is learned on the way makes them be read again."""

    quoting: str
    types: Types = field(default_factory=dict)  # of columns whose first rows mislead
    fault: QuotingError | None = None  # why quotation marks are not read as the standard says

    def correct(self, found: WrongTypeError | QuotingError, config: Config) -> None:
        """Take ``found`` into account for the next reading; DataError when nothing else is left to try."""
        if isinstance(found, WrongTypeError):
            self.types[found.column] = found.wider
        elif self.fault or not found.instead:
            raise DataError(_mend(config, self.fault or found)) from found
        else:
            self.quoting, self.fault = found.instead, found


def ingest(batches: Iterable[pa.RecordBatch], chosen: Chosen, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` with the standard column names and ``row``, its number in the source from ``first``."""
    for batch in batches:
        yield standard(batch, chosen, first)
        first += batch.num_rows


def run(dataset: Path, config: Config) -> Result:
    """Write the table that ``config`` names to ``dataset``: in one split, "all", or in those of its files.

    Raises:
        DataError: the source is missing, empty, damaged, not what its name says or not the one whose digest was given,
            or lacks a column.
        ServiceError: the service that holds it is down or refuses.
    """
    work = Work("data.ingest", config)
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        parts = fetch_parts(config, Path(folder))
        _check_digest(parts, config)
        work.source = {
            "uri": config.source,
            "sha256": parts.sha256,
            "version": parts.revision,
            "bytes": parts.bytes,
        }
        columns = _write_patiently(dataset, parts, config, work)
    return Result(int(work.metrics["rows"]), columns, parts.bytes)


def _write_patiently(dataset: Path, parts: Parts, config: Config, work: Work) -> int:
    """Write ``dataset``, again whenever a later row shows that the first rows misled."""
    reading = Reading(config.quoting)
    while True:
        try:
            return _write(dataset, parts, config, work, reading)
        except (WrongTypeError, QuotingError) as found:
            reading.correct(found, config)
        except DataError as error:
            if reading.fault:  # read otherwise it is no table either
                raise DataError(_mend(config, reading.fault)) from error
            raise


def _write(dataset: Path, parts: Parts, config: Config, work: Work, reading: Reading) -> int:
    tables = [(split, _open(file, config, reading)) for split, file in parts.files]
    rows = _rows(tables, config)
    first = next((entry for entry in rows if entry[1].num_rows), None)
    if first is None:
        raise DataError(f"{config.source} has columns but no rows; give a source that has some")
    with new_dataset(dataset, first[1].schema, work) as writer, Progress("ingest", unit="rows") as progress:
        for split in dict.fromkeys(split for split, _ in tables):
            writer.write(split, first[1].slice(0, 0))
        work.source["rows"] = _write_all(writer, first, rows, progress)
        work.metrics["rows"] = float(work.source["rows"])
        work.source |= tables[0][1].how
    _print_how(config, tables[0][1].how, reading)
    return len(first[1].schema)


def _open(file: Path, config: Config, reading: Reading) -> Table:
    kind = config.format or format_of(file, config.source, config.encoding)
    check_content(file, kind, config.source, config.encoding)
    if config.column_names and kind not in ("csv", "tsv"):
        raise DataError(f"{config.source} is {kind}, whose columns have names of their own; leave column_names empty")
    if kind == "parquet":
        return open_parquet(file, config.source)
    if kind == "jsonl":
        return open_json(file, config, reading.types)
    return open_delimited(file, kind, config, reading.types, reading.quoting)


def _rows(tables: list[tuple[str, Table]], config: Config) -> Iterator[tuple[str, pa.RecordBatch]]:
    first = 0
    for split, table in tables:
        names = tables[0][1].names if "*" in config.columns else table.names  # of all parts those of the first one
        is_delimited = "delimiter" in table.how
        chosen = choose(names, config.text_column, config.label_column, config.columns, config.source, is_delimited)
        missing = next((name for name in chosen.names if name not in table.names), None)
        if missing is not None:
            raise DataError(
                f"{config.source}: one of its files has no column {missing!r}; give files of the same columns"
            )
        for batch in ingest(table.batches(chosen.names), chosen, first):
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
        odd = next(
            name for name in batch.schema.names if batch.schema.field(name).type != writer.schema.field(name).type
        )
        kinds = f"{writer.schema.field(odd).type} in one, {batch.schema.field(odd).type} in another"
        raise DataError(f"the source's files differ: column {odd!r} is {kinds}; leave it out of columns") from error


def _print_how(config: Config, how: dict[str, str], reading: Reading) -> None:
    """Print how a text file was read, where that was found and is not the usual way."""
    if all(value in usual for value, usual in zip(how.values(), USUAL, strict=False)):
        return
    found = ", ".join(f"{name}={value!r}" for name, value in how.items())
    log_info(f"{config.source}: read with {found}" + (f" ({reading.fault})" if reading.fault else ""))


def _mend(config: Config, fault: QuotingError) -> str:
    return f"{config.source}, {fault}; mend that line, or set quoting to standard, backslash or none (marks are text)"


def _check_digest(parts: Parts, config: Config) -> None:
    if config.digest and parts.sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} is not the file that was agreed on: its SHA-256 is {parts.sha256}, digest says "
            f"{config.digest.lower()}; find out which is right"
        )
