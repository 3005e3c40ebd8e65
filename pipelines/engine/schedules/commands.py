"""What each word of ``python -m pipelines schedule`` does."""

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from pipelines.engine import catalog, cluster
from pipelines.engine.catalog import suggestion
from pipelines.engine.schedules import here, reconciling
from pipelines.engine.schedules.files import FOLDER, Schedule, read_schedules, values_of
from pipelines.engine.schedules.times import next_time
from pipelines.engine.server import Server
from pipelines.engine.settings import Settings
from pipelines.engine.specification import compile_pipeline, read
from pipelines.engine.tell import console
from toolchain.errors import ConfigError

DIFFERENT = 4  # exit status of diff when there is a difference
SIGNS = {"add": "+", "replace": "~", "pause": "~", "resume": "~", "remove": "-", "orphan": "?", "same": "="}


def schedule(given: argparse.Namespace, settings: Settings) -> int:
    """Do what ``given`` asks, and return the exit status."""
    folder: Path = given.folder or FOLDER
    known = read_schedules(folder, settings.runs / "compiled")
    if given.action == "serve":
        here.serve(folder, settings, given.once)
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
    changes = reconciling.compare([reconciling.wanted_of(one) for one in known], reconciling.kept_on(server))
    for change in changes:
        print(f"{SIGNS[change.kind]} {change.name}: {change.kind}")
        for line in change.told:
            print(f"    {line}")
    if not reconciling.differs(changes):
        print("nothing to change")
        return 0
    if not apply:
        return DIFFERENT
    for change in changes:
        if change.kind not in (reconciling.SAME, reconciling.ORPHAN):
            reconciling.carry_out(change, server)
            print(f"{change.name}: done", flush=True)
    return 0


def _list_cluster(known: list[Schedule], settings: Settings) -> None:
    server = Server(settings)
    server.check()
    runs = server.runs()
    table = Table("schedule", "pipeline", "state", "next (UTC)", "last run", box=None, pad_edge=False)
    kept = reconciling.kept_on(server)
    for one in known:
        own = [have for have in kept if have.schedule == one.name]
        newest = reconciling.current(one.name, own) if own else None
        state = "not applied" if newest is None else "enabled" if newest.enabled else "disabled"
        ids = {have.id for have in own}
        last = next((f"{run.display_name} {run.state}" for run in runs if run.recurring_run_id in ids), "")
        table.add_row(one.name, one.pipeline, state, _next(one) if newest and newest.enabled else "", last)
    for have in kept:
        if not have.schedule:
            table.add_row(have.name, "", "made by others, " + ("enabled" if have.enabled else "disabled"), "", "")
    console().print(table)


def _list_here(known: list[Schedule], settings: Settings) -> None:
    memory = here.Memory.of(settings)
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
    server.enable(reconciling.current(one.name, reconciling.kept_on(server)).id, on)
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
    here.Memory.of(settings).change(one.name, paused=not on)
    print(f"{one.name} is {'enabled' if on else 'paused'} on this machine")
    return 0


def _run_here(one: Schedule, settings: Settings) -> int:
    log = settings.runs / f"schedule-{one.name}.log"
    print(f"{one.name} starts {one.pipeline}; its words go to {log}", flush=True)
    status = here.submit(one, settings).wait()
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
