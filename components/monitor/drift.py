"""Component for toolchain.monitor.drift."""

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
    min_rows: int = 100,
    max_age_hours: float = 0.0,
    significance_level: float = 0.01,
    experiment: str = "",
):
    """Compare recent requests and predictions of a served model with the rows that it was evaluated on.

    Args:
        drift: drift.json and drift.html.
        page: The HTML report, for the Kubeflow UI.
        metrics: The verdict.
        model: Registered model: name (its serving version), name@alias or name:version; required.
        samples: Location of the servers' request samples: a folder, or s3://BUCKET/PREFIX; required.
        rows: Number of newest rows to compare; 500 detect a distance of 0.11 to a profile of 1,000 rows.
        min_rows: Minimum number of rows for a verdict.
        max_age_hours: Maximum age of a row in hours; 0: no limit.
        significance_level: Significance level, 0..1: the false alarm rate of one check.
        experiment: MLflow experiment; "": MLFLOW_EXPERIMENT_NAME, or toolchain.
    """
    from pathlib import Path

    from toolchain.monitor.drift import Config, run

    config = Config(
        model=model,
        samples=samples,
        rows=rows,
        min_rows=min_rows,
        max_age_hours=max_age_hours,
        significance_level=significance_level,
        experiment=experiment,
    )
    result = run(Path(drift.path), Path(page.path), config)
    metrics.log_metric("rows", result.rows)
    metrics.log_metric("has_verdict", result.has_verdict)
    metrics.log_metric("data_drift", result.data_drift)
    metrics.log_metric("prediction_drift", result.prediction_drift)
    metrics.log_metric("drifted_columns", result.drifted_columns)
