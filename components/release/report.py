"""Report: toolchain.release.report, in the image that publishes."""

from kfp import dsl

from components.images import RELEASE


@dsl.component(base_image=RELEASE, install_kfp_package=False)
def report(
    dataset: dsl.Input[dsl.Dataset],
    checks: dsl.Input[dsl.Artifact],
    variants: dsl.Input[dsl.Model],
    accuracy: dsl.Input[dsl.Artifact],
    parity: dsl.Input[dsl.Artifact],
    latency: dsl.Input[dsl.Artifact],
    verdict: dsl.Input[dsl.Artifact],
    platform_parity: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    pipeline: str = "",
    run: str = "",
    price_per_cpu_hour: float = 0.0,
    price_per_gpu_hour: float = 0.0,
    currency: str = "USD",
):
    """Tell all that was found, in one page for people and one JSON file for machines.

    Args:
        dataset: What the model was trained and measured on.
        checks: What validation checked.
        variants: The variants of the model.
        accuracy: The measurement of their accuracy.
        parity: The measurement of how alike they answer.
        latency: The measurement of their latency.
        verdict: What the gate made of the three.
        platform_parity: The winner's predictions on another architecture, compared with the recorded ones.
        report: report.html and report.json.
        page: The same page, for the Kubeflow UI.
        metrics: Of the winner, and what the steps before took.
        pipeline: Pipeline name, shown in the report.
        run: Run name, shown in the report.
        price_per_cpu_hour: Price of one CPU core per hour; 0: unknown, no cost is shown.
        price_per_gpu_hour: Price of one GPU per hour; 0: unknown.
        currency: Currency of both prices, an ISO 4217 code.
    """
    from pathlib import Path

    from toolchain.release.report import Config
    from toolchain.release.report import run as write

    config = Config(
        pipeline=pipeline,
        run=run,
        price_per_cpu_hour=price_per_cpu_hour,
        price_per_gpu_hour=price_per_gpu_hour,
        currency=currency,
    )
    result = write(
        Path(dataset.path),
        Path(checks.path),
        Path(variants.path),
        Path(accuracy.path),
        Path(parity.path),
        Path(latency.path),
        Path(verdict.path),
        Path(platform_parity.path),
        Path(report.path),
        Path(page.path),
        config,
    )
    metrics.log_metric("variants", result.variants)
    metrics.log_metric("accuracy", result.accuracy)
    metrics.log_metric("speedup", result.speedup)
    metrics.log_metric("cpu_seconds", result.cpu_seconds)
    metrics.log_metric("gpu_seconds", result.gpu_seconds)
    metrics.log_metric("size_bytes", result.size_bytes)
