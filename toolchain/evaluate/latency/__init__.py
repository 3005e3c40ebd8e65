"""Measure the latency of all variants of a model in one process, interleaved on the same requests."""

import gc
import os
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.artifacts.dataset import Dataset, open_dataset
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import REFERENCE, Variants, open_variants
from toolchain.errors import ConfigError, DataError
from toolchain.evaluate.latency.cold_start import cold_start
from toolchain.hardware.cpu import describe, usable_cores
from toolchain.inference.runtime import Feeds, Session, open_session
from toolchain.inference.tasks import Task, task_of
from toolchain.metrics.bootstrap import Bootstrap, Floats
from toolchain.progress import Progress, track

Times = dict[str, Floats]  # seconds by variant, float64 of shape (rounds,)
MIN_ROUNDS = 5  # even after the time limit: the fewest whose median two disturbed rounds cannot move


@dataclass(frozen=True, kw_only=True)
class Config:
    split: str = "test"  # Split whose rows are sent as requests.
    rounds: int = 32  # Number of timed rows per variant: requests of one row, or an eighth as many of eight rows.
    # Time limit of each scenario for all variants, in seconds; slow machines run fewer rounds.
    max_seconds: float = 20.0
    threads: int = 1  # Threads per inference, each pinned to a core; servers have the highest throughput with 1.
    resamples: int = 1000  # Number of bootstrap resamples; 1000 give the second digit of a 95 % bound.
    confidence: float = 0.95  # Confidence level of the intervals, 0..1.
    seed: int = 0  # Random seed of the sampled rows, the order of variants and the bootstrap.

    def __post_init__(self) -> None:
        Bootstrap(resamples=self.resamples, confidence=self.confidence, seed=self.seed)
        if not self.split:
            raise ConfigError("split is empty: give the name of a split, such as test")
        if self.rounds < MIN_ROUNDS:
            raise ConfigError(f"rounds is {self.rounds}: give at least {MIN_ROUNDS}, such as 32")
        if not 0 < self.max_seconds < float("inf"):
            raise ConfigError(f"max_seconds is {self.max_seconds}: give the time for each scenario, such as 20")
        if self.threads < 1:
            raise ConfigError(f"threads is {self.threads}: give 1 or more")


@dataclass(frozen=True)
class Result:
    variants: int
    reference_p50_ms: float  # in the first scenario (one row), as are the next two
    lowest_p50_ms: float  # over all variants
    highest_speedup: float  # over the reference
    peak_memory_bytes: int  # of the reference's process


def compare(times: Times, rows: int, bootstrap: Bootstrap) -> dict[str, dict[str, Any]]:
    """Return the latency metrics of each variant from ``times`` of requests with ``rows`` rows.

    In each round every variant runs the same request, one right after the other, so what slows the machine for longer
    than a round (heat, another process) slows both sides of the quotient and cancels. The speedup is the median over
    rounds of the reference's time / the variant's, which a spike on either side cannot move; its interval comes from
    resampling whole rounds. The percentiles are of the variant's own times, disturbances included: the time that
    a caller waits.
    """
    reference = times[REFERENCE]
    return {
        name: {
            **{f"p{share}_ms": float(1000 * np.percentile(own, share)) for share in (50, 95, 99)},
            "rows_per_second": float(rows * len(own) / own.sum()),
            "rounds": len(own),
            "speedup": bootstrap.of_median((reference / own)[:, None]).to_json(),
        }
        for name, own in times.items()
    }


def run(variants: Path, dataset: Path, latency: Path, config: Config) -> Result:
    """Time all ``variants`` on rows of ``dataset`` and write the measurement ``latency``.

    Only the inference is timed, from token ids or pixels to the output. Cold start and peak memory are measured first,
    each in a fresh process.

    Raises:
        ArtifactError: an input is damaged, or a variant does not run.
        ConfigError: more threads than this process has cores.
        DataError: the split is missing or empty.
    """
    models, data = open_variants(variants), open_dataset(dataset)
    work = Work("evaluate.latency", config, variants=models, dataset=data)
    if config.threads > usable_cores():
        raise ConfigError(f"threads is {config.threads}, but this process may use only {usable_cores()} cores")
    processor = describe()
    with new_measurement(latency, "latency", work) as writer, pinned(config.threads) as cores:
        task = task_of(models.reference)
        values = sample_values(data, task.column, config)
        found = _describe_variants(models, values[0], config.threads)
        for scenario, compared in _time_scenarios(models, task, values, config):
            for name, metrics in compared.items():
                found[name]["scenarios"][scenario] = metrics
        writer.data = {
            "processor": asdict(processor),
            "threads": config.threads,
            "pinned_cores": cores,
            "versions": _versions(models),
            "reference": REFERENCE,
            "scenarios": list(task.scenarios),
            "variants": found,
        }
        first = next(iter(task.scenarios))
        work.metrics |= {f"p50_ms_{name}": entry["scenarios"][first]["p50_ms"] for name, entry in found.items()}
    return _result(found, first)


