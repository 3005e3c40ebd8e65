"""Submit a pipeline to a cluster: check settings, upload source files, label pods, start the run."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cli.cluster.bucket import cluster_bucket, local_files, upload_sources
from cli.cluster.kfp_client import Server
from cli.compiled.cache_keys import arguments, cluster_keys
from cli.compiled.catalog import suggestion
from cli.compiled.spec import Specification
from cli.compiled.transform import labels_of, transform
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.local_worker import check_config
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
    """Start ``pipeline`` on the cluster of ``settings`` and return the new run, which is recorded on this machine.

    ``owner`` is the owner of the run, by default that of ``settings``; ``schedule`` the schedule that it belongs to.

    Raises:
        ConfigError: a setting of a step is not valid; nothing was sent.
        ServiceError: the server or S3 does not respond, or denies access.
    """
    server = Server(settings)
    try:
        server.check()
    except ServiceError as error:
        raise ServiceError(f"{error}, or submit with --engine local") from error
    for task in (task for task in spec.tasks if task.is_step):
        check_config(task.step, arguments(task, values), task.parameters)
    sent = dict(values)
    if local_files(spec, values):
        with cluster_bucket(settings, server.namespace) as bucket:
            sent = upload_sources(spec, values, bucket)
    keys = cluster_keys(spec, sent, runs.new_salt(), datetime.now(UTC).date())
    run = runs.new_run(
        pipeline, settings.runs, sent, [StepRecord(one.name, one.step, keys[one.name]) for one in spec.tasks]
    )
    run.engine = runs.CLUSTER
    labels = labels_of(run.id, owner or settings.owner, schedule)
    _start(run, server, transform(compiled, labels, keys), sent, cached)
    return run


def _start(run: Run, server: Server, package: str, values: Mapping[str, Any], cached: bool) -> None:
    """Start ``run`` on ``server`` and record its ID; remove the record if it cannot be started."""
    try:
        run.kfp_run_id = server.start(run.pipeline, run.id, package, values, cached)
    except ToolchainError:
        run.delete()
        raise
    try:
        run.save()
    except ToolchainError as error:
        raise ServiceError(
            f"{run.id} was started (ID in Kubeflow Pipelines: {run.kfp_run_id}), but cannot be recorded: {error}"
        ) from error


def size(name: str) -> str:
    """Return the resource size ``name``, by default medium; ConfigError if there is no such size."""
    if name and name not in SIZES:
        raise ConfigError(
            f"resources (TOOLCHAIN_RESOURCES) is {name!r}{suggestion(name, list(SIZES))}; expected {', '.join(SIZES)}"
        )
    return name or DEFAULT_SIZE
