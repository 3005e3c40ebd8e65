"""What each word of ``python -m cli schedule`` does."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from cli.cluster.kfp_client import Server
from cli.compiled import catalog
from cli.compiled.catalog import suggestion
from cli.compiled.spec import compile_pipeline, read
from cli.output.summary import console
from cli.run import cluster
from cli.schedules import local_scheduler, reconcile
from cli.schedules.cron import next_time
from cli.schedules.files import FOLDER, Schedule, read_schedules, values_of
from cli.settings import Settings
from toolchain.errors import ConfigError

DIFFERENT = 4  # exit status of diff when there is a difference
SIGNS = {"add": "+", "replace": "~", "pause": "~", "resume": "~", "remove": "-", "orphan": "?", "same": "="}


def schedule(given: argparse.Namespace, settings: Settings) -> int:
    """Do what ``given`` asks, and return the exit status."""
    folder: Path = given.folder or FOLDER
    known = read_schedules(folder, settings.runs / "compiled")
    if given.action == "serve":
        local_scheduler.serve(folder, settings, given.once)
        return 0
    if given.action in ("diff", "apply"):
        return _reconcile(known, Server(settings), apply=given.action == "apply")
    engine = given.engine or settings.engine
    if given.action == "list":
        (_list_cluster if engine == "cluster" else _list_here)(known, settings)
        return 0
    one = _named(given.name, known)
    return (_on_cluster if engine == "cluster" else _here)[given.action](one, settings)


def _reconcile(known: list[Schedule], server: Server, apply: bool) -> int:
    server.check()
    changes = reconcile.compare([reconcile.wanted_of(one) for one in known], reconcile.kept_on(server))
    for change in changes:
        print(f"{SIGNS[change.kind]} {change.name}: {change.kind}")
        for line in change.told:
            print(f"    {line}")
    if not reconcile.differs(changes):
        print("nothing to change")
        return 0
    if not apply:
        return DIFFERENT
    for change in changes:
        if change.kind not in (reconcile.SAME, reconcile.ORPHAN):
            reconcile.carry_out(change, server)
            print(f"{change.name}: done", flush=True)
    return 0


def _list_cluster(known: list[Schedule], settings: Settings) -> None:
    server = Server(settings)
    server.check()
    runs = server.runs()
    table = Table("schedule", "pipeline", "state", "next (UTC)", "last run", box=None, pad_edge=False)
    kept = reconcile.kept_on(server)
    for one in known:
        own = [have for have in kept if have.schedule == one.name]
        newest = reconcile.current(one.name, own) if own else None
        state = "not applied" if newest is None else "enabled" if newest.enabled else "disabled"
        ids = {have.id for have in own}
        last = next((f"{run.display_name} {run.state}" for run in runs if run.recurring_run_id in ids), "")
        table.add_row(one.name, one.pipeline, state, _next(one) if newest and newest.enabled else "", last)
    for have in kept:
        if not have.schedule:
            table.add_row(have.name, "", "made by others, " + ("enabled" if have.enabled else "disabled"), "", "")
    console().print(table)


def _list_here(known: list[Schedule], settings: Settings) -> None:
    memory = local_scheduler.Memory.of(settings)
    table = Table("schedule", "pipeline", "state", "next (UTC)", "last due", "result", box=None, pad_edge=False)
    for one in known:
        state = memory.of_schedule(one.name)
        word = "disabled" if not one.enabled else "paused" if state.paused else "enabled"
        upcoming = _next(one) if word == "enabled" else ""
        table.add_row(one.name, one.pipeline, word, upcoming, state.due[:16].replace("T", " "), state.result)
    console().print(table)


def _next(one: Schedule) -> str:
    return f"{next_time(one.cron, one.zone, datetime.now(UTC)):%Y-%m-%d %H:%M}"


def _named(name: str, known: list[Schedule]) -> Schedule:
    names = {one.name: one for one in known}
    if name not in names:
        raise ConfigError(
            f"there is no schedule {name!r}{suggestion(name, list(names))} (there are {', '.join(names)})"
        )
    return names[name]


def _switch_on_cluster(one: Schedule, settings: Settings, on: bool) -> int:
    server = Server(settings)
    server.check()
    server.enable(reconcile.current(one.name, reconcile.kept_on(server)).id, on)
    print(f"{one.name} is {'enabled' if on else 'paused'} on the cluster; the next apply makes it what its file says")
    return 0


def _run_on_cluster(one: Schedule, settings: Settings) -> int:
    text = compile_pipeline(catalog.find(one.pipeline), cluster.size(one.resources))
    spec = read(text)
    of = {"owner": one.owner, "schedule": one.name}
    run = cluster.submit(one.pipeline, text, spec, values_of(one, spec), settings, cached=True, **of)
    print(f"submitted: {run.id} (in Kubeflow Pipelines {run.kfp})")
    return 0


def _switch_here(one: Schedule, settings: Settings, on: bool) -> int:
    local_scheduler.Memory.of(settings).change(one.name, paused=not on)
    print(f"{one.name} is {'enabled' if on else 'paused'} on this machine")
    return 0


def _run_here(one: Schedule, settings: Settings) -> int:
    log = settings.runs / f"schedule-{one.name}.log"
    print(f"{one.name} starts {one.pipeline}; its words go to {log}", flush=True)
    status = local_scheduler.submit(one, settings).wait()
    print(f"{one.name} ended with exit status {status}")
    return status


_on_cluster: dict[str, Callable[[Schedule, Settings], int]] = {
    "pause": lambda one, settings: _switch_on_cluster(one, settings, on=False),
    "resume": lambda one, settings: _switch_on_cluster(one, settings, on=True),
    "run-now": _run_on_cluster,
}
_here: dict[str, Callable[[Schedule, Settings], int]] = {
    "pause": lambda one, settings: _switch_here(one, settings, on=False),
    "resume": lambda one, settings: _switch_here(one, settings, on=True),
    "run-now": _run_here,
}
