"""Size and speed of a model before and after pruning."""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolchain.artifacts.transformer import layers

TOKENS = 128  # of one request: the length at which variants are compared
OFFSET = 2  # positions that RoBERTa keeps for itself; a model for shorter texts is asked one as long as it can take
ROUNDS = 15  # timed calls of each model, in turn: about 2 s for a small BERT


@dataclass(frozen=True)
class Latency:
    """Of one request of TOKENS tokens in PyTorch, on one thread of the CPU."""

    before_ms: float  # median
    after_ms: float  # median
    ratio: float  # median over rounds of before / after


def count_weights(classifier: Any) -> int:
    """Return the number of weights that are not 0."""
    return sum(int(weight.count_nonzero()) for weight in classifier.parameters())


def count_layer_weights(classifier: Any) -> int:
    """Return the number of weights in the matrices of the transformer's layers that are not 0."""
    parts = ("query", "key", "value", "joined", "widening", "narrowing")
    return sum(int(getattr(layer, part).weight.count_nonzero()) for layer in layers(classifier) for part in parts)


def measure_latency(before: Any, after: Any) -> Latency:
    """Return how long one request takes ``before`` and ``after``, timed in turn, so that noise meets both."""
    import torch

    ids = torch.ones(1, min(TOKENS, before.config.max_position_embeddings - OFFSET), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.inference_mode(), _one_thread():
        for classifier in (before, after):
            classifier.eval()(**inputs)  # the first call sets things up
        rounds = [(_milliseconds(before, inputs), _milliseconds(after, inputs)) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    ratio = statistics.median(one / other for one, other in rounds)
    return Latency(round(statistics.median(first), 2), round(statistics.median(second), 2), round(ratio, 3))


def _milliseconds(classifier: Any, inputs: dict[str, Any]) -> float:
    began = time.perf_counter()
    classifier(**inputs)
    return 1000 * (time.perf_counter() - began)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
