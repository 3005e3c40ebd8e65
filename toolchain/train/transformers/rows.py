"""Rows as training reads them: token ids and labels, four bytes a token, and batches of like length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from toolchain.artifacts.dataset import LABEL, TEXT, Dataset
from toolchain.errors import DataError
from toolchain.inference import pad

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Rows:
    """A split in tokens. All of it is held: a million reviews of 25 tokens take 100 MB."""

    tokens: NDArray[np.int32]  # of all rows, one after the other
    starts: NDArray[np.int64]  # where each row begins; one longer than the rows
    labels: NDArray[np.int64]  # positions in the dataset's label names
    pad_id: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, special ones included."""
        return np.diff(self.starts)

    def batch(self, positions: Sequence[int], device: "torch.device") -> "tuple[dict[str, torch.Tensor], torch.Tensor]":
        """Return input_ids and attention_mask, int64 of shape (positions, longest), and labels, int64 (positions)."""
        import torch

        rows = [self.tokens[self.starts[p] : self.starts[p + 1]] for p in positions]
        padded = pad(rows, self.pad_id)  # type: ignore[arg-type]  # an array of ids is as good as a list of them
        feeds = {name: torch.from_numpy(padded[name]).to(device) for name in ("input_ids", "attention_mask")}
        return feeds, torch.from_numpy(self.labels[list(positions)]).to(device)


def read_rows(dataset: Dataset, split: str, tokenizer: Any) -> Rows:
    """Return ``split`` in the tokens of ``tokenizer``, one of Transformers' that is set to cut and not to pad.

    Raises:
        DataError: the split is empty or missing, or a row has no text or no label from the dataset's set.
    """
    ids: list[NDArray[np.int32]] = []
    lengths: list[int] = [0]
    labels: list[NDArray[np.int64]] = []
    for texts, classes in _checked(dataset, split):
        for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts):
            ids.append(np.asarray(encoding.ids, np.int32))
            lengths.append(len(encoding.ids))
        labels.append(classes)
    if not ids:
        raise DataError(f"{dataset.path} has no rows in its {split} split; training needs some")
    return Rows(np.concatenate(ids), np.cumsum(lengths, dtype=np.int64), np.concatenate(labels), tokenizer.pad_token_id)


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
