"""Drift: toolchain.monitor.drift, in the image that watches."""

from kfp import dsl

from components.images import MONITOR


@dsl.component(base_image=MONITOR, install_kfp_package=False)
def drift(
    drift: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    model: str = "",
    samples: str = "",
    rows: int = 500,
    least_rows: int = 100,
    hours: float = 0.0,
    level: float = 0.01,
    experiment: str = "",
):
    """Tell whether what a served model is asked, and answers, still looks like what it was evaluated on.

    Args:
        drift: drift.json and drift.html.
        page: The same page, for the Kubeflow UI.
        metrics: The verdict.
        model: The registered model: name (what serves), name@alias or name:version.
        samples: Where its servers put samples: a folder, or s3://BUCKET/PREFIX.
        rows: Of the window, the newest ones.
        least_rows: Below which nothing is said.
        hours: That a row may be old; 0: any age.
        level: Chance of a false alarm in one look, 0..1.
        experiment: Of MLflow; "": the environment's.
    """
    from pathlib import Path

    from toolchain.monitor.drift import Config, run

    config = Config(
        model=model,
        samples=samples,
        rows=rows,
        least_rows=least_rows,
        hours=hours,
        level=level,
        experiment=experiment,
    )
    result = run(Path(drift.path), Path(page.path), config)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("judged", result.judged)
    metrics.log_metric("data_drift", result.data_drift)
    metrics.log_metric("prediction_drift", result.prediction_drift)
    metrics.log_metric("columns", result.columns)
