"""Component for toolchain.data.report."""

from kfp import dsl

from components.images import BASE


@dsl.component(base_image=BASE, install_kfp_package=False)
def report(
    dataset: dsl.Input[dsl.Dataset],
    checks: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    examples: int = 3,
):
    """Write a report on a prepared dataset: rows, classes, dropped rows and checked rules.

    Args:
        dataset: A dataset with splits.
        checks: The result of its validation.
        report: report.html and report.json.
        page: The HTML report, for the Kubeflow UI.
        metrics: rows, dropped and rules.
        examples: Number of example texts to show per class.
    """
    from pathlib import Path

    from toolchain.data.report import Config, run

    result = run(Path(dataset.path), Path(checks.path), Path(report.path), Path(page.path), Config(examples=examples))
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("dropped", result.dropped)
    metrics.log_metric("rules", result.rules)
