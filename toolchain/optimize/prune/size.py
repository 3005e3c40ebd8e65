"""Measure the size and the speed of a model before and after pruning."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolchain.frameworks.torch.text_classifier import layers

TOKENS = 128  # of one request: the length at which variants are compared
OFFSET = 2  # positions that RoBERTa reserves; shorter models get a request of their maximum length
MIN_SPEEDUP = 1.05  # below this a user would not notice, and noise is as large
ROUNDS = 15  # timed calls of each model, alternating: about 2 s for a small BERT


@dataclass(frozen=True)
class Latency:
    """Latency of one request (TOKENS tokens, or one image) in PyTorch, on one CPU thread."""

    before_ms: float  # median
    after_ms: float  # median
    speedup: float  # median over rounds of before / after


def count_weights(classifier: Any) -> int:
    """Return the number of weights that are not 0."""
    return sum(int(weight.count_nonzero()) for weight in classifier.parameters())


def count_layer_weights(classifier: Any) -> int:
    """Return the number of weights in the matrices of the transformer's layers that are not 0."""
    parts = ("query", "key", "value", "joined", "widening", "narrowing")
    return sum(int(getattr(layer, part).weight.count_nonzero()) for layer in layers(classifier) for part in parts)


def measure_latency(before: Any, after: Any) -> Latency:
    """Return the latency of the text classifiers ``before`` and ``after`` for one request of TOKENS tokens."""
    import torch

    ids = torch.ones(1, min(TOKENS, before.config.max_position_embeddings - OFFSET), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return compare(lambda: before.eval()(**inputs), lambda: after.eval()(**inputs))


def compare(before: Callable[[], object], after: Callable[[], object]) -> Latency:
    """Return the latency of ``before`` and ``after``, timed alternately, so that noise affects both."""
    import torch

    with torch.inference_mode(), _one_thread():
        for call in (before, after):
            call()  # warm-up
        rounds = [(_milliseconds(before), _milliseconds(after)) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    speedup = statistics.median(one / other for one, other in rounds)
    return Latency(round(statistics.median(first), 2), round(statistics.median(second), 2), round(speedup, 3))


def describe_speed(method: str, layer_sparsity: float, latency: Latency) -> str:
    """Return a sentence on the speedup that the sparsity gives, or that there is none."""
    times = f"{latency.before_ms:.1f} ms before, {latency.after_ms:.1f} ms after, in PyTorch on one thread"
    share = (
        f"{100 * layer_sparsity:.0f} % of the layers' weights are {'zero' if method == 'unstructured' else 'removed'}"
    )
    if latency.speedup >= MIN_SPEEDUP:
        return f"{share}, which makes a request {latency.speedup:.2f} times faster ({times})"
    why = "; zeros are multiplied like other numbers" if method == "unstructured" else ""
    return f"{share}, without a speedup ({times}){why}"


def _milliseconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
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
