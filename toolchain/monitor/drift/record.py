"""Record drift reports in MLflow: one run for each monitored version, and tags on the version."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolchain.lifecycle.registry import TAG_DIGEST
from toolchain.services.mlflow import Tracker, Version, default_experiment

TAG_MONITORED = "toolchain.monitored_model"  # of the run: the digest of the model
STEP_SECONDS = 60  # metric steps are minutes since 1970, so that irregular checks are drawn at the right distance


def record(tracker: Tracker, version: Version, report: Mapping[str, Any], folder: Path, experiment: str = "") -> str:
    """Log ``report`` and the files of ``folder`` to the run that monitors ``version``, tag it, and return the run's id.

    Each check is a step of the same metrics, so that MLflow draws them over time.
    """
    experiment = experiment or default_experiment()
    tags = {TAG_MONITORED: version.tags[TAG_DIGEST]}
    existing = tracker.runs(tags, experiment)
    title = f"drift of {version.model} {version.number}"
    run = existing[0].id if existing else tracker.create_run(experiment, title, tags)
    checked_at = datetime.fromtimestamp(report["checked_at"], UTC)
    tracker.log(run, metrics=_metrics(report), step=int(report["checked_at"] // STEP_SECONDS))
    tracker.upload(run, folder, f"checks/{checked_at:%Y%m%dT%H%M%SZ}")
    tracker.end(run)
    verdict = {"drift": _verdict(report), "drift.checked_at": f"{checked_at:%Y-%m-%dT%H:%M:%SZ}", "drift.run": run}
    tracker.tag_version(version, verdict)
    return run


def _metrics(report: Mapping[str, Any]) -> dict[str, float]:
    metrics = {"window_rows": float(report["window"]["rows"]), "has_verdict": float(report["has_verdict"])}
    if report["has_verdict"]:
        metrics |= {name: float(report[name]) for name in ("data_drift", "prediction_drift")}
    for column in report["columns"]:
        metrics |= {f"distance.{column['name']}": column["distance"], f"p_value.{column['name']}": column["p_value"]}
    return metrics


def _verdict(report: Mapping[str, Any]) -> str:
    """Return the verdict as the value of a tag: yes, no or unknown."""
    return ("yes" if report["drift_detected"] else "no") if report["has_verdict"] else "unknown"
