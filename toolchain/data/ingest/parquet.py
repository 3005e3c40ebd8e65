"""Parquet as batches of rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import ROWS_PER_BATCH
from toolchain.data.ingest.formats import damage_reported, short
from toolchain.data.ingest.tables import Table
from toolchain.errors import DataError


def open_parquet(file: Path, source: str) -> Table:
    """Return the Parquet ``file``, called ``source`` in errors, as a table; its batches carry its schema's metadata.

    Raises:
        DataError: it is damaged (also while its rows are read).
    """
    with _reported(file, source):
        schema = pq.read_schema(file)

    def batches(wanted: list[str]) -> Iterator[pa.RecordBatch]:
        with _reported(file, source), pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted):
                yield batch.select(wanted).replace_schema_metadata(schema.metadata)

    return Table(list(schema.names), batches)


@contextmanager
def _reported(file: Path, source: str) -> Iterator[None]:
    try:
        with damage_reported(file, source):
            yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{source} is damaged: not readable as Parquet ({short(str(error))}); fetch it again"
        ) from error
