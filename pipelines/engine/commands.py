"""What each command does."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.engine import catalog, runs
from pipelines.engine.settings import Settings, read_settings
from toolchain.errors import ConfigError, ToolchainError

if TYPE_CHECKING:
    from pipelines.engine.plan import Plan

SUCCESS, STEP_FAILED, BAD_USAGE, NOT_PROMOTED, INTERRUPTED = 0, 1, 2, 3, 130  # exit status


def run(given: argparse.Namespace) -> int:
    """Do what the command line asks, and return the exit status."""
    commands: dict[str, Callable[[argparse.Namespace, Settings], int]] = {
        "list": list_pipelines,
        "compile": compile_,
        "submit": submit,
        "follow": follow,
        "stop": stop,
        "runs": list_runs,
        "show": show,
        "report": report,
        "lineage": lineage,
        "measure": measure,
        "serve": serve,
        "openapi": openapi,
        "promote": promote,
        "rollback": rollback,
        "approve": approve,
        "reject": approve,
        "ledger": ledger,
        "export-torchserve": export_torchserve,
        "convert": convert,
        "schedule": schedule,
        "clean": clean,
        "images": images,
        "doctor": doctor,
    }
    try:
        return commands[given.command](given, read_settings())
    except ToolchainError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_USAGE if isinstance(error, ConfigError) else STEP_FAILED
    except KeyboardInterrupt:
        print("\ninterrupted; what was finished is kept: submit again to go on from there", file=sys.stderr)
        return INTERRUPTED


def list_pipelines(given: argparse.Namespace, settings: Settings) -> int:
    known = catalog.entries()
    width = max(len(entry.name) for entry in known)
    for entry in known:
        print(f"{entry.name:<{width}}  {entry.summary}")
    return SUCCESS


def compile_(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.specification import compile_pipeline

    output: Path | None = given.output
    if given.name == "all" and output is None:
        raise ConfigError("compile all writes a file for each pipeline: give their folder with -o DIRECTORY")
    for entry in catalog.entries() if given.name == "all" else [catalog.find(given.name)]:
        text = compile_pipeline(entry)
        if output is None:
            print(text, end="")
        else:
            _write(output / f"{entry.name}.yaml" if given.name == "all" else output, text)
    return SUCCESS


def submit(given: argparse.Namespace, settings: Settings) -> int:
    engine = given.engine or settings.engine
    run_it = _submit_to_cluster if engine == "cluster" else _run_here
    return run_it(given, settings)


def measure(given: argparse.Namespace, settings: Settings) -> int:
    given.name, given.params = "measure", None
    given.parameters = [f"model={given.model}", *given.parameters]
    return _run_here(given, settings)


def list_runs(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.tell import console, table_of_runs

    console().print(table_of_runs(runs.all_runs(settings.runs)))
    return SUCCESS


def show(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.cost import cost_of, read_prices
    from pipelines.engine.tell import console, failure, table_of_steps

    found = runs.find_run(settings.runs, given.run)
    print(f"{found.id}: {found.state}, {found.seconds:.1f} s" + (f", verdict {found.verdict}" if found.verdict else ""))
    prices = read_prices()
    console().print(table_of_steps(found, prices))
    print(f"Cost: {cost_of(found).told(prices)}")
    failure(found)
    return SUCCESS


def report(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.tell import report_file

    found = runs.find_run(settings.runs, given.run)
    page = report_file(found)
    if page is None:
        raise ToolchainError(
            f"{found.id} has no report: it {found.state} before one was made, or its pipeline makes none"
        )
    print(page)
    print(page.with_suffix(".json"))
    return SUCCESS


def lineage(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.lineage import tell_lineage

    tell_lineage(given.what, settings)
    return SUCCESS


def serve(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.serve import serve as serve_model

    serve_model(given, settings)
    return SUCCESS


def openapi(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.openapi import tell_openapi

    return SUCCESS if tell_openapi(given, settings) else NOT_PROMOTED


def promote(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.promotion import promote as promote_model

    return SUCCESS if promote_model(given, settings) else NOT_PROMOTED


def rollback(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.promotion import rollback as roll_back

    roll_back(given, settings)
    return SUCCESS


def approve(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.approval import speak

    speak(given, settings)
    return SUCCESS


def ledger(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.promotion import tell_ledger

    tell_ledger(given, settings)
    return SUCCESS


def export_torchserve(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.torchserve import export

    export(given, settings)
    return SUCCESS


def convert(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.convert import convert as convert_annotations

    convert_annotations(given)
    return SUCCESS


def schedule(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.schedules.commands import schedule as do

    return do(given, settings)


def clean(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.clean import clean as clean_up

    clean_up(given, settings)
    return SUCCESS


def images(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine import images as building

    by = building.builder(given.builder, given.python_image, given.torch_index, given.platforms)
    done = list(building.build(building.wanted(given.names), by, given.push))
    width = max(len(full) for full, _ in done)
    for full, what in done:
        print(f"{full:<{width}}  {building.size(full, by):>9}  {what}")
    return SUCCESS


def doctor(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.doctor import examine

    for finding in examine(settings):
        print(finding)
    return SUCCESS


def follow(given: argparse.Namespace, settings: Settings) -> int:
    found = _on_cluster(given, settings)
    return _follow(found, given, settings) if found.state == runs.RUNNING else show(given, settings)


def stop(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.server import Server

    found = _on_cluster(given, settings)
    Server(settings).stop(found.kfp)
    print(f"{found.id} is being stopped; what its steps finished is kept")
    return SUCCESS


def _on_cluster(given: argparse.Namespace, settings: Settings) -> runs.Run:
    found = runs.find_run(settings.runs, given.run)
    if found.engine != runs.CLUSTER:
        raise ConfigError(f"{found.id} runs on this machine, where it was started; Ctrl-C there stops it")
    return found


def _submit_to_cluster(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine import cluster, cost, parameters
    from pipelines.engine.following import how_to_follow
    from pipelines.engine.specification import compile_pipeline, read

    entry = catalog.find(given.name)
    text = compile_pipeline(entry, cluster.size(given.resources or settings.resources))
    spec = read(text)
    values = parameters.gather(given.parameters, given.params, spec.parameters)
    values = cost.for_the_report(values, cost.read_prices())
    run_ = cluster.submit(entry.name, text, spec, values, settings, cached=not given.no_cache)
    print(f"submitted: {run_.id} (in Kubeflow Pipelines {run_.kfp})", flush=True)
    if given.detach:
        print(how_to_follow(run_))
        return SUCCESS
    return _follow(run_, given, settings)


def _follow(run_: runs.Run, given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine import following, specification
    from pipelines.engine.display import watching
    from pipelines.engine.server import Server

    spec = specification.load(catalog.find(run_.pipeline), settings.runs / "compiled")
    try:
        with watching(run_) as watcher:
            following.follow(run_, spec, Server(settings), watcher)
    except KeyboardInterrupt:
        print(f"\n{run_.id} goes on: {following.how_to_follow(run_)}", file=sys.stderr)
        return INTERRUPTED
    return _ended(run_, given, settings)


def _run_here(given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine import local
    from pipelines.engine.display import watching

    plan = _plan(given, settings)
    with runs.only_run(settings.runs) as lock:
        run_ = local.begin(plan, given.name, settings)
        with watching(run_) as watcher:
            if plan.complete:
                for step in run_.steps:
                    watcher.changed(step)
            else:
                local.execute(plan, run_, settings, watcher, lock)
        local.record_outputs(plan, run_, settings)
    return _ended(run_, given, settings)


def _ended(run_: runs.Run, given: argparse.Namespace, settings: Settings) -> int:
    from pipelines.engine.cost import log_cost, read_prices
    from pipelines.engine.tell import failure, summary

    _record_verdict(run_)
    log_cost(run_, read_prices(), settings)
    if run_.state != runs.SUCCEEDED:
        if run_.state == runs.INTERRUPTED:
            print(f"\n{run_.id} was stopped after {run_.seconds:.1f} s; what its steps finished is kept")
        failure(run_)
        return STEP_FAILED
    summary(run_, settings)
    return NOT_PROMOTED if given.require_promotion and run_.verdict in ("", "fp32") else SUCCESS


def _plan(given: argparse.Namespace, settings: Settings) -> "Plan":
    from pipelines.engine import cost, keys, parameters, plan, specification

    entry = catalog.find(given.name)
    spec = specification.load(entry, settings.runs / "compiled")
    values = parameters.gather(given.parameters, given.params, spec.parameters)
    values = cost.for_the_report(values, cost.read_prices())
    salt = runs.fresh_salt()
    made = plan.make_plan(spec, values, keys.task_keys(spec, values, settings, salt), settings.cache)
    return plan.forget(made, settings.cache) if given.no_cache else made


def _record_verdict(run_: runs.Run) -> None:
    from pipelines.engine.tell import report_of

    if found := report_of(run_):
        run_.verdict = found["verdict"]["winner"]
        run_.save()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
