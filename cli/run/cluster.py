"""Sends a pipeline to a cluster: its settings checked, its source files brought there, its pods labelled."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cli.cluster.bucket import bring, local_files, reached
from cli.cluster.kfp_client import Server
from cli.compiled.cache_keys import arguments, cluster_keys
from cli.compiled.catalog import suggestion
from cli.compiled.spec import Specification
from cli.compiled.transform import labels_of, outgoing
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.local_worker import check
from cli.settings import Settings
from pipelines._pods import DEFAULT_SIZE, SIZES
from toolchain.errors import ConfigError, ServiceError, ToolchainError


def submit(
    pipeline: str,
    compiled: str,
    spec: Specification,
    values: Mapping[str, Any],
    settings: Settings,
    cached: bool,
    owner: str = "",
    schedule: str = "",
) -> Run:
    """Start ``pipeline`` on the cluster of ``settings`` and return its record, which the runs of this machine keep.

    ``owner`` says whose run it is, by default that of ``settings``; ``schedule`` which schedule asked for it, if any.

    Raises:
        ConfigError: a step refuses its settings; nothing was sent.
        ServiceError: the server or S3 is not there, or refuses.
    """
    server = Server(settings)
    server.check()
    for task in spec.tasks:
        if task.ours:
            check(task.step, arguments(task, values), task.parameters)
    sent = dict(values)
    if local_files(spec, values):
        with reached(settings, server.namespace) as bucket:
            sent = bring(spec, values, bucket)
    keys = cluster_keys(spec, sent, runs.fresh_salt(), datetime.now(UTC).date())
    steps = [StepRecord(task.name, task.step, keys[task.name]) for task in spec.tasks]
    run = runs.new_run(pipeline, settings.runs, sent, steps)
    run.engine = runs.CLUSTER
    try:
        labels = labels_of(run.id, owner or settings.owner, schedule)
        run.kfp = server.start(pipeline, run.id, outgoing(compiled, labels, keys), sent, cached)
    except ToolchainError:
        run.forget()
        raise
    try:
        run.save()
    except ToolchainError as error:
        raise ServiceError(
            f"{run.id} is started (in Kubeflow Pipelines {run.kfp}), but not recorded: {error}"
        ) from error
    return run


def size(name: str) -> str:
    """Return the size of steps that ``name`` stands for, "" for the usual one; ConfigError when there is none."""
    if name and name not in SIZES:
        raise ConfigError(
            f"resources (TOOLCHAIN_RESOURCES) is {name!r}{suggestion(name, list(SIZES))}; there are {', '.join(SIZES)}"
        )
    return name or DEFAULT_SIZE
