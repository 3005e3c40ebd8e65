"""Read Parquet in batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.dataset import ROWS_PER_BATCH
from toolchain.data.ingest.formats import damage_reported, shorten
from toolchain.data.ingest.tables import Table
from toolchain.errors import DataError


def open_parquet(file: Path, source: str) -> Table:
    """Return the Parquet ``file``, called ``source`` in errors, as a table; batches have the schema's metadata.

    Raises:
        DataError: the file is damaged (also raised while rows are read).
    """
    with _errors_reported(file, source):
        schema = pq.read_schema(file)

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        with _errors_reported(file, source), pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=ROWS_PER_BATCH, columns=columns):
                yield batch.select(columns).replace_schema_metadata(schema.metadata)

    return Table(list(schema.names), batches)


@contextmanager
def _errors_reported(file: Path, source: str) -> Iterator[None]:
    try:
        with damage_reported(file, source):
            yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{source} is not valid Parquet ({shorten(str(error))}); download it again") from error
