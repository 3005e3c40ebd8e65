"""Ingest: take a table from wherever it is (a path, S3, the web, the hub) into a dataset, as it stands."""

import codecs
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from toolchain.artifacts.dataset import UNSPLIT, DatasetWriter, new_dataset
from toolchain.artifacts.provenance import Work
from toolchain.data.ingest.columns import Chosen, choose, standard
from toolchain.data.ingest.formats import FORMATS, check_content, format_of
from toolchain.data.ingest.readers import Types, WrongTypeError, open_table
from toolchain.errors import ConfigError, DataError
from toolchain.progress import Progress
from toolchain.services import storage
from toolchain.services.storage import Fetched

SHA256_DIGITS = 64


@dataclass(frozen=True, kw_only=True)
class Config:
    source: str = "samples/movie_reviews.csv.gz"  # path, s3://, https:// or hf://OWNER/DATASET[/CONFIG][#SPLIT]
    digest: str = ""  # SHA-256 that the source's bytes must have, 64 hexadecimal digits; "": any
    format: str = ""  # "csv", "tsv", "jsonl" or "parquet"; "": by the name's ending (.gz may follow)
    text_column: str = "text"  # the source's name of the text, which becomes "text"; "": a table without text
    label_column: str = "label"  # the source's name of the class, which becomes "label"; "": none (yet)
    columns: list[str] = field(default_factory=list)  # other columns to keep under their own names; ["*"]: all
    encoding: str = "utf-8"  # of CSV, TSV and JSONL, as Python names it: "latin-1", "utf-16", ...
    delimiter: str = ""  # one character between the fields of a CSV; "": a comma, or a tab in a TSV

    def __post_init__(self) -> None:
        if not self.source:
            raise ConfigError("source is empty; give a path, or an s3://, https:// or hf:// address")
        if self.digest and not _is_sha256(self.digest):
            raise ConfigError(f"digest={self.digest!r} is not a SHA-256; give its {SHA256_DIGITS} hexadecimal digits")
        if self.format and self.format not in FORMATS:
            raise ConfigError(
                f"format={self.format!r} is not known; give one of {', '.join(FORMATS)}, or leave it empty"
            )
        if self.text_column and self.text_column == self.label_column:
            raise ConfigError(f"text_column and label_column are both {self.text_column!r}; name two columns")
        if len(self.delimiter) > 1:
            raise ConfigError(f"delimiter={self.delimiter!r} has {len(self.delimiter)} characters; give one")
        _check_encoding(self.encoding)


@dataclass(frozen=True)
class Result:
    rows: int
    columns: int
    bytes: int  # of the source, as stored


def ingest(batches: Iterable[pa.RecordBatch], chosen: Chosen) -> Iterator[pa.RecordBatch]:
    """Yield ``batches`` with the standard column names and ``row``, each row's number in the source from 0 (int64)."""
    first = 0
    for batch in batches:
        yield standard(batch, chosen, first)
        first += batch.num_rows


def run(dataset: Path, config: Config) -> Result:
    """Write the table that ``config`` names to ``dataset``, in one split, "all".

    Raises:
        DataError: the source is missing, empty, damaged, not what its name says or not the one whose digest was given,
            or lacks a column.
        ServiceError: the service that holds it is down or refuses.
    """
    work = Work("data.ingest", config)
    with tempfile.TemporaryDirectory(prefix="ingest-") as folder:
        fetched = storage.fetch(config.source, Path(folder))
        _check_digest(fetched, config)
        size = sum(file.stat().st_size for file in fetched.files)
        work.source = {"uri": config.source, "sha256": fetched.sha256, "version": fetched.revision, "bytes": size}
        columns = _write_patiently(dataset, fetched, config, work)
    return Result(int(work.metrics["rows"]), columns, size)


def _write_patiently(dataset: Path, fetched: Fetched, config: Config, work: Work) -> int:
    """Write ``dataset``, again whenever a later row shows that a column holds another type than its first rows did."""
    types: Types = {config.text_column: pa.string()} if config.text_column else {}
    while True:
        try:
            return _write(dataset, fetched, config, work, types)
        except WrongTypeError as wrong:
            types[wrong.column] = wrong.wider


def _write(dataset: Path, fetched: Fetched, config: Config, work: Work, types: Types) -> int:
    kind = config.format or format_of(config.source, fetched.files[0].name)
    for file in fetched.files:
        check_content(file, kind, config.source, config.encoding)
    names, batches = open_table(fetched.files, kind, config.source, config.encoding, config.delimiter, types)
    chosen = choose(names, config.text_column, config.label_column, config.columns, config.source)
    rows = ingest(batches(chosen.names), chosen)
    first = next(rows, None)
    if first is None or first.num_rows == 0:
        raise DataError(f"{config.source} has columns but no rows; give a source that has some")
    with new_dataset(dataset, first.schema, work) as writer, Progress("ingest", unit="rows") as progress:
        work.source["rows"] = _write_all(writer, first, rows, progress)
        work.metrics["rows"] = float(work.source["rows"])
    return len(first.schema)


def _write_all(writer: DatasetWriter, first: pa.RecordBatch, rest: Iterator[pa.RecordBatch], progress: Progress) -> int:
    writer.write(UNSPLIT, first)
    progress.advance(first.num_rows)
    for batch in rest:
        writer.write(UNSPLIT, batch)
        progress.advance(batch.num_rows)
    return progress.done


def _check_digest(fetched: Fetched, config: Config) -> None:
    if config.digest and fetched.sha256 != config.digest.lower():
        raise DataError(
            f"{config.source} is not the file that was agreed on: its SHA-256 is {fetched.sha256}, digest says "
            f"{config.digest.lower()}; find out which is right"
        )


def _is_sha256(digest: str) -> bool:
    return len(digest) == SHA256_DIGITS and all(digit in "0123456789abcdefABCDEF" for digit in digest)


def _check_encoding(encoding: str) -> None:
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise ConfigError(f"encoding={encoding!r} is not known to Python; try utf-8, latin-1 or utf-16") from error
