"""Dataset: the rows that steps pass on, as Parquet shards for each split, read and written in batches.

``dataset.json`` lists the columns of the shards, the source of each row, and what was dropped and why. The
shards carry Hugging Face ``datasets`` features in their schema: pandas, ``datasets`` and tf.data read them.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from toolchain.artifacts.columns import IMAGE as IMAGE
from toolchain.artifacts.columns import LABEL as LABEL
from toolchain.artifacts.columns import OBJECTS as OBJECTS
from toolchain.artifacts.columns import ROW as ROW
from toolchain.artifacts.columns import TEXT as TEXT
from toolchain.artifacts.digest import digest_of_content, sha256_of_file
from toolchain.artifacts.folder import disk_space_reported, new_folder, read_json, write_json
from toolchain.artifacts.image import IMAGE_TYPE
from toolchain.artifacts.provenance import Provenance, Work, lineage_from_json, lineage_to_json
from toolchain.errors import ArtifactError, DataError
from toolchain.redaction import redacted

FORMAT = "toolchain.dataset"
ROWS_PER_BATCH = 10_000  # about 2 MB of review text: large enough to be fast, small enough for memory
IMAGES_PER_BATCH = 64  # of 5 MB each: 320 MB
ROWS_PER_SHARD = 500_000  # about 50 MB of review text compressed: a few shards for each worker of a large read
BYTES_PER_SHARD = 512 * 1024**2  # of rows in memory: images reach it long before the limit of rows
EXAMPLES_PER_RULE = 5  # dropped rows that reports show for each rule
CLEAN = "data.clean"  # the step whose note records whether texts were repaired
UNSPLIT = "all"  # the one split of a dataset that has not been split yet


@dataclass(frozen=True)
class Dropped:
    """The rows that one rule of one step dropped."""

    step: str  # as in "data.clean"
    rule: str  # readable: "text is missing"
    rows: int
    examples: tuple[str, ...] = ()  # at most EXAMPLES_PER_RULE, each with its row number


@dataclass(frozen=True)
class Shard:
    file: str  # relative to the dataset's folder
    rows: int
    sha256: str


@dataclass(frozen=True)
class Dataset:
    """A complete dataset on disk."""

    path: Path
    schema: pa.Schema  # of every shard, without metadata
    splits: dict[str, tuple[Shard, ...]]
    labels: tuple[
        str, ...
    ]  # class names; the label column holds their positions; empty when there are no classes (yet)
    digest: str
    dropped: tuple[Dropped, ...] = ()  # by this step and all before it
    notes: dict[str, Any] = field(default_factory=dict)  # of steps, for the report, by step; inherited
    lineage: tuple[Provenance, ...] = ()

    @property
    def text_repair(self) -> str:
        """The repair that its texts went through, as toolchain.text_repair.VERSION; "" for none."""
        return str(self.notes.get(CLEAN, {}).get("text_repair", ""))

    def rows(self, split: str) -> int:
        """Return the number of rows in ``split``."""
        return sum(shard.rows for shard in self._shards(split))

    def batches(
        self, split: str, columns: list[str] | None = None, rows: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of ``split`` in order, at most ``rows`` at a time (few for images, many otherwise)."""
        usual = IMAGES_PER_BATCH if IMAGE in (columns or self.schema.names) else ROWS_PER_BATCH
        for shard in self._shards(split):
            with pq.ParquetFile(self.path / shard.file) as file:
                yield from file.iter_batches(batch_size=rows or usual, columns=columns)

    def table(self, split: str, columns: list[str] | None = None) -> pa.Table:
        """Return all of ``split`` in memory, for small splits such as a test split."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches(list(self.batches(split, columns)), schema=schema)

    def require(self, *columns: str) -> None:
        """Raise DataError unless the dataset has all ``columns``."""
        for column in columns:
            if column not in self.schema.names:
                raise DataError(f"{self.path} has no column {column!r}; it has {', '.join(self.schema.names)}")

    def _shards(self, split: str) -> tuple[Shard, ...]:
        if split not in self.splits:
            raise DataError(f"{self.path} has no split {split!r}; it has {', '.join(self.splits) or 'none'}")
        return self.splits[split]


def open_dataset(path: Path) -> Dataset:
    """Return the dataset at ``path``, after verifying its files.

    Raises:
        ArtifactError: the folder is missing, is no dataset, or a shard is missing or was changed.
    """
    description = read_json(path / "dataset.json", FORMAT)
    splits = {name: tuple(Shard(**shard) for shard in shards) for name, shards in description["splits"].items()}
    for shard in (shard for shards in splits.values() for shard in shards):
        _check_shard(path, shard)
    return Dataset(
        path=path,
        schema=_read_schema(path, splits),
        splits=splits,
        labels=tuple(description["labels"]),
        digest=description["digest"],
        dropped=tuple(Dropped(**{**entry, "examples": tuple(entry["examples"])}) for entry in description["dropped"]),
        notes=description["notes"],
        lineage=lineage_from_json(description["lineage"]),
    )


@contextmanager
def new_dataset(
    target: Path, schema: pa.Schema, work: Work, labels: tuple[str, ...] = (), parent: Dataset | None = None
) -> Iterator["DatasetWriter"]:
    """Yield a writer of the dataset ``target``, which exists only after the block succeeds.

    The label column, when there are ``labels``, holds their positions as int64. What was dropped before and the notes
    of ``parent`` are inherited, so that the last dataset has the complete history.

    Raises:
        ArtifactError: ``target`` exists, or no split was written.
        StorageFullError: the disk is full.
    """
    with new_folder(target) as folder:
        writer = DatasetWriter(folder, schema, work, labels, parent)
        try:
            yield writer
        finally:
            writer.close()
        writer.describe()


class DatasetWriter:
    """Writes a dataset batch by batch; made by ``new_dataset``."""

    def __init__(
        self, folder: Path, schema: pa.Schema, work: Work, labels: tuple[str, ...], parent: Dataset | None
    ) -> None:
        self.folder, self.labels, self.work = folder, labels, work
        self.schema = schema.remove_metadata()
        self._written_schema = self.schema.with_metadata({"huggingface": json.dumps(_features(self.schema, labels))})
        self._dropped = list(parent.dropped) if parent else []
        self._notes: dict[str, Any] = dict(parent.notes) if parent else {}
        self._splits: dict[str, list[Shard]] = {}
        self._open: dict[str, pq.ParquetWriter] = {}
        self._rows: dict[str, int] = {}
        self._bytes: dict[str, int] = {}

    def write(self, split: str, batch: pa.RecordBatch | pa.Table) -> None:
        """Append ``batch``, cast to the dataset's schema, to ``split``; an empty batch makes the split exist."""
        rows = batch.select(self.schema.names).cast(self.schema)
        if split not in self._open:
            self._begin_shard(split)
        table = pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows
        with disk_space_reported(self.folder):
            self._open[split].write_table(table.replace_schema_metadata(self._written_schema.metadata))
        self._rows[split] += table.num_rows
        self._bytes[split] += table.nbytes
        if self._rows[split] >= ROWS_PER_SHARD or self._bytes[split] >= BYTES_PER_SHARD:
            self._end_shard(split)

    def drop(self, rule: str, rows: int, examples: list[str] | None = None) -> None:
        """Record that ``rule`` dropped ``rows`` rows, with a few ``examples``."""
        self._dropped.append(Dropped(self.work.step, rule, rows, tuple((examples or [])[:EXAMPLES_PER_RULE])))

    def note(self, value: object) -> None:
        """Record ``value`` (JSON) under this step's name, for the report."""
        self._notes[self.work.step] = redacted(value)

    def close(self) -> None:
        """Close the open shards."""
        for split in list(self._open):
            self._end_shard(split)

    def describe(self) -> None:
        """Write ``dataset.json``, after which the folder is a dataset."""
        if not self._splits:
            raise ArtifactError(f"{self.work.step} wrote no split; a dataset needs one, even if it is empty")
        write_json(self.folder / "dataset.json", self._description())

    def _begin_shard(self, split: str) -> None:
        name = f"{split}/part-{len(self._splits.setdefault(split, [])):05d}.parquet"
        (self.folder / split).mkdir(exist_ok=True)
        self._open[split] = pq.ParquetWriter(self.folder / name, self._written_schema, compression="zstd")
        self._rows[split] = self._bytes[split] = 0

    def _end_shard(self, split: str) -> None:
        with disk_space_reported(self.folder):
            self._open.pop(split).close()
        name = f"{split}/part-{len(self._splits[split]):05d}.parquet"
        self._splits[split].append(Shard(name, self._rows[split], sha256_of_file(self.folder / name)))

    def _description(self) -> dict[str, Any]:
        files = {shard.file: shard.sha256 for shards in self._splits.values() for shard in shards}
        digest = digest_of_content(files, {"labels": self.labels, "splits": sorted(self._splits)})
        self.work.metrics |= {f"rows_{name}": sum(s.rows for s in shards) for name, shards in self._splits.items()}
        return {
            "format": FORMAT,
            "version": 1,
            "digest": digest,
            "features": _features(self.schema, self.labels)["info"]["features"],
            "labels": list(self.labels),
            "splits": {name: [asdict(shard) for shard in shards] for name, shards in self._splits.items()},
            "dropped": [asdict(entry) for entry in self._dropped],
            "notes": self._notes,
            "lineage": lineage_to_json(self.work.finish("dataset", digest)),
        }