def sample_values(data: Dataset, column: str, config: Config) -> list[Any]:
    """Return sampled values of ``column`` in the split, one for each timed row; none twice if there are enough."""
    data.require(column)
    rows = data.rows(config.split)
    if not rows:
        raise DataError(f"the {config.split} split of {data.path} is empty: give a split with rows")
    wanted = max(config.rounds, MIN_ROUNDS * 8)
    sampled = np.random.default_rng(config.seed).choice(rows, wanted, replace=rows < wanted)
    found: dict[int, Any] = {}
    first = 0
    for batch in data.batches(config.split, [column]):
        mine = [position for position in set(sampled.tolist()) if first <= position < first + batch.num_rows]
        found |= {position: batch.column(column)[position - first].as_py() for position in mine}
        first += batch.num_rows
    return [found[position] for position in sampled.tolist()]


def time_interleaved(sessions: Mapping[str, Session], requests: list[Feeds], seconds: float, seed: int) -> Times:
    """Return the time of each of ``sessions`` for each request, for as many requests as fit into ``seconds``.

    As a warm-up, every session first runs a request of every shape. In a round all sessions run the same request, in an
    order that is shuffled again, and Python's garbage collector is disabled.
    """
    for feeds in {_shape(request): request for request in requests}.values():
        for session in sessions.values():
            session.run(feeds)
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    order, generator, end = list(sessions), np.random.default_rng(seed), time.monotonic() + seconds
    with _no_garbage_collection():
        for done, feeds in enumerate(requests):
            if done >= MIN_ROUNDS and time.monotonic() > end:
                break
            for index in generator.permutation(len(order)):
                began = time.perf_counter()
                sessions[order[index]].run(feeds)
                taken[order[index]].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in taken.items()}


def _shape(request: Feeds) -> tuple[int, ...]:
    return next(iter(request.values())).shape


@contextmanager
def pinned(threads: int) -> Iterator[list[int]]:
    """Pin this process and its children to ``threads`` cores and yield their numbers, none where that is impossible."""
    if not hasattr(os, "sched_setaffinity"):  # macOS
        yield []
        return
    allowed = os.sched_getaffinity(0)
    cores = sorted(allowed)[-threads:]  # the last ones: systems handle interrupts on the first
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, allowed)


def _describe_variants(models: Variants, value: Any, threads: int) -> dict[str, dict[str, Any]]:
    found = {}
    for name, model in track(models.models.items(), "cold start", len(models.models), "variants"):
        first = cold_start(model, value, threads)
        found[name] = {
            "backend": model.signature.backend,
            "size_bytes": model.size_bytes,
            "sparsity": model.sparsity,
            "cold_start_ms": first.milliseconds,
            "peak_memory_bytes": first.peak_memory_bytes,
            "scenarios": {},
        }
    return found


def _time_scenarios(
    models: Variants, task: Task, values: list[Any], config: Config
) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    sessions = {name: open_session(model, config.threads) for name, model in models.models.items()}
    prepared = task.input.prepare(values)
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    with Progress("latency", len(task.scenarios), "scenarios") as progress:
        for name, scenario in task.scenarios.items():
            rows, rounds = scenario.rows, max(MIN_ROUNDS, config.rounds // scenario.rows)
            parts = [prepared[rows * r : rows * (r + 1)] for r in range(rounds)]
            requests = [task.input.stack(part, scenario.tokens) for part in parts]
            yield name, compare(time_interleaved(sessions, requests, config.max_seconds, config.seed), rows, bootstrap)
            progress.advance()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _versions(models: Variants) -> dict[str, str]:
    backends = sorted({model.signature.backend for model in models.models.values()})
    return {
        "python": platform.python_version(),
        **{name: import_module(name).__version__ for name in ("numpy", *backends)},
    }


def _result(found: dict[str, dict[str, Any]], scenario: str) -> Result:
    timed = [entry["scenarios"][scenario] for entry in found.values()]
    return Result(
        variants=len(found),
        reference_p50_ms=found[REFERENCE]["scenarios"][scenario]["p50_ms"],
        lowest_p50_ms=min(entry["p50_ms"] for entry in timed),
        highest_speedup=max(entry["speedup"]["value"] for entry in timed),
        peak_memory_bytes=found[REFERENCE]["peak_memory_bytes"],
    )
