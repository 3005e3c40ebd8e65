"""Batches of rows: of similar length, so that little is computed on padding, or of similar size."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from toolchain.errors import ConfigError

POOL = 50  # batches whose rows are sorted together: enough that lengths match, few enough that batches stay mixed


def batches_by_length(lengths: Sequence[int], rows: int, seed: int) -> list[list[int]]:
    """Return the indices of ``lengths`` (in tokens) in batches of at most ``rows``, each index once.

    Rows are shuffled, sorted by length within pools of ``POOL`` batches and cut, and the batches are shuffled. The same
    ``seed`` gives the same batches; each epoch needs a different one.
    """
    random = np.random.default_rng(seed)
    order, known = random.permutation(len(lengths)), np.asarray(lengths)
    pools = [order[start : start + POOL * rows] for start in range(0, len(order), POOL * rows)]
    sorted_order = np.concatenate([pool[np.argsort(known[pool], kind="stable")] for pool in pools] or [order])
    batches = [sorted_order[start : start + rows].tolist() for start in range(0, len(order), rows)]
    return [batches[position] for position in random.permutation(len(batches))]


def count_batches(count: int, rows: int) -> int:
    """Return the number of batches that ``even_batches`` makes of ``count`` rows, at least 1."""
    batches = -(-count // rows)
    return max(1, batches if rows == 1 else min(batches, count // 2))


def even_batches(order: Sequence[int], rows: int) -> list[list[int]]:
    """Return ``order`` in batches of similar size, of at most ``rows``; none of a single row if there are two.

    Batch normalisation cannot take a batch of one where a layer has one value left per channel. So an odd number of
    rows in batches of two has one batch of three.
    """
    parts = np.array_split(np.asarray(order, np.int64), count_batches(len(order), rows))
    return [part.tolist() for part in parts]


@contextmanager
def single_row_reported(name: str) -> Iterator[None]:
    """Report in one line that the architecture ``name`` cannot normalise a batch of one row.

    Raises:
        ConfigError: PyTorch raised its error for that.
    """
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise ConfigError(
            f"{name} has a layer that cannot normalise a batch of one row; set batch_size "
            f"to 2 or more, and train on 2 rows or more"
        ) from error


def pad(rows: Sequence[Sequence[int]], pad_id: int = 0, tokens: int | None = None) -> dict[str, npt.NDArray[np.int64]]:
    """Return ``rows`` of token ids as a model's input: int64 of shape (rows, tokens or the longest row).

    The mask is 1 at tokens and 0 at padding; rows longer than ``tokens`` are truncated.
    """
    width = tokens or max(1, *map(len, rows))  # 1: some tokenizers return no token for an empty text
    ids, mask = np.full((len(rows), width), pad_id, np.int64), np.zeros((len(rows), width), np.int64)
    for position, row in enumerate(rows):
        cut = row[:width]
        ids[position, : len(cut)], mask[position, : len(cut)] = cut, 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
