"""Tokenized texts for PyTorch: token ids and labels of a split, four bytes per token, in batches of similar length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset
from toolchain.errors import DataError
from toolchain.frameworks.length_batches import batches_by_length, pad
from toolchain.progress import Progress

if TYPE_CHECKING:
    import torch

Encode = Callable[[list[str]], list[list[int]]]  # texts to token ids, special tokens included, cut and not padded


@dataclass(frozen=True)
class Batch:
    """The rows of one step."""

    positions: list[int]  # in the split
    inputs: "dict[str, torch.Tensor]"  # input_ids and attention_mask, int64 of shape (rows, longest)
    labels: "torch.Tensor"  # int64 of shape (rows,)


@dataclass(frozen=True)
class TokenDataset:
    """A tokenized split, held in memory: a million reviews of 25 tokens take 100 MB."""

    tokens: NDArray[np.int32]  # of all rows, one after the other
    starts: NDArray[np.int64]  # where each row begins; one longer than the rows
    labels: NDArray[np.int64]  # positions in the dataset's label names
    pad_id: int

    @classmethod
    def of(cls, ids: Sequence[Sequence[int]], labels: NDArray[np.int64], pad_id: int) -> Self:
        """Return the rows whose token ids are ``ids``."""
        starts = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        return cls(np.concatenate([np.asarray(row, np.int32) for row in ids]), starts, labels, pad_id)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, special ones included."""
        return np.diff(self.starts)

    def count_batches(self, batch_size: int) -> int:
        """Return the number of batches."""
        return -(-len(self) // batch_size)

    def shuffled(self, batch_size: int, seed: int) -> list[list[int]]:
        """Return the positions of all rows in batches of similar length, in an order that depends on ``seed``."""
        return batches_by_length(self.lengths.tolist(), batch_size, seed)

    def batches(self, batch_size: int, seed: int, device: "torch.device") -> Iterator[Batch]:
        """Yield every row once, in the batches of ``shuffled``."""
        for positions in self.shuffled(batch_size, seed):
            yield self.batch(positions, device)

    def batch(self, positions: Sequence[int], device: "torch.device") -> Batch:
        """Return the rows at ``positions``, padded to the longest of them."""
        import torch

        rows = [self.tokens[self.starts[p] : self.starts[p + 1]] for p in positions]
        padded = pad(rows, self.pad_id)  # type: ignore[arg-type]  # an array of ids is a sequence, too
        inputs = {name: torch.from_numpy(padded[name]).to(device) for name in ("input_ids", "attention_mask")}
        return Batch(list(positions), inputs, torch.from_numpy(self.labels[list(positions)]).to(device))


def read_rows(dataset: Dataset, split: str, encode: Encode, pad_id: int) -> TokenDataset:
    """Return ``split`` with its texts tokenized by ``encode``.

    Raises:
        DataError: the split is empty or missing, or a row has no text or no label from the dataset's set.
    """
    dataset.require(TEXT, LABEL)
    ids: list[NDArray[np.int32]] = []
    labels: list[NDArray[np.int64]] = []
    with Progress(f"read {split}", dataset.rows(split), "rows") as progress:
        for texts, classes in _checked(dataset, split):
            ids += [np.asarray(row, np.int32) for row in encode(texts)]
            labels.append(classes)
            progress.advance(len(texts))
    if not ids:
        raise DataError(f"{dataset.path} has no rows in its {split} split; this step needs some")
    return TokenDataset.of(ids, np.concatenate(labels), pad_id)  # type: ignore[arg-type]  # arrays of ids, as above


def _checked(dataset: Dataset, split: str) -> Iterator[tuple[list[str], NDArray[np.int64]]]:
    for batch in dataset.batches(split, [TEXT, LABEL]):
        texts, labels = batch.column(TEXT), batch.column(LABEL)
        if texts.null_count or labels.null_count:
            raise DataError(f"{dataset.path}: {split} has rows without {TEXT} or {LABEL}; clean the dataset first")
        classes = labels.to_numpy(zero_copy_only=False)
        outside = ~np.isin(classes, range(len(dataset.labels)))
        if outside.any():
            raise DataError(
                f"{dataset.path}: {split} has label {classes[outside][0]}, but only {len(dataset.labels)} label names"
            )
        yield texts.to_pylist(), classes.astype(np.int64)
