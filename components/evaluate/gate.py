"""Component for toolchain.evaluate.gate."""

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
    """Decide which variant may be promoted, and give the reasons for each variant.

    Args:
        accuracy: The measurement of accuracy.
        parity: The measurement of parity, made from that of accuracy.
        latency: The measurement of latency, of the same variants.
        verdict: The selected variant, the reason, and whether each variant is accurate and faster, with reasons.
        metrics: Whether a variant is promotable, its speedup, and how many variants pass each test.
        max_accuracy_drop: Maximum loss of accuracy (for detection: mAP50) of an accurate variant, 0..1.
        max_class_recall_drop: Maximum loss of the worst class's recall (for detection: AP50), 0..1.
        agreement: Minimum fraction of rows on which a converted variant predicts the same as its float model, 0..1.
        retrained_agreement: Minimum fraction of rows on which a retrained variant (it may differ on hard rows) and its
            conversions predict the same as fp32, 0..1.
        min_speedup: Minimum speedup over fp32 of a faster variant, compared with the lower end of the interval.
        scenario: Latency scenario that decides, such as batch8 or batch1-real; "": the first, with one row per request.
        min_test_rows: Minimum number of test rows (for detection: objects) to select a variant.
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
