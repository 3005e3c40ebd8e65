"""Record a pipeline's run in MLflow with a nested run for each step, from the artifacts' provenance."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from toolchain.artifacts.digest import sha256_of_json
from toolchain.artifacts.provenance import Provenance
from toolchain.services.mlflow import PARENT, TAG_CONFIG, TAG_LIVE, TAG_STEP, Run, Tracker

TAG_DIGEST = "toolchain.digest"  # of the step's last artifact
TOLERANCE_MS = 2_000  # starts have a resolution of one second, and a live run begins a little later
COSTS = ("seconds", "cpu_seconds", "gpu_seconds", "peak_memory_bytes")


def begin(tracker: Tracker, experiment: str, title: str, identity: Mapping[str, str], lineage: list[Provenance]) -> str:
    """Return the id of the pipeline's run: the one with the tags ``identity``, or a new one."""
    key = {name: value for name, value in identity.items() if name == "toolchain.key"}
    found = tracker.runs(key, experiment)
    run = found[0].id if found else tracker.create_run(experiment, title, identity, _began(lineage))
    settings = {f"{entry.step}.{name}": value for entry in lineage for name, value in entry.config.items()}
    tracker.log(run, params=settings)
    return run


def record_steps(
    tracker: Tracker, experiment: str, run: str, lineage: Iterable[Provenance], variants: Mapping[str, str]
) -> None:
    """Create or update a nested run of ``run`` for each step in ``lineage``, with the step's own times.

    Args:
        variants: The name of each variant by its digest.
    """
    steps: dict[str, list[Provenance]] = {}
    for entry in lineage:
        steps.setdefault(entry.step, []).append(entry)
    children = {child.tags.get(TAG_STEP): child for child in tracker.runs({PARENT: run}, experiment)}
    for step, entries in steps.items():
        child = children.get(step)
        own = child.id if child else _adopted_or_new(tracker, experiment, run, entries)
        tags = {PARENT: run, TAG_STEP: step, TAG_DIGEST: entries[-1].digest}
        tracker.log(own, _settings(entries), _metrics(entries, variants), tags, at=_ended(entries))
        tracker.end(own, at=_ended(entries))


def begin_step(tracker: Tracker, experiment: str, run: str, step: str, config: Mapping[str, object]) -> str:
    """Return the id of the nested run of a running step."""
    found = tracker.runs({PARENT: run, TAG_STEP: step}, experiment)
    own = found[0].id if found else tracker.create_run(experiment, step, {PARENT: run, TAG_STEP: step})
    tracker.log(own, params=config)
    return own


def end_step(tracker: Tracker, own: str) -> None:
    tracker.end(own)


def _adopted_or_new(tracker: Tracker, experiment: str, run: str, entries: list[Provenance]) -> str:
    live = _live_run(tracker, experiment, entries)
    if live:
        return live.id
    tags = {PARENT: run, TAG_STEP: entries[0].step}
    return tracker.create_run(experiment, entries[0].step, tags, _began(entries))


def _live_run(tracker: Tracker, experiment: str, entries: list[Provenance]) -> Run | None:
    """Return the run that the step logged to while it ran, unless it belongs to another pipeline run."""
    began, ended = _began(entries) - TOLERANCE_MS, _ended(entries) + TOLERANCE_MS
    found = [
        live
        for live in tracker.runs({TAG_STEP: entries[0].step, TAG_LIVE: "true"}, experiment)
        if began <= live.started <= ended and PARENT not in live.tags
    ]
    settings = sha256_of_json(entries[0].config)
    return max(found, key=lambda live: live.tags.get(TAG_CONFIG) == settings, default=None)


def _settings(entries: list[Provenance]) -> dict[str, Any]:
    return {name: value for entry in entries for name, value in entry.config.items()}


def _metrics(entries: list[Provenance], variants: Mapping[str, str]) -> dict[str, float]:
    """Return the step's metrics, those of a variant prefixed by its name, and its cost."""
    metrics: dict[str, float] = {}
    for entry in entries:
        variant = variants.get(entry.digest, "") if len(entries) > 1 else ""
        metrics |= {f"{variant}.{name}" if variant else name: float(value) for name, value in entry.metrics.items()}
    longest = max(entries, key=lambda entry: entry.seconds)
    metrics |= {name: float(getattr(longest, name)) for name in COSTS}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _began(entries: Iterable[Provenance]) -> int:
    return min(_milliseconds(entry.started) for entry in entries)


def _ended(entries: Iterable[Provenance]) -> int:
    return max(_milliseconds(entry.started) + int(1000 * entry.seconds) for entry in entries)


def _milliseconds(started: str) -> int:
    return int(1000 * datetime.fromisoformat(started).timestamp()) if started else 0
