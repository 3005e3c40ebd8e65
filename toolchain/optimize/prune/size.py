"""Size and speed of a model before and after pruning."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolchain.frameworks.torch.text_classifier import layers

TOKENS = 128  # of one request: the length at which variants are compared
OFFSET = 2  # positions that RoBERTa keeps for itself; a model for shorter texts is asked one as long as it can take
NO_SPEED = 1.05  # a ratio of times below this is no gain that a user would notice, nor one to tell from noise
ROUNDS = 15  # timed calls of each model, in turn: about 2 s for a small BERT


@dataclass(frozen=True)
class Latency:
    """Of one request (TOKENS tokens, or one picture) in PyTorch, on one thread of the CPU."""

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
    """Return how long one request of TOKENS tokens takes text classifiers ``before`` and ``after``."""
    import torch

    ids = torch.ones(1, min(TOKENS, before.config.max_position_embeddings - OFFSET), dtype=torch.int64)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return compare(lambda: before.eval()(**inputs), lambda: after.eval()(**inputs))


def compare(before: Callable[[], object], after: Callable[[], object]) -> Latency:
    """Return how long one call of ``before`` and of ``after`` takes, timed in turn, so that noise meets both."""
    import torch

    with torch.inference_mode(), _one_thread():
        for call in (before, after):
            call()  # the first one sets things up
        rounds = [(_milliseconds(before), _milliseconds(after)) for _ in range(ROUNDS)]
    first, second = zip(*rounds, strict=True)
    ratio = statistics.median(one / other for one, other in rounds)
    return Latency(round(statistics.median(first), 2), round(statistics.median(second), 2), round(ratio, 3))


def speed_in_words(method: str, layer_sparsity: float, latency: Latency) -> str:
    """Return one sentence that says what the sparsity bought in time, and plainly when that is nothing."""
    times = f"{latency.before_ms:.1f} ms before, {latency.after_ms:.1f} ms after, in PyTorch on one thread"
    share = f"{100 * layer_sparsity:.0f} % of the layers' weights are {'zero' if method == 'unstructured' else 'gone'}"
    if latency.ratio >= NO_SPEED:
        return f"{share}, which makes a request {latency.ratio:.2f} times faster ({times})"
    why = "; a matrix product multiplies zeros too" if method == "unstructured" else ""
    return f"{share}, which buys no speed ({times}){why}"


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
