"""Find the outputs of a run on a cluster, and copy their descriptions and its reports to this machine."""

import json
from collections.abc import Sequence
from pathlib import Path

from cli.cluster.bucket import cluster_bucket
from cli.compiled.spec import Specification
from cli.records.artifacts import DESCRIPTIONS, REPORTS, describe, local_folder
from cli.records.runs import Run
from cli.run.pod_logs import COMPONENT
from cli.settings import Settings
from toolchain.artifacts.folder import write_file
from toolchain.errors import ToolchainError
from toolchain.progress import log_info
from toolchain.services import storage
from toolchain.services.kubernetes import Pod


def artifact_uris(pod: Pod, side: str) -> dict[str, str]:
    """Return the URI of each artifact of ``side``, "inputs" or "outputs", of the step that ``pod`` runs."""
    command = list(pod.command)
    if "--executor_input" not in command:
        return {}
    executor_input = json.loads(command[command.index("--executor_input") + 1])
    artifacts = executor_input.get(side, {}).get("artifacts", {})
    return {name: value["artifacts"][0]["uri"] for name, value in artifacts.items() if value.get("artifacts")}


def trace_cached(run: Run, spec: Specification, pods: Sequence[Pod]) -> None:
    """Record the outputs of cached steps, which have no pods, from the inputs of later steps."""
    inputs = {pod.labels[COMPONENT]: artifact_uris(pod, "inputs") for pod in pods if COMPONENT in pod.labels}
    for task in spec.tasks:
        for name, (producer, output) in task.inputs.items():
            if uri := inputs.get(task.step, {}).get(name):
                run.step(producer).outputs.setdefault(output, uri)


def fetch(run: Run, settings: Settings, namespace: str) -> None:
    """Copy the descriptions of the run's artifacts, and whole reports, from S3; the other files stay there."""
    remote = [(step, name) for step in run.steps for name, uri in step.outputs.items() if uri.startswith("s3://")]
    if not remote:
        return
    try:
        with cluster_bucket(settings, namespace):
            for step, name in remote:
                _fetch(f"{step.outputs[name].rstrip('/')}/", local_folder(run, step, name))
    except ToolchainError as error:
        log_info(f"the report was not copied from S3: {error}")


def _fetch(uri: str, target: Path) -> None:
    """Copy the description in the folder ``uri``, if any, to ``target``, and all other files of a report."""
    files = {file.uri for file in storage.listing(uri)}
    for name in (name for name in DESCRIPTIONS if f"{uri}{name}" in files):
        target.mkdir(parents=True, exist_ok=True)
        write_file(target / name, storage.content(f"{uri}{name}"))
    described = describe(target)
    if described and described[0] in REPORTS:
        storage.fetch_s3_prefix(uri, target)
