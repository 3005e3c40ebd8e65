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
    """Write one page on a prepared dataset: rows, classes, dropped rows and checks.

    Args:
        dataset: The splits.
        checks: The checks of these splits.
        report: The page and its numbers.
        page: The same page, for the Kubeflow UI.
        metrics: Rows kept, rows dropped and rules checked.
        examples: Texts shown of each class.
    """
    from pathlib import Path

    from toolchain.data.report import Config, run

    result = run(Path(dataset.path), Path(checks.path), Path(report.path), Path(page.path), Config(examples=examples))
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("dropped", result.dropped)
    metrics.log_metric("rules", result.rules)
