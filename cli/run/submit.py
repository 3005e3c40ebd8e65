"""Submit a pipeline to this machine or to a cluster, and follow its run to the end."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cli.compiled import catalog
from cli.exit_status import FAILURE, INTERRUPTED, REJECTED, SUCCESS
from cli.extras import check_installed
from cli.records import runs
from cli.settings import Settings
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from cli.compiled.plan import Plan

NOT_OPTIMIZED = ("", "fp32", runs.NOT_PROMOTABLE)  # verdicts that select no optimized variant


@dataclass(frozen=True)
class Submission:
    """A pipeline to run, with its options."""

    pipeline: str
    parameters: tuple[str, ...] = ()  # "KEY=VALUE"
    parameter_file: Path | None = None  # YAML; ``parameters`` take precedence
    cached: bool = True  # whether cached results are used
    require_promotion: bool = False  # whether it is a failure that no optimized variant is selected


def submit_local(submission: Submission, settings: Settings) -> runs.Run:
    """Run the pipeline on this machine, print its progress and summary, and return the run."""
    from cli.output.progress import watching
    from cli.run import local

    plan = _plan(submission, settings)
    with runs.run_lock(settings.runs) as lock:
        run = local.begin(plan, submission.pipeline, settings)
        with watching(run) as watcher:
            if plan.complete:
                for step in run.steps:
                    watcher.changed(step)
            else:
                local.execute(plan, run, settings, watcher, lock)
        local.record_outputs(plan, run, settings)
    _finish(run, settings)
    return run


def submit_to_cluster(submission: Submission, settings: Settings, resources: str, detach: bool) -> runs.Run:
    """Start the pipeline on the cluster, follow it unless ``detach``, and return the run."""
    from cli.compiled import parameters
    from cli.compiled.spec import compile_pipeline, read
    from cli.records import cost
    from cli.run import cluster
    from cli.run.follow import follow_hint

    entry = catalog.find(submission.pipeline)
    text = compile_pipeline(entry, cluster.size(resources or settings.resources))
    spec = read(text)
    values = parameters.gather(submission.parameters, submission.parameter_file, spec.parameters)
    values = cost.with_prices(values, cost.read_prices())
    run = cluster.submit(entry.name, text, spec, values, settings, cached=submission.cached)
    print(f"submitted: {run.id} (ID in Kubeflow Pipelines: {run.kfp_run_id})", flush=True)
    if detach:
        print(follow_hint(run))
    else:
        _follow(run, settings)
    return run


def follow(run_id: str | None, settings: Settings) -> runs.Run:
    """Follow a run on the cluster, by default the latest, or print its steps if it has ended; return the run."""
    from cli.output.summary import print_run
    from cli.records.cost import read_prices

    run = find_cluster_run(run_id, settings)
    if run.state == runs.RUNNING:
        _follow(run, settings)
    else:
        print_run(run, read_prices())
    return run


def exit_status(run: runs.Run, require_promotion: bool, detached: bool = False) -> int:
    """Return the exit status of a command that ran or followed ``run``, ``detached`` if it was only to be started."""
    if run.state == runs.RUNNING:
        return SUCCESS if detached else INTERRUPTED
    if run.state != runs.SUCCEEDED:
        return FAILURE
    return REJECTED if require_promotion and run.verdict in NOT_OPTIMIZED else SUCCESS


def find_cluster_run(run_id: str | None, settings: Settings) -> runs.Run:
    """Return the run ``run_id``, by default the latest.

    Raises:
        ConfigError: there is no such run, or it is a local run.
    """
    found = runs.find_run(settings.runs, run_id)
    if found.engine != runs.CLUSTER:
        raise ConfigError(f"{found.id} is a local run: press Ctrl-C in the terminal that started it to stop it")
    return found


def _follow(run: runs.Run, settings: Settings) -> None:
    """Follow ``run`` until it ends, or until Ctrl-C, after which it is still running."""
    from cli.cluster.kfp_client import Server
    from cli.compiled import spec as specification
    from cli.output.progress import watching
    from cli.run import follow as following

    spec = specification.load(catalog.find(run.pipeline), settings.runs / "compiled")
    try:
        with watching(run) as watcher:
            following.follow(run, spec, Server(settings), watcher)
    except KeyboardInterrupt:
        print(f"\n{run.id} continues on the cluster: {following.follow_hint(run)}", file=sys.stderr)
        return
    _finish(run, settings)


def _finish(run: runs.Run, settings: Settings) -> None:
    """Record the verdict and the cost of ``run``, and print its summary or its failure."""
    from cli.output.summary import failure, summary
    from cli.records.cost import log_cost, read_prices

    _record_verdict(run)
    log_cost(run, read_prices(), settings)
    if run.state == runs.SUCCEEDED:
        summary(run, settings)
        return
    if run.state == runs.INTERRUPTED:
        print(f"\n{run.id} was stopped after {run.seconds:.1f} s; the results of finished steps are kept")
    failure(run)


def _plan(submission: Submission, settings: Settings) -> "Plan":
    from cli.compiled import cache_keys, parameters, plan
    from cli.compiled import spec as specification
    from cli.records import cost

    entry = catalog.find(submission.pipeline)
    spec = specification.load(entry, settings.runs / "compiled")
    values = parameters.gather(submission.parameters, submission.parameter_file, spec.parameters)
    values = cost.with_prices(values, cost.read_prices())
    salt = runs.new_salt()
    made = plan.make_plan(spec, values, cache_keys.local_keys(spec, values, settings, salt), settings.cache)
    if not submission.cached:
        made = plan.without_cache(made, settings.cache)
    if not made.complete:
        check_installed(entry.name, made.extras)
    return made


def _record_verdict(run: runs.Run) -> None:
    from cli.output.summary import read_report

    if found := read_report(run):
        run.verdict = found["verdict"]["winner"] if found["verdict"]["promotable"] else runs.NOT_PROMOTABLE
        run.save()
