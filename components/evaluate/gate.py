"""Gate: toolchain.evaluate.gate, in the image that runs optimized models."""

from kfp import dsl

from components.images import OPTIMIZE


@dsl.component(base_image=OPTIMIZE, install_kfp_package=False)
def gate(
    accuracy: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Artifact],
    latency: dsl.Input[dsl.Artifact],
    verdict: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    max_accuracy_drop: float = 0.01,
    max_class_recall_drop: float = 0.02,
    agreement: float = 0.97,
    retrained_agreement: float = 0.85,
    min_speedup: float = 1.05,
    scenario: str = "",
    min_test_rows: int = 100,
):
    """Say which variant may be promoted, and why each of the others may not.

    Args:
        accuracy: The measurement of accuracy.
        parity: The measurement of parity, made from that of accuracy.
        latency: The measurement of latency, of the same variants.
        verdict: The winner, the reason, and whether each variant is accurate and faster, with reasons in sentences.
        metrics: Whether a variant is promoted, whether the winner can be, its speedup, and how many variants pass each
            test.
        max_accuracy_drop: The most that a variant may lose, as a share of rows.
        max_class_recall_drop: What the recall of the worst class may lose, 0..1.
        agreement: How often a variant must give the answer of the one that it repeats.
        retrained_agreement: How often one that was trained again must give the reference's answer.
        min_speedup: How many times as fast as the reference a variant must surely be.
        scenario: The one of latency's scenarios that decides; empty for its first.
        min_test_rows: The fewest rows that a verdict may rest on.
    """
    from pathlib import Path

    from toolchain.evaluate.gate import Config, run

    config = Config(
        max_accuracy_drop=max_accuracy_drop,
        max_class_recall_drop=max_class_recall_drop,
        agreement=agreement,
        retrained_agreement=retrained_agreement,
        min_speedup=min_speedup,
        scenario=scenario,
        min_test_rows=min_test_rows,
    )
    result = run(Path(accuracy.path), Path(parity.path), Path(latency.path), Path(verdict.path), config)
    metrics.log_metric("promoted", float(result.promoted))
    metrics.log_metric("promotable", float(result.promotable))
    metrics.log_metric("speedup", result.speedup)
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("accurate", result.accurate)
    metrics.log_metric("faster", result.faster)
