import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from toolchain.artifacts import dataset as module
from toolchain.artifacts.dataset import Dataset, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, DataError, StorageFullError

SCHEMA = pa.schema({"text": pa.string(), "label": pa.int64(), "row": pa.int64()})


def rows(*texts: str, label: int = 0) -> pa.RecordBatch:
    columns = {"text": list(texts), "label": [label] * len(texts), "row": list(range(len(texts)))}
    return pa.record_batch(columns, schema=SCHEMA)


def made(target: Path, *texts: str, labels: tuple[str, ...] = ("bad", "good"), **more: Dataset) -> Dataset:
    with new_dataset(target, SCHEMA, Work("data.test", None), labels, **more) as writer:
        writer.write("train", rows(*texts))
        writer.write("test", rows("last", label=1))
    return open_dataset(target)


def test_what_was_written_comes_back(tmp_path: Path):
    dataset = made(tmp_path / "a", "one", "two")
    assert dataset.labels == ("bad", "good")
    assert (dataset.rows("train"), dataset.rows("test")) == (2, 1)
    assert dataset.table("train")["text"].to_pylist() == ["one", "two"]
    assert dataset.schema == SCHEMA


def test_reads_in_batches_and_only_the_columns_requested(tmp_path: Path):
    dataset = made(tmp_path / "a", *"abcde")
    batches = list(dataset.batches("train", ["text"], rows=2))
    assert [batch.num_rows for batch in batches] == [2, 2, 1]
    assert batches[0].schema.names == ["text"]


def test_the_same_rows_have_the_same_digest_and_others_another(tmp_path: Path):
    one, same = made(tmp_path / "a", "x"), made(tmp_path / "b", "x")
    other, renamed = made(tmp_path / "c", "y"), made(tmp_path / "d", "x", labels=("good", "bad"))
    assert one.digest == same.digest
    assert len({one.digest, other.digest, renamed.digest}) == 3


def test_pandas_and_hugging_face_read_the_shards(tmp_path: Path):
    made(tmp_path / "a", "one")
    assert pd.read_parquet(tmp_path / "a" / "train")["text"].to_list() == ["one"]
    features = json.loads(pq.read_schema(tmp_path / "a/train/part-00000.parquet").metadata[b"huggingface"])
    assert features["info"]["features"]["label"] == {"names": ["bad", "good"], "_type": "ClassLabel"}


@pytest.mark.slow  # importing datasets takes seconds
def test_datasets_reads_the_labels_names(tmp_path: Path):
    datasets = pytest.importorskip("datasets")
    made(tmp_path / "a", "one")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "a/test/*.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.features["label"].int2str(loaded[0]["label"]) == "good"


def test_large_splits_become_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "ROWS_PER_SHARD", 2)
    with new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)) as writer:
        for text in "abc":
            writer.write("all", rows(text, text))
    dataset = open_dataset(tmp_path / "a")
    assert [shard.rows for shard in dataset.splits["all"]] == [2, 2, 2]
    assert dataset.table("all")["text"].to_pylist() == list("aabbcc")


def test_what_was_dropped_and_noted_is_inherited(tmp_path: Path):
    with new_dataset(tmp_path / "a", SCHEMA, Work("data.clean", None)) as writer:
        writer.write("all", rows("x"))
        writer.drop("too short", 9, [f"row {number}" for number in range(9)])
        writer.note({"seen": 1})
    parent = open_dataset(tmp_path / "a")
    child = made(tmp_path / "b", "x", parent=parent)
    assert [(each.step, each.rule, each.rows, len(each.examples)) for each in child.dropped] == [
        ("data.clean", "too short", 9, 5)
    ]
    assert child.notes == {"data.clean": {"seen": 1}}


def test_an_empty_batch_makes_a_split(tmp_path: Path):
    with new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)) as writer:
        writer.write("all", rows())
    assert open_dataset(tmp_path / "a").rows("all") == 0


def test_columns_are_put_in_the_order_and_type_of_the_schema(tmp_path: Path):
    batch = pa.record_batch({"row": pa.array([0], pa.int32()), "label": [1], "text": ["x"], "more": [None]})
    with new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)) as writer:
        writer.write("all", batch)
    assert open_dataset(tmp_path / "a").table("all").schema == SCHEMA


def test_nothing_is_left_of_a_dataset_that_failed(tmp_path: Path):
    def fail() -> None:
        with new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)) as writer:
            writer.write("all", rows("x"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*args: object) -> None:
        raise OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with (
        pytest.raises(StorageFullError, match="no space"),
        new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)) as writer,
    ):
        writer.write("all", rows("x"))
    assert list(tmp_path.iterdir()) == []


def test_rejects_a_dataset_without_any_split(tmp_path: Path):
    with pytest.raises(ArtifactError, match="no split"), new_dataset(tmp_path / "a", SCHEMA, Work("data.test", None)):
        pass


def test_rejects_a_changed_shard(tmp_path: Path):
    made(tmp_path / "a", "x")
    file = tmp_path / "a/train/part-00000.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match="was changed"):
        open_dataset(tmp_path / "a")


def test_rejects_a_missing_shard(tmp_path: Path):
    made(tmp_path / "a", "x")
    (tmp_path / "a/train/part-00000.parquet").unlink()
    with pytest.raises(ArtifactError, match="incomplete"):
        open_dataset(tmp_path / "a")


def test_rejects_a_folder_that_is_no_dataset(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"not a toolchain\.dataset"):
        open_dataset(tmp_path)


def test_names_the_splits_and_columns_that_there_are(tmp_path: Path):
    dataset = made(tmp_path / "a", "x")
    with pytest.raises(DataError, match="no split 'all'; it has train, test"):
        dataset.rows("all")
    with pytest.raises(DataError, match="no column 'body'; it has text, label, row"):
        dataset.require("text", "body")
