"""Compare schedules with the recurring runs of Kubeflow Pipelines, and update the recurring runs.

A recurring run cannot be changed. When its schedule changes, it is disabled, with its runs still listed, and a new one
with the same name is created. The description of a recurring run names its schedule and a digest of its content.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from cli.cluster.bucket import cluster_bucket, local_files, remote_values, upload_sources
from cli.cluster.kfp_client import Server
from cli.compiled import catalog
from cli.compiled.spec import compile_pipeline, read
from cli.compiled.transform import labels_of, transform
from cli.run import cluster
from cli.schedules.cron import utc_cron
from cli.schedules.files import Schedule, values_of
from toolchain.errors import ServiceError

MARK = re.compile(r"toolchain schedule ([\w.-]+), content ([0-9a-f]{12})")
ADD, REPLACE, PAUSE, RESUME, REMOVE, ORPHAN, SAME = "add", "replace", "pause", "resume", "remove", "orphan", "same"


@dataclass(frozen=True)
class Desired:
    """The desired state of a schedule's recurring run."""

    schedule: Schedule
    compiled: str  # the pipeline's YAML, with the current images
    values: Mapping[str, Any]  # of parameters; a local file by its key in the bucket
    cron: str  # of KFP: six fields, in UTC

    @property
    def digest(self) -> str:
        """12 hexadecimal digits of the content of the recurring run, which excludes whether it is enabled."""
        content = [self.compiled, self.values, self.cron, self.schedule.concurrency, self.schedule.pipeline]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def description(self) -> str:
        own = self.schedule
        return f"toolchain schedule {own.name}, content {self.digest}: {own.cron} in {own.zone}"


@dataclass(frozen=True)
class RecurringRun:
    """A recurring run on the server."""

    id: str
    name: str
    schedule: str  # that it belongs to; "" if it was not created by the toolchain
    digest: str
    enabled: bool
    created: str
    cron: str
    concurrency: str
    values: Mapping[str, Any]
    images: frozenset[str]


@dataclass(frozen=True)
class Change:
    """The difference between a schedule and its recurring runs."""

    action: str  # ADD, REPLACE, PAUSE, RESUME, REMOVE, ORPHAN, SAME
    name: str
    details: tuple[str, ...]  # one line per difference
    desired: Desired | None
    current: tuple[RecurringRun, ...]  # that the action disables or enables


def desired_state(schedule: Schedule, now: datetime | None = None) -> Desired:
    """Compile the pipeline of ``schedule`` and return the desired state of its recurring run."""
    text = compile_pipeline(catalog.find(schedule.pipeline), cluster.size(schedule.resources))
    spec = read(text)
    labels = labels_of(schedule.name, schedule.owner, schedule.name)
    cron = utc_cron(schedule.cron, schedule.zone, now or datetime.now(UTC))
    return Desired(schedule, transform(text, labels), remote_values(spec, values_of(schedule, spec)), cron)


def compare(desired: Iterable[Desired], current: Iterable[RecurringRun]) -> list[Change]:
    """Return the changes by name; SAME if nothing differs, ORPHAN for a recurring run without a schedule."""
    newest_first = sorted(current, key=lambda one: one.created, reverse=True)
    changes = [_change(one, [run for run in newest_first if run.schedule == one.schedule.name]) for one in desired]
    names = {change.name for change in changes}
    for run in newest_first:
        if run.schedule and run.schedule not in names and run.enabled:
            changes.append(Change(REMOVE, run.schedule, ("it has no file",), None, (run,)))
        if not run.schedule:
            state = "enabled" if run.enabled else "disabled"
            changes.append(
                Change(ORPHAN, run.name, (f"{run.id}, {state}, not created by the toolchain",), None, (run,))
            )
    return sorted(changes, key=lambda change: (change.action == ORPHAN, change.name))


def differs(changes: Iterable[Change]) -> bool:
    """Return whether ``changes`` change anything."""
    return any(change.action not in (SAME, ORPHAN) for change in changes)


def recurring_runs(server: Server) -> list[RecurringRun]:
    """Return all recurring runs on ``server``."""
    return [_recurring_run(one) for one in server.schedules()]


def apply_change(change: Change, server: Server) -> None:
    """Update the recurring runs of a schedule: create the new one first, then disable the old ones."""
    if change.action in (ADD, REPLACE) and change.desired:
        _create(change.desired, server)
    for run in change.current:
        if change.action in (REPLACE, PAUSE, REMOVE) and run.enabled:
            server.enable(run.id, False)
        if change.action == RESUME:
            server.enable(run.id, True)


