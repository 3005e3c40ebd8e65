"""Component for toolchain.evaluate.latency."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def latency(
    variants: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    latency: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    split: str = "test",
    rounds: int = 32,
    max_seconds: float = 20.0,
    threads: int = 1,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
):
    """Measure the latency of every variant on this machine, alternately in one process, on the same requests.

    Args:
        variants: The variants of one model.
        dataset: The rows of the requests.
        latency: Percentiles, throughput and speedup in each scenario, size, cold start and memory of each variant.
        metrics: p50 of the reference and of the fastest variant, its speedup, and the memory of the reference.
        split: Split whose rows are sent as requests.
        rounds: Number of timed rows per variant: requests of one row, or an eighth as many of eight rows.
        max_seconds: Time limit of each scenario for all variants, in seconds; slow machines run fewer rounds.
        threads: Threads per inference, each pinned to a core; servers have the highest throughput with 1.
        resamples: Number of bootstrap resamples; 1000 give the second digit of a 95 % bound.
        confidence: Confidence level of the intervals, 0..1.
        seed: Random seed of the sampled rows, the order of variants and the bootstrap.
    """
    from pathlib import Path

    from toolchain.evaluate.latency import Config, run

    config = Config(
        split=split,
        rounds=rounds,
        max_seconds=max_seconds,
        threads=threads,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    result = run(Path(variants.path), Path(dataset.path), Path(latency.path), config)
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("reference_p50_ms", result.reference_p50_ms)
    metrics.log_metric("lowest_p50_ms", result.lowest_p50_ms)
    metrics.log_metric("highest_speedup", result.highest_speedup)
    metrics.log_metric("peak_memory_bytes", result.peak_memory_bytes)
