"""Time variants by turns, in one process, on the same request."""

import gc
import time

import numpy as np

from toolchain.inference.runtime import Feeds, Session

TOKENS, ROUNDS, WARM = 128, 60, 3
SMALL_VOCABULARY = 1000  # ids below it exist in every vocabulary; the time does not depend on the ids


def tokens() -> Feeds:
    """Return a request of one text of ``TOKENS`` tokens."""
    ids = np.random.default_rng(0).integers(0, SMALL_VOCABULARY, (1, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def times(sessions: dict[str, Session], feeds: Feeds) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return wall-clock and processor seconds of each turn by variant; each round has a random order."""
    random = np.random.default_rng(0)
    wall: dict[str, list[float]] = {name: [] for name in sessions}
    cpu: dict[str, list[float]] = {name: [] for name in sessions}
    gc.disable()
    for turn in range(WARM + ROUNDS):
        for name in random.permutation(list(sessions)):
            began, busy = time.perf_counter(), time.process_time()
            sessions[name].run(feeds)
            if turn >= WARM:
                cpu[name].append(time.process_time() - busy)
                wall[name].append(time.perf_counter() - began)
    gc.enable()
    return wall, cpu
