"""Batches of rows of like length, so that training computes on tokens and hardly on padding."""

from collections.abc import Sequence

import numpy as np

POOL = 50  # batches whose rows are sorted together: enough that lengths match, few enough that batches stay mixed


def batches_by_length(lengths: Sequence[int], rows: int, seed: int) -> list[list[int]]:
    """Return the positions of ``lengths`` (in tokens) in batches of at most ``rows``, every position once.

    Rows are shuffled, sorted by length within pools of ``POOL`` batches and cut, and the batches are shuffled. The same
    ``seed`` gives the same batches: give each epoch one of its own.
    """
    random = np.random.default_rng(seed)
    order, known = random.permutation(len(lengths)), np.asarray(lengths)
    pools = [order[start : start + POOL * rows] for start in range(0, len(order), POOL * rows)]
    sorted_order = np.concatenate([pool[np.argsort(known[pool], kind="stable")] for pool in pools] or [order])
    batches = [sorted_order[start : start + rows].tolist() for start in range(0, len(order), rows)]
    return [batches[position] for position in random.permutation(len(batches))]
