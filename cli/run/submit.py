"""Run a pipeline here or on a cluster, follow it there, stop it, and show what became of it."""

import argparse
import sys
from typing import TYPE_CHECKING

from cli.compiled import catalog
from cli.records import runs
from cli.settings import Settings
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from cli.compiled.plan import Plan

SUCCESS, STEP_FAILED, BAD_USAGE, NOT_PROMOTED, INTERRUPTED = 0, 1, 2, 3, 130  # exit status


def submit(given: argparse.Namespace, settings: Settings) -> int:
    engine = given.engine or settings.engine
    run_it = _submit_to_cluster if engine == "cluster" else _run_here
    return run_it(given, settings)


def measure(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.tracking import registry_of

    given.name, given.params = "measure", None
    given.parameters = [f"model={given.model}", *given.parameters]
    with registry_of(given.engine, settings) as found:
        return _run_here(given, found)


def follow(given: argparse.Namespace, settings: Settings) -> int:
    found = _on_cluster(given, settings)
    return _follow(found, given, settings) if found.state == runs.RUNNING else show(given, settings)


def stop(given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.kfp_client import Server

    found = _on_cluster(given, settings)
    Server(settings).stop(found.kfp)
    print(f"{found.id} is being stopped; what its steps finished is kept")
    return SUCCESS


def show(given: argparse.Namespace, settings: Settings) -> int:
    from cli.output.summary import console, failure, table_of_steps
    from cli.records.cost import cost_of, read_prices

    found = runs.find_run(settings.runs, given.run)
    print(f"{found.id}: {found.state}, {found.seconds:.1f} s" + (f", verdict {found.verdict}" if found.verdict else ""))
    prices = read_prices()
    console().print(table_of_steps(found, prices))
    print(f"Cost: {cost_of(found).told(prices)}")
    failure(found)
    return SUCCESS


def _submit_to_cluster(given: argparse.Namespace, settings: Settings) -> int:
    from cli.compiled import parameters
    from cli.compiled.spec import compile_pipeline, read
    from cli.records import cost
    from cli.run import cluster
    from cli.run.follow import how_to_follow

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


def _run_here(given: argparse.Namespace, settings: Settings) -> int:
    from cli.output.progress import watching
    from cli.run import local

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


def _on_cluster(given: argparse.Namespace, settings: Settings) -> runs.Run:
    found = runs.find_run(settings.runs, given.run)
    if found.engine != runs.CLUSTER:
        raise ConfigError(f"{found.id} runs on this machine, where it was started; Ctrl-C there stops it")
    return found


def _follow(run_: runs.Run, given: argparse.Namespace, settings: Settings) -> int:
    from cli.cluster.kfp_client import Server
    from cli.compiled import spec as specification
    from cli.output.progress import watching
    from cli.run import follow as following

    spec = specification.load(catalog.find(run_.pipeline), settings.runs / "compiled")
    try:
        with watching(run_) as watcher:
            following.follow(run_, spec, Server(settings), watcher)
    except KeyboardInterrupt:
        print(f"\n{run_.id} goes on: {following.how_to_follow(run_)}", file=sys.stderr)
        return INTERRUPTED
    return _ended(run_, given, settings)


def _ended(run_: runs.Run, given: argparse.Namespace, settings: Settings) -> int:
    from cli.output.summary import failure, summary
    from cli.records.cost import log_cost, read_prices

    _record_verdict(run_)
    log_cost(run_, read_prices(), settings)
    if run_.state != runs.SUCCEEDED:
        if run_.state == runs.INTERRUPTED:
            print(f"\n{run_.id} was stopped after {run_.seconds:.1f} s; what its steps finished is kept")
        failure(run_)
        return STEP_FAILED
    summary(run_, settings)
    return NOT_PROMOTED if given.require_promotion and run_.verdict in ("", "fp32", runs.NOT_PROMOTABLE) else SUCCESS


def _plan(given: argparse.Namespace, settings: Settings) -> "Plan":
    from cli.compiled import cache_keys, parameters, plan
    from cli.compiled import spec as specification
    from cli.records import cost

    entry = catalog.find(given.name)
    spec = specification.load(entry, settings.runs / "compiled")
    values = parameters.gather(given.parameters, given.params, spec.parameters)
    values = cost.for_the_report(values, cost.read_prices())
    salt = runs.fresh_salt()
    made = plan.make_plan(spec, values, cache_keys.task_keys(spec, values, settings, salt), settings.cache)
    return plan.forget(made, settings.cache) if given.no_cache else made


def _record_verdict(run_: runs.Run) -> None:
    from cli.output.summary import report_of

    if found := report_of(run_):
        run_.verdict = found["verdict"]["winner"] if found["verdict"]["promotable"] else runs.NOT_PROMOTABLE
        run_.save()
