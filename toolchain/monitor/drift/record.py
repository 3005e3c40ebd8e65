"""Record: what was found of a version, in MLflow: a run for each version that is watched, and tags of the version."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from toolchain.services.mlflow import Tracker, Version, default_experiment
from toolchain.services.registry import TAG_DIGEST

TAG_WATCHES = "toolchain.watches"  # of the run: the digest of the model
SECONDS_A_STEP = 60  # of the metrics' steps, which are minutes since 1970: a look now and then, in true proportion


def record(tracker: Tracker, version: Version, found: Mapping[str, Any], folder: Path, experiment: str = "") -> str:
    """Put ``found`` and the files of ``folder`` into the run that watches ``version``, tag it, return the run's id.

    Looks follow each other as steps of the same metrics, so that MLflow draws them over time.
    """
    place = experiment or default_experiment()
    digest = version.tags[TAG_DIGEST]
    known = tracker.runs({TAG_WATCHES: digest}, place)
    title = f"drift of {version.model} {version.number}"
    run = known[0].id if known else tracker.create_run(place, title, {TAG_WATCHES: digest})
    at = datetime.fromtimestamp(found["checked"], UTC)
    tracker.log(run, metrics=_metrics(found), step=int(found["checked"] // SECONDS_A_STEP))
    tracker.upload(run, folder, f"looks/{at:%Y%m%dT%H%M%SZ}")
    tracker.end(run)
    tracker.tag_version(version, {"drift": _word(found), "drift.checked": f"{at:%Y-%m-%dT%H:%M:%SZ}", "drift.run": run})
    return run


def _metrics(found: Mapping[str, Any]) -> dict[str, float]:
    told = {"window_rows": float(found["window"]["rows"]), "judged": float(found["judged"])}
    if found["judged"]:
        told |= {kind: float(found[kind]) for kind in ("data_drift", "prediction_drift")}
    for column in found["columns"]:
        told |= {f"distance.{column['name']}": column["distance"], f"p_value.{column['name']}": column["p_value"]}
    return told


def _word(found: Mapping[str, Any]) -> str:
    """Return the verdict as a version's tag: yes, no or unknown."""
    return ("yes" if found["drifted"] else "no") if found["judged"] else "unknown"
