"""Sends a pipeline to a cluster: its settings checked, its source files brought there, its pods labelled."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import yaml

from pipelines._placing import DEFAULT_SIZE, SIZES
from pipelines.engine import runs
from pipelines.engine.bucket import bring, local_files, reached
from pipelines.engine.catalog import suggestion
from pipelines.engine.keys import arguments, cluster_keys
from pipelines.engine.runs import Run, StepRecord
from pipelines.engine.server import Server
from pipelines.engine.settings import Settings
from pipelines.engine.specification import Specification
from pipelines.engine.worker import check
from toolchain.errors import ConfigError, ToolchainError

LABEL_LENGTH = 63  # characters that Kubernetes takes
RUN_LABEL, OWNER_LABEL = "toolchain/run", "toolchain/owner"


def submit(
    pipeline: str, compiled: str, spec: Specification, values: Mapping[str, Any], settings: Settings, cached: bool
) -> Run:
    """Start ``pipeline`` on the cluster of ``settings`` and return its record, which the runs of this machine keep.

    Raises:
        ConfigError: a step refuses its settings; nothing was sent.
        ServiceError: the server or S3 is not there, or refuses.
    """
    server = Server(settings)
    server.check()
    for task in spec.tasks:
        if task.ours:
            check(task.step, arguments(task, values))
    sent = dict(values)
    if local_files(spec, values):
        with reached(settings, server.namespace) as bucket:
            sent = bring(spec, values, bucket)
    keys = cluster_keys(spec, sent, runs.fresh_salt(), datetime.now(UTC).date())
    steps = [StepRecord(task.name, task.step, keys[task.name]) for task in spec.tasks]
    run = runs.new_run(pipeline, settings.runs, sent, steps)
    run.engine = runs.CLUSTER
    try:
        labels = {RUN_LABEL: run.id, OWNER_LABEL: settings.owner}
        run.kfp = server.start(pipeline, run.id, labelled(keyed(compiled, keys), labels), sent, cached)
    except ToolchainError:
        run.forget()
        raise
    run.save()
    return run


def size(name: str) -> str:
    """Return the size of steps that ``name`` stands for, "" for the usual one; ConfigError when there is none."""
    if name and name not in SIZES:
        raise ConfigError(
            f"resources (TOOLCHAIN_RESOURCES) is {name!r}{suggestion(name, list(SIZES))}; there are {', '.join(SIZES)}"
        )
    return name or DEFAULT_SIZE


def keyed(compiled: str, keys: Mapping[str, str]) -> str:
    """Return the ``compiled`` pipeline with our cache ``keys``, by task, for Kubeflow Pipelines' cache to use."""
    documents = list(yaml.load_all(compiled, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    for name, task in documents[0]["root"]["dag"]["tasks"].items():
        if task.get("cachingOptions", {}).get("enableCache"):
            task["cachingOptions"]["cacheKey"] = keys[name]
    return yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def labelled(compiled: str, labels: Mapping[str, str]) -> str:
    """Return the ``compiled`` pipeline with ``labels`` on the pods of all its steps."""
    documents = list(yaml.load_all(compiled, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    for platform in documents[1:]:
        for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            known = executor.setdefault("podMetadata", {}).setdefault("labels", {})
            known.update({name: label(value) for name, value in labels.items()})
    return yaml.dump_all(documents, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)


def label(text: str) -> str:
    """Return ``text`` as Kubernetes takes it for a label's value: letters, digits, and "-_." between them."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:LABEL_LENGTH].strip("-_.")
