"""Schedules on a cluster: the files compared with KFP's recurring runs, and the recurring runs made what the files say.

A recurring run cannot be changed. One whose schedule changed is disabled, with its runs still listed, and a new one
takes its name; which are ours, and of which content, stands in their descriptions.
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
class Wanted:
    """What a schedule's recurring run must be."""

    schedule: Schedule
    compiled: str  # the pipeline's YAML, with today's images
    values: Mapping[str, Any]  # of parameters; a file of this machine by its key in the bucket
    cron: str  # KFP's: six fields, in UTC

    @property
    def digest(self) -> str:
        """Return 12 hexadecimal digits of all that a recurring run keeps; whether it is enabled is apart."""
        content = [self.compiled, self.values, self.cron, self.schedule.concurrency, self.schedule.pipeline]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def description(self) -> str:
        own = self.schedule
        return f"toolchain schedule {own.name}, content {self.digest}: {own.cron} in {own.zone}"


@dataclass(frozen=True)
class Kept:
    """A recurring run of the server."""

    id: str
    name: str
    schedule: str  # the schedule that it was made for; "" when it is not ours
    digest: str
    enabled: bool
    created: str
    cron: str
    concurrency: str
    values: Mapping[str, Any]
    images: frozenset[str]


@dataclass(frozen=True)
class Change:
    """What sets one recurring run apart from its file."""

    kind: str  # ADD, REPLACE, PAUSE, RESUME, REMOVE, ORPHAN, SAME
    name: str
    told: tuple[str, ...]  # what differs, a line each
    wanted: Wanted | None
    kept: tuple[Kept, ...]  # those that are to be disabled, or enabled


def wanted_of(schedule: Schedule, now: datetime | None = None) -> Wanted:
    """Return what the recurring run of ``schedule`` must be now; compiles its pipeline."""
    text = compile_pipeline(catalog.find(schedule.pipeline), cluster.size(schedule.resources))
    spec = read(text)
    labels = labels_of(schedule.name, schedule.owner, schedule.name)
    cron = utc_cron(schedule.cron, schedule.zone, now or datetime.now(UTC))
    return Wanted(schedule, transform(text, labels), remote_values(spec, values_of(schedule, spec)), cron)


def compare(wanted: Iterable[Wanted], kept: Iterable[Kept]) -> list[Change]:
    """Return what must be done, by name; SAME for what needs nothing, ORPHAN for what is not ours."""
    known = sorted(kept, key=lambda one: one.created, reverse=True)
    changes = [_change(one, [have for have in known if have.schedule == one.schedule.name]) for one in wanted]
    names = {change.name for change in changes}
    for have in known:
        if have.schedule and have.schedule not in names and have.enabled:
            changes.append(Change(REMOVE, have.schedule, ("it has no file any more",), None, (have,)))
        if not have.schedule:
            state = "enabled" if have.enabled else "disabled"
            changes.append(Change(ORPHAN, have.name, (f"{have.id}, {state}, made by others",), None, (have,)))
    return sorted(changes, key=lambda change: (change.kind == ORPHAN, change.name))


def differs(changes: Iterable[Change]) -> bool:
    """Return whether anything must be done."""
    return any(change.kind not in (SAME, ORPHAN) for change in changes)


def kept_on(server: Server) -> list[Kept]:
    """Return all recurring runs of ``server``."""
    return [_kept(one) for one in server.schedules()]


def carry_out(change: Change, server: Server) -> None:
    """Make the recurring runs of one schedule what its file says: the new one first, then the old ones off."""
    if change.kind in (ADD, REPLACE) and change.wanted:
        _create(change.wanted, server)
    for have in change.kept:
        if change.kind in (REPLACE, PAUSE, REMOVE) and have.enabled:
            server.enable(have.id, False)
        if change.kind == RESUME:
            server.enable(have.id, True)


def current(name: str, kept: Iterable[Kept]) -> Kept:
    """Return the newest recurring run of the schedule ``name``.

    Raises:
        ServiceError: it was never applied.
    """
    own = sorted((one for one in kept if one.schedule == name), key=lambda one: one.created)
    if not own:
        raise ServiceError(f"schedule {name} is not on the cluster yet: toolchain schedule apply")
    return own[-1]


def _create(wanted: Wanted, server: Server) -> None:
    own, spec = wanted.schedule, read(wanted.compiled)
    values = values_of(own, spec)
    if local_files(spec, values):
        with cluster_bucket(server.settings, server.namespace) as bucket:
            values = upload_sources(spec, values, bucket)
    asked = {
        "cron_expression": wanted.cron,
        "params": values,
        "max_concurrency": own.concurrency,
        "description": wanted.description,
        "enabled": own.enabled,
    }
    server.schedule(own.name, own.pipeline, wanted.compiled, asked)


def _change(wanted: Wanted, own: list[Kept]) -> Change:
    """Return what sets ``wanted`` apart from its recurring runs, newest first."""
    name, on = wanted.schedule.name, wanted.schedule.enabled
    if not own:
        state = "enabled" if on else "disabled"
        return Change(ADD, name, (f"{wanted.schedule.cron} in {wanted.schedule.zone}, {state}",), wanted, ())
    newest, stale = own[0], tuple(one for one in own[1:] if one.enabled)
    if newest.digest != wanted.digest:
        return Change(REPLACE, name, tuple(_differences(wanted, newest)), wanted, tuple(own))
    if stale:
        return Change(REMOVE, name, (f"{len(stale)} older still enabled",), wanted, stale)
    if newest.enabled and not on:
        return Change(PAUSE, name, ("enabled: true -> false",), wanted, (newest,))
    if on and not newest.enabled:
        return Change(RESUME, name, ("enabled: false -> true",), wanted, (newest,))
    return Change(SAME, name, (), wanted, (newest,))


def _differences(wanted: Wanted, have: Kept) -> list[str]:
    told = []
    if have.cron != wanted.cron:
        told.append(f"cron in UTC: {have.cron} -> {wanted.cron} ({wanted.schedule.cron} in {wanted.schedule.zone})")
    if have.concurrency != str(wanted.schedule.concurrency):
        told.append(f"concurrency: {have.concurrency} -> {wanted.schedule.concurrency}")
    for name in sorted({*wanted.values, *have.values}):
        before, after = have.values.get(name), wanted.values.get(name)
        if before != after and not _arrived(before, after):
            told.append(f"{name}: {before!r} -> {after!r}")
    images = _images(next(iter(yaml.safe_load_all(wanted.compiled))))
    told += [f"image: -{image}" for image in sorted(have.images - images)]
    told += [f"image: +{image}" for image in sorted(images - have.images)]
    return told or ["pipeline: its compiled form changed"]


def _arrived(before: Any, after: Any) -> bool:
    """Return whether ``before`` is the URI of the file whose key is ``after``."""
    return isinstance(before, str) and isinstance(after, str) and bool(after) and before.endswith(f"/{after}")


def _kept(one: Any) -> Kept:
    mark = MARK.match(one.description or "")
    trigger = one.trigger and one.trigger.cron_schedule
    return Kept(
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
