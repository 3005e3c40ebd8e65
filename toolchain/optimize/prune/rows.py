"""Rows as pruning reads them: token ids and labels of a split, in batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset
from toolchain.batches import batches_by_length
from toolchain.errors import DataError
from toolchain.inference import Tokenizer, pad

if TYPE_CHECKING:
    import torch

    Inputs = dict[str, torch.Tensor]  # input_ids and attention_mask, int64 of shape (rows, tokens)


@dataclass(frozen=True)
class Batch:
    """Rows for one step."""

    positions: list[int]  # in the split
    inputs: "Inputs"
    labels: "torch.Tensor"  # int64 of shape (rows,)


@dataclass(frozen=True)
class Rows:
    """A split in tokens, all of it held: a million reviews of 25 tokens take some 300 MB."""

    ids: list[list[int]]
    labels: NDArray[np.int64]  # positions in the dataset's label names
    pad_id: int

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, rows: int, seed: int, device: "torch.device") -> Iterator[Batch]:
        """Yield every row once, in an order that ``seed`` decides."""
        for positions in batches_by_length([len(row) for row in self.ids], rows, seed):
            yield self.batch(positions, device)

    def batch(self, positions: Sequence[int], device: "torch.device") -> Batch:
        """Return the rows at ``positions``, padded to the longest of them."""
        import torch

        feeds = pad([self.ids[position] for position in positions], self.pad_id)
        inputs = {name: torch.from_numpy(feeds[name]).to(device) for name in ("input_ids", "attention_mask")}
        return Batch(list(positions), inputs, torch.from_numpy(self.labels[list(positions)]).to(device))


def read_rows(dataset: Dataset, split: str, tokenizer: Tokenizer) -> Rows:
    """Return ``split`` of ``dataset`` in tokens.

    Raises:
        DataError: the split is missing or empty, or a row has no text or no label.
    """
    dataset.require(TEXT, LABEL)
    table = dataset.table(split, [TEXT, LABEL])
    texts, labels = table.column(TEXT), table.column(LABEL)
    if not table.num_rows:
        raise DataError(f"{dataset.path} has no rows in its {split} split; pruning needs some")
    if texts.null_count or labels.null_count:
        raise DataError(f"{dataset.path}: {split} has rows without {TEXT} or {LABEL}; clean the dataset first")
    return Rows(tokenizer.ids(texts.to_pylist()), labels.to_numpy().astype(np.int64), tokenizer.pad_id)
