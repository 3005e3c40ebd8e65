from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset, new_dataset, open_dataset
from toolchain.artifacts.provenance import Work
from toolchain.errors import DataError
from toolchain.frameworks.torch.token_dataset import TokenDataset, read_rows

CPU = torch.device("cpu")
ROWS = TokenDataset.of([[2, 7, 3], [2, 3], [2, 8, 9, 3]], np.array([0, 1, 1]), pad_id=1)


def by_spaces(texts: list[str]) -> list[list[int]]:
    return [[len(word) for word in text.split()] for text in texts]


def test_a_batch_is_padded_to_its_longest_row():
    batch = ROWS.batch([0, 1], CPU)
    assert batch.inputs["input_ids"].tolist() == [[2, 7, 3], [2, 3, 1]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels.tolist() == [0, 1]
    assert batch.inputs["input_ids"].dtype == torch.int64


def test_every_row_comes_once_in_an_order_of_the_seed():
    assert (len(ROWS), ROWS.lengths.tolist(), ROWS.count_batches(2)) == (3, [3, 2, 4], 2)
    batches = list(ROWS.batches(2, 5, CPU))
    assert sorted(position for batch in batches for position in batch.positions) == [0, 1, 2]
    assert [batch.positions for batch in batches] == ROWS.shuffled(2, 5)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    columns = pa.schema([(TEXT, pa.string()), (LABEL, pa.int64())])
    with new_dataset(tmp_path / "dataset", columns, Work("data.split", None), ("bad", "good")) as writer:
        writer.write("train", pa.RecordBatch.from_pydict({TEXT: ["a good film", "bad"], LABEL: [1, 0]}, columns))
    return open_dataset(tmp_path / "dataset")


def test_a_split_is_read_with_its_labels(dataset: Dataset):
    rows = read_rows(dataset, "train", by_spaces, pad_id=0)
    assert rows.tokens.tolist() == [1, 4, 4, 3]
    assert rows.labels.tolist() == [1, 0]


def test_an_empty_split_is_named(dataset: Dataset):
    with pytest.raises(DataError, match="validation"):
        read_rows(dataset, "validation", by_spaces, pad_id=0)