def _check_shard(path: Path, shard: Shard) -> None:
    file = path / shard.file
    if not file.is_file():
        raise ArtifactError(f"{path} is incomplete: {shard.file} is missing; make the dataset again")
    if sha256_of_file(file) != shard.sha256:
        raise ArtifactError(f"{file} was changed after it was written (its digest differs); make the dataset again")


def _read_schema(path: Path, splits: Mapping[str, tuple[Shard, ...]]) -> pa.Schema:
    for shards in splits.values():
        for shard in shards:
            return pq.read_schema(path / shard.file).remove_metadata()
    raise ArtifactError(f"{path} has no rows; make the dataset again from a source that has some")


def _features(schema: pa.Schema, labels: tuple[str, ...]) -> dict[str, Any]:
    return {"info": {"features": {column.name: _feature(column, labels) for column in schema}}}


def _feature(column: pa.Field, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the feature of ``column`` in Hugging Face ``datasets``, in its JSON format."""
    kind = column.type
    if kind == IMAGE_TYPE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_field, labels), "_type": "List"}
    if pa.types.is_struct(kind):
        return {part.name: _feature(part, labels) for part in kind}
    if labels and column.name == LABEL:
        return {"names": list(labels), "_type": "ClassLabel"}
    names = {"double": "float64", "float": "float32", "halffloat": "float16"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