def newest(name: str, runs: Iterable[RecurringRun]) -> RecurringRun:
    """Return the newest recurring run of the schedule ``name``.

    Raises:
        ServiceError: it was never applied.
    """
    own = sorted((one for one in runs if one.schedule == name), key=lambda one: one.created)
    if not own:
        raise ServiceError(f"schedule {name} is not on the cluster yet: run toolchain schedule apply")
    return own[-1]


def _create(desired: Desired, server: Server) -> None:
    own, spec = desired.schedule, read(desired.compiled)
    values = values_of(own, spec)
    if local_files(spec, values):
        with cluster_bucket(server.settings, server.namespace) as bucket:
            values = upload_sources(spec, values, bucket)
    options = {
        "cron_expression": desired.cron,
        "params": values,
        "max_concurrency": own.concurrency,
        "description": desired.description,
        "enabled": own.enabled,
    }
    server.schedule(own.name, own.pipeline, desired.compiled, options)


def _change(desired: Desired, runs: list[RecurringRun]) -> Change:
    """Return the difference between ``desired`` and the recurring ``runs`` of the schedule, newest first."""
    schedule, enabled = desired.schedule, desired.schedule.enabled
    if not runs:
        state = "enabled" if enabled else "disabled"
        return Change(ADD, schedule.name, (f"{schedule.cron} in {schedule.zone}, {state}",), desired, ())
    latest, stale = runs[0], tuple(one for one in runs[1:] if one.enabled)
    if latest.digest != desired.digest:
        return Change(REPLACE, schedule.name, tuple(_differences(desired, latest)), desired, tuple(runs))
    if stale:
        return Change(REMOVE, schedule.name, (f"{len(stale)} older ones are still enabled",), desired, stale)
    if latest.enabled and not enabled:
        return Change(PAUSE, schedule.name, ("enabled: true -> false",), desired, (latest,))
    if enabled and not latest.enabled:
        return Change(RESUME, schedule.name, ("enabled: false -> true",), desired, (latest,))
    return Change(SAME, schedule.name, (), desired, (latest,))


def _differences(desired: Desired, run: RecurringRun) -> list[str]:
    lines, schedule = [], desired.schedule
    if run.cron != desired.cron:
        lines.append(f"cron in UTC: {run.cron} -> {desired.cron} ({schedule.cron} in {schedule.zone})")
    if run.concurrency != str(schedule.concurrency):
        lines.append(f"concurrency: {run.concurrency} -> {schedule.concurrency}")
    for name in sorted({*desired.values, *run.values}):
        before, after = run.values.get(name), desired.values.get(name)
        if before != after and not _is_uploaded(before, after):
            lines.append(f"{name}: {before!r} -> {after!r}")
    images = _images(next(iter(yaml.safe_load_all(desired.compiled))))
    lines += [f"image: -{image}" for image in sorted(run.images - images)]
    lines += [f"image: +{image}" for image in sorted(images - run.images)]
    return lines or ["pipeline: its compiled YAML changed"]


def _is_uploaded(before: Any, after: Any) -> bool:
    """Return whether ``before`` is the URI of the file with the key ``after``."""
    return isinstance(before, str) and isinstance(after, str) and bool(after) and before.endswith(f"/{after}")


def _recurring_run(one: Any) -> RecurringRun:
    mark = MARK.match(one.description or "")
    trigger = one.trigger and one.trigger.cron_schedule
    return RecurringRun(
        id=one.recurring_run_id,
        name=one.display_name,
        schedule=mark[1] if mark else "",
        digest=mark[2] if mark else "",
        enabled=one.status == "ENABLED",
        created=one.created_at.isoformat() if one.created_at else "",
        cron=(trigger and trigger.cron) or "",
        concurrency=str(one.max_concurrency or 1),
        values=(one.runtime_config and one.runtime_config.parameters) or {},
        images=_images(one.pipeline_spec or {}),
    )


def _images(spec: Mapping[str, Any]) -> frozenset[str]:
    content = spec.get("pipeline_spec", spec)
    executors = content.get("deploymentSpec", {}).get("executors", {}).values()
    return frozenset(executor["container"]["image"] for executor in executors if "container" in executor)
