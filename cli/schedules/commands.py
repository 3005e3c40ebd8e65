"""Manage schedules: compare, apply, list, pause, resume and start them, on this machine or on a cluster."""

from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from cli.cluster.kfp_client import Server
from cli.compiled import catalog
from cli.compiled.catalog import suggestion
from cli.compiled.spec import compile_pipeline, read
from cli.exit_status import DIFFERENT, SUCCESS
from cli.output.machine import print_json
from cli.output.summary import print_table
from cli.run import cluster
from cli.schedules import local_scheduler, reconcile
from cli.schedules.cron import next_time
from cli.schedules.files import FOLDER, Schedule, read_schedules, values_of
from cli.settings import Settings
from toolchain.errors import ConfigError

Row = dict[str, str]  # of the list: name, pipeline, state, next (UTC), last, result
TIME_CHARACTERS = 16  # shown of a time: to the minute
SIGNS = {"add": "+", "replace": "~", "pause": "~", "resume": "~", "remove": "-", "orphan": "?", "same": "="}


def manage(action: str, folder: Path | None, name: str, engine: str | None, as_json: bool, settings: Settings) -> int:
    """Do the ``action``, by default on the schedules of manifests/schedules, and return the exit status."""
    folder = folder or FOLDER
    known = read_schedules(folder, settings.runs / "compiled")
    if action == "run-due":
        local_scheduler.run_due(known, settings)
        return SUCCESS
    if action == "diff":
        return _diff(known, Server(settings), as_json)
    if action == "apply":
        return _apply(known, Server(settings), as_json)
    on_cluster = (engine or settings.engine) == "cluster"
    if action == "list":
        rows = (_cluster_rows if on_cluster else _local_rows)(known, settings)
        print_json(rows) if as_json else print_table(_table(rows))
        return SUCCESS
    schedule = _named(name, known)
    if action == "run-now":
        return (_run_on_cluster if on_cluster else _run_locally)(schedule, settings)
    (_enable_on_cluster if on_cluster else _enable_locally)(schedule, settings, enabled=action == "resume")
    return SUCCESS


def _diff(known: list[Schedule], server: Server, as_json: bool) -> int:
    changes = _changes(known, server)
    _print_changes(changes, as_json)
    return DIFFERENT if reconcile.differs(changes) else SUCCESS


def _apply(known: list[Schedule], server: Server, as_json: bool) -> int:
    changes = _changes(known, server)
    _print_changes(changes, as_json)
    for change in changes:
        if change.action not in (reconcile.SAME, reconcile.ORPHAN):
            reconcile.apply_change(change, server)
            if not as_json:
                print(f"{change.name}: applied", flush=True)
    return SUCCESS


def _changes(known: list[Schedule], server: Server) -> list[reconcile.Change]:
    server.check()
    return reconcile.compare([reconcile.desired_state(one) for one in known], reconcile.recurring_runs(server))


def _print_changes(changes: list[reconcile.Change], as_json: bool) -> None:
    if as_json:
        print_json([{"name": one.name, "change": one.action, "details": list(one.details)} for one in changes])
        return
    for change in changes:
        print(f"{SIGNS[change.action]} {change.name}: {change.action}")
        for line in change.details:
            print(f"    {line}")
    if not reconcile.differs(changes):
        print("nothing to change")


def _cluster_rows(known: list[Schedule], settings: Settings) -> list[Row]:
    server = Server(settings)
    server.check()
    server_runs = server.runs()
    rows: list[Row] = []
    recurring = reconcile.recurring_runs(server)
    for one in known:
        own = [run for run in recurring if run.schedule == one.name]
        newest = reconcile.newest(one.name, own) if own else None
        state = "not applied" if newest is None else "enabled" if newest.enabled else "disabled"
        ids = {run.id for run in own}
        last = next((run for run in server_runs if run.recurring_run_id in ids), None)
        upcoming = _next(one) if newest and newest.enabled else ""
        rows.append(_row(one, state, upcoming, last.display_name if last else "", last.state if last else ""))
    for run in recurring:
        if not run.schedule:
            state = f"not managed, {'enabled' if run.enabled else 'disabled'}"
            rows.append({"name": run.name, "pipeline": "", "state": state, "next": "", "last": "", "result": ""})
    return rows


def _local_rows(known: list[Schedule], settings: Settings) -> list[Row]:
    memory = local_scheduler.Memory.of(settings)
    rows = []
    for one in known:
        state = memory.of_schedule(one.name)
        text = "disabled" if not one.enabled else "paused" if state.paused else "enabled"
        rows.append(_row(one, text, _next(one) if text == "enabled" else "", state.due, state.result))
    return rows


def _row(schedule: Schedule, state: str, upcoming: str, last: str, result: str) -> Row:
    return {
        "name": schedule.name,
        "pipeline": schedule.pipeline,
        "state": state,
        "next": upcoming,
        "last": last,
        "result": result,
    }


def _table(rows: list[Row]) -> Table:
    table = Table("schedule", "pipeline", "state", "next (UTC)", "last run", "result", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row[name][:TIME_CHARACTERS].replace("T", " ") if name == "next" else row[name] for name in row))
    return table


def _next(one: Schedule) -> str:
    return next_time(one.cron, one.zone, datetime.now(UTC)).isoformat(timespec="minutes")


def _named(name: str, known: list[Schedule]) -> Schedule:
    names = {one.name: one for one in known}
    if name not in names:
        raise ConfigError(
            f"there is no schedule {name!r}{suggestion(name, list(names))} (available: {', '.join(names)})"
        )
    return names[name]


def _enable_on_cluster(one: Schedule, settings: Settings, enabled: bool) -> None:
    server = Server(settings)
    server.check()
    server.enable(reconcile.newest(one.name, reconcile.recurring_runs(server)).id, enabled)
    print(f"{one.name} is {'enabled' if enabled else 'paused'} on the cluster until the next schedule apply")


def _run_on_cluster(one: Schedule, settings: Settings) -> int:
    text = compile_pipeline(catalog.find(one.pipeline), cluster.size(one.resources))
    spec = read(text)
    values = values_of(one, spec)
    run = cluster.submit(one.pipeline, text, spec, values, settings, cached=True, owner=one.owner, schedule=one.name)
    print(f"submitted: {run.id} (ID in Kubeflow Pipelines: {run.kfp_run_id})")
    return SUCCESS


def _enable_locally(one: Schedule, settings: Settings, enabled: bool) -> None:
    local_scheduler.Memory.of(settings).change(one.name, paused=not enabled)
    print(f"{one.name} is {'enabled' if enabled else 'paused'} on this machine")


def _run_locally(one: Schedule, settings: Settings) -> int:
    print(f"{one.name}: starting {one.pipeline}; log: {settings.runs / f'schedule-{one.name}.log'}", flush=True)
    status = local_scheduler.submit(one, settings).wait()
    print(f"{one.name}: exit status {status}")
    return status
