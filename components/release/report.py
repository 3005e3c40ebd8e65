"""Component for toolchain.release.report."""

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
    """Write a report on the run, as an HTML page and as JSON.

    Args:
        dataset: The rows that the model was trained and measured on.
        checks: The result of the validation.
        variants: The variants of one model.
        accuracy: The measurement of accuracy.
        parity: The measurement of parity.
        latency: The measurement of latency.
        verdict: The gate's verdict.
        platform_parity: The predictions of the selected variant on another platform, compared with the recorded ones.
        report: report.html and report.json.
        page: The HTML report, for the Kubeflow UI.
        metrics: Metrics of the selected variant, and the duration of the steps.
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
