"""Drift: whether what a served model is asked, and answers, still looks like what it was evaluated on."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from toolchain.artifacts.folder import write_file
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.errors import ConfigError
from toolchain.monitor.drift.comparing import compare
from toolchain.monitor.drift.page import render
from toolchain.monitor.drift.record import record
from toolchain.monitor.drift.reference import Reference, find_reference
from toolchain.monitor.drift.window import Window, read_window
from toolchain.progress import say
from toolchain.services import registry
from toolchain.services.mlflow import Tracker
from toolchain.services.samples import DRIFT, DRIFT_FORMAT, folder_of, open_place

NO_PROFILE = "it was registered without a profile, by an older toolchain; register the model again by its pipeline"


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str = ""  # "name" (what serves), "name@alias" or "name:version"; must be given
    samples: str = ""  # where servers put samples: a folder, or s3://BUCKET/PREFIX; must be given
    rows: int = 500  # of the window: with 1,000 in the profile, a distance of 0.11 is seen then, and no trifle
    least_rows: int = 100  # below which nothing is said
    hours: float = 0.0  # that a row may be old; 0: any age
    level: float = 0.01  # chance of a false alarm in one look: 1 of 100 windows, where 5 would be too many
    experiment: str = ""  # of MLflow; "": MLFLOW_EXPERIMENT_NAME, else "toolchain"

    def __post_init__(self) -> None:
        registry.check_name(self.model)
        open_place(self.samples)
        if not 0 < self.least_rows <= self.rows:
            raise ConfigError(f"least_rows is {self.least_rows}: give 1 to rows, which is {self.rows}")
        if not 0 <= self.hours < float("inf"):
            raise ConfigError(f"hours is {self.hours}: give hours above 0, or 0 for rows of any age")
        if not 0 < self.level < 1:
            raise ConfigError(f"level is {self.level}: give a chance between 0 and 1, 0.01 is usual")
        if "'" in self.experiment or "`" in self.experiment:
            raise ConfigError(f"experiment is {self.experiment!r}: give a name without quotation marks")


@dataclass(frozen=True)
class Result:
    rows: int  # in the window
    judged: bool  # whether there was enough to say anything
    data_drift: bool
    prediction_drift: bool
    columns: int  # that drifted


def look(reference: Reference, window: Window, config: Config) -> dict[str, Any]:
    """Return what is to be said of ``window``: the content of drift.json.

    Returns:
        Whose rows they are; checked, seconds since 1970; judged and, if not, reason; drifted, data_drift and
        prediction_drift; window, reference; level, and columns as ``Column.to_json`` tells them, the furthest first.
    """
    profile, count = reference.profile, len(window.rows)
    reason = _reason(reference, window, config)
    columns, left_out = ([], []) if reason or profile is None else compare(profile, window.rows, config.level)
    drifted = {column.kind for column in columns if column.drifted}
    say(reason or f"{count:,} rows of {reference.subject.model} {reference.subject.model_version} compared")
    return {
        "format": DRIFT_FORMAT,
        "version": 1,
        **asdict(reference.subject),
        "checked": round(time.time(), 3),
        "judged": not reason,
        "reason": reason,
        "drifted": bool(drifted),
        "data_drift": "data" in drifted,
        "prediction_drift": "prediction" in drifted,
        "window": window.to_json(),
        "reference": {"rows": len(profile.labels), "split": profile.split} if profile else {"rows": 0, "split": ""},
        "level": config.level,
        "columns": [c.to_json() for c in sorted(columns, key=lambda column: (-column.drifted, -column.distance))],
        "left_out": left_out,
    }


def run(drift: Path, page: Path, config: Config) -> Result:
    """Look at the samples of what ``config.model`` means and write the measurement ``drift``, and a page on it.

    The same goes to MLflow, and as drift.json beside the samples, where servers read it for their figures.

    Raises:
        ArtifactError: the profile in MLflow is damaged.
        ConfigError: there is no such model, or no MLflow server is named.
        ServiceError: MLflow, or where the samples are, does not answer or refuses.
    """
    work, tracker, place = Work("monitor.drift", config), Tracker(), open_place(config.samples)
    reference = find_reference(tracker, config.model)
    window = read_window(place, reference.subject, config.rows, config.hours)
    with new_measurement(drift, "drift", work) as writer:
        writer.data = found = look(reference, window, config)
        html = render(found)
        (writer.folder / "drift.html").write_text(html, encoding="utf-8")
        content = json.dumps(found, indent=1, allow_nan=False).encode()
        (writer.folder / DRIFT).write_bytes(content)
        work.metrics |= {"rows": len(window.rows), "drifted": float(found["drifted"])}
        record(tracker, reference.version, found, writer.folder, config.experiment)
        place.put(f"{folder_of(reference.subject.model, reference.subject.digest)}/{DRIFT}", content)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_file(page, html.encode())
    say(sentence(found))
    drifted = sum(column["drifted"] for column in found["columns"])
    return Result(len(window.rows), found["judged"], found["data_drift"], found["prediction_drift"], drifted)


def sentence(found: dict[str, Any]) -> str:
    """Return the verdict of ``look`` in one line."""
    what = f"version {found['model_version']} of {found['model']}"
    if not found["judged"]:
        return f"no verdict on {what}: {found['reason']}"
    names = [f"{column['name']} ({column['distance']:.2f})" for column in found["columns"] if column["drifted"]]
    return f"drift of {what}: {', '.join(names)}" if names else f"no drift of {what} in {found['window']['rows']} rows"


def _reason(reference: Reference, window: Window, config: Config) -> str:
    """Return why nothing can be said, "" when something can."""
    if reference.profile is None:
        return NO_PROFILE
    if not window.rows and window.others:
        return f"there are samples of {', '.join(window.others)} and none of {reference.subject.digest[:12]}"
    if len(window.rows) < config.least_rows:
        return f"too few rows: {len(window.rows)} of the {config.least_rows} that least_rows asks for"
    return ""
