"""Detect drift: compare recent requests and predictions of a served model with the rows that it was evaluated on."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.folder import write_file
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.profile import Profile
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError
from toolchain.lifecycle import registry
from toolchain.lifecycle.request_samples import DRIFT, DRIFT_FORMAT, open_store, version_folder
from toolchain.monitor.drift.comparison import compare
from toolchain.monitor.drift.page import render
from toolchain.monitor.drift.record import record
from toolchain.monitor.drift.reference import Reference, find_reference
from toolchain.monitor.drift.window import Window, read_window
from toolchain.progress import log_info
from toolchain.services.mlflow import Tracker

NO_PROFILE = "the version was registered without a profile, by an older toolchain; run its pipeline again"


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""  # Registered model: name (its serving version), name@alias or name:version; required.
    samples: str = ""  # Location of the servers' request samples: a folder, or s3://BUCKET/PREFIX; required.
    rows: int = 500  # Number of newest rows to compare; 500 detect a distance of 0.11 to a profile of 1,000 rows.
    min_rows: int = 100  # Minimum number of rows for a verdict.
    max_age_hours: float = 0.0  # Maximum age of a row in hours; 0: no limit.
    significance_level: float = 0.01  # Significance level, 0..1: the false alarm rate of one check.
    experiment: str = ""  # MLflow experiment; "": MLFLOW_EXPERIMENT_NAME, or toolchain.

    def __post_init__(self) -> None:
        registry.check_name(self.model)
        open_store(self.samples)
        if not 0 < self.min_rows <= self.rows:
            raise ConfigError(f"min_rows is {self.min_rows}: give 1 to rows, which is {self.rows}")
        if not 0 <= self.max_age_hours < float("inf"):
            raise ConfigError(f"max_age_hours is {self.max_age_hours}: give a number above 0, or 0 for no limit")
        if not 0 < self.significance_level < 1:
            raise ConfigError(
                f"significance_level is {self.significance_level}: give a probability between 0 and 1, such as 0.01"
            )
        if "'" in self.experiment or "`" in self.experiment:
            raise ConfigError(f"experiment is {self.experiment!r}: give a name without quotation marks")


@dataclass(frozen=True)
class Result:
    rows: int  # in the window
    has_verdict: bool  # false: too few rows, or no profile
    data_drift: bool
    prediction_drift: bool
    drifted_columns: int


def detect_drift(reference: Reference, window: Window, config: Config) -> dict[str, Any]:
    """Return the content of drift.json.

    Returns:
        The model; checked_at, seconds since 1970; has_verdict and, if false, reason; drift_detected, data_drift and
        prediction_drift; window and reference; level; columns, see ``Column``, largest distance first; and
        skipped_columns.
    """
    profile = reference.profile
    reason = _no_verdict_reason(reference, window, config)
    columns, skipped = (
        ([], []) if reason or profile is None else compare(profile, window.rows, config.significance_level)
    )
    drifted_types = {column.type for column in columns if column.drift_detected}
    return {
        "format": DRIFT_FORMAT,
        "version": 1,
        **asdict(reference.subject),
        "checked_at": round(time.time(), 3),
        "has_verdict": not reason,
        "reason": reason,
        "drift_detected": bool(drifted_types),
        "data_drift": "data" in drifted_types,
        "prediction_drift": "prediction" in drifted_types,
        "window": window.to_json(),
        "reference": _describe(profile),
        "level": config.significance_level,
        "columns": [c.to_json() for c in sorted(columns, key=lambda c: (-c.drift_detected, -c.distance))],
        "skipped_columns": skipped,
    }


def run(drift: Path, page: Path, config: Config) -> Result:
    """Check the samples of ``config.model`` for drift; write the measurement ``drift`` and the HTML file ``page``.

    The report is also uploaded to MLflow, and drift.json is written beside the samples, where servers read it for
    their metrics.

    Raises:
        ArtifactError: the profile in MLflow is damaged.
        ConfigError: there is no such model, or no MLflow server is configured.
        ServiceError: MLflow or the storage of the samples is not available.
    """
    work, tracker, storage = Work("monitor.drift", config), Tracker(), open_store(config.samples)
    reference = find_reference(tracker, config.model)
    window = read_window(storage, reference.subject, config.rows, config.max_age_hours)
    with new_measurement(drift, "drift", work) as writer:
        writer.data = report = detect_drift(reference, window, config)
        html = render(report)
        (writer.folder / "drift.html").write_text(html, encoding="utf-8")
        content = json.dumps(report, indent=1, allow_nan=False).encode()
        (writer.folder / DRIFT).write_bytes(content)
        work.metrics |= {"rows": len(window.rows), "drift_detected": float(report["drift_detected"])}
        record(tracker, reference.version, report, writer.folder, config.experiment)
        storage.put(f"{version_folder(reference.subject.model, reference.subject.digest)}/{DRIFT}", content)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_file(page, html.encode())
    log_info(summary(report))
    drifted = sum(column["drift_detected"] for column in report["columns"])
    return Result(len(window.rows), report["has_verdict"], report["data_drift"], report["prediction_drift"], drifted)


def summary(report: dict[str, Any]) -> str:
    """Return the verdict of ``report`` in one line."""
    version = f"{report['model']}, version {report['model_version']}"
    if not report["has_verdict"]:
        return f"No drift verdict for {version}: {report['reason']}"
    names = [f"{column['name']} ({column['distance']:.2f})" for column in report["columns"] if column["drift_detected"]]
    if names:
        return f"Drift detected for {version}: {', '.join(names)}"
    return f"No drift detected for {version} in {report['window']['rows']:,} rows"


def _no_verdict_reason(reference: Reference, window: Window, config: Config) -> str:
    """Return why the samples allow no verdict, "" when they do."""
    if reference.profile is None:
        return NO_PROFILE
    if not window.rows and window.other_versions:
        others, own = ", ".join(window.other_versions), short_digest(reference.subject.digest)
        return f"there are samples of {others} but none of {own}"
    if len(window.rows) < config.min_rows:
        return f"too few rows: {len(window.rows)}, min_rows is {config.min_rows}"
    return ""


def _describe(profile: Profile | None) -> dict[str, Any]:
    return {"rows": len(profile.labels), "split": profile.split} if profile else {"rows": 0, "split": ""}
