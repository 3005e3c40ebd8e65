"""Read pods, their logs and events, nodes and settings from Kubernetes, and reach its services; ``applying`` writes."""

import base64
import binascii
import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

from toolchain.errors import ServiceError
from toolchain.services.kubernetes.api import IN_A_POD, call_api, call_core_api, client_of, permitted, timeout

STOP_TIMEOUT_S = 20.0  # for kubectl, after a request to stop forwarding
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
GPU_RESOURCE = re.compile(r"^(nvidia|amd)\.com/(gpu|mig-.+)$|^gpu\.intel\.com/")
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[a-zA-Z]{0,2})")  # a number, and a unit or an exponent
SUFFIXES = {"n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3} | {
    **{letter: 1000.0**power for power, letter in enumerate("MGTPE", 2)},
    **{f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", 1)},
}


@dataclass(frozen=True)
class Pod:
    """The state of a pod that runs a step."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    phase: str  # Pending, Running, Succeeded or Failed
    node: str  # "" before it has one
    image: str  # of its main container
    command: tuple[str, ...]  # of its main container
    waiting_reason: str  # why it does not run yet: "Unschedulable", "ImagePullBackOff"; "" once it runs
    termination_reason: str  # "OOMKilled", "Evicted", "Error"; "" before it ends
    message: str  # of Kubernetes, for either reason
    created: datetime
    started: datetime | None  # of its main container
    finished: datetime | None
    cpu: float  # cores that it requests
    memory_bytes: int
    gpus: Mapping[str, int]  # count by resource
    exit_code: int | None = None  # of its main container; above 128, the number of a signal and 128


@dataclass(frozen=True)
class Node:
    name: str
    labels: Mapping[str, str]
    cpu: float  # cores that pods can request
    memory_bytes: int
    gpus: Mapping[str, int]  # count by resource


def is_configured() -> bool:
    """Return whether there is a kubeconfig, or this is a pod."""
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return any(Path(file).is_file() for file in files.split(os.pathsep) if file) or IN_A_POD.is_file()


def pods(namespace: str, selector: str) -> list[Pod]:
    """Return the pods in ``namespace`` whose labels match ``selector``, oldest first."""
    response = call_core_api(lambda core: core.list_namespaced_pod(namespace, label_selector=selector, **timeout()))
    return sorted((_pod(item) for item in response.items), key=lambda pod: (pod.created, pod.name))


def living_pods(namespace: str, selector: str) -> set[str]:
    """Return the names of pods whose labels match ``selector`` and that are not being deleted, evicted or finished."""
    response = call_core_api(lambda core: core.list_namespaced_pod(namespace, label_selector=selector, **timeout()))
    ended = ("Failed", "Succeeded")
    return {
        item.metadata.name
        for item in response.items
        if item.metadata.deletion_timestamp is None and item.status.phase not in ended
    }


def log(namespace: str, pod: str, seconds: int | None = None) -> list[tuple[str, str]]:
    """Return (time, line) of what the main container of ``pod`` printed, in the last ``seconds`` when given."""
    text = call_core_api(
        lambda core: core.read_namespaced_pod_log(
            pod, namespace, container="main", timestamps=True, since_seconds=seconds, **timeout()
        )
    )
    found = (line.partition(" ") for line in (text or "").splitlines())
    return [(stamp, line) for stamp, _, line in found]


def nodes() -> list[Node]:
    """Return the cluster's nodes."""
    return [
        Node(
            item.metadata.name,
            item.metadata.labels or {},
            quantity(item.status.allocatable["cpu"]),
            int(quantity(item.status.allocatable["memory"])),
            _gpus(item.status.allocatable),
        )
        for item in call_core_api(lambda core: core.list_node(**timeout())).items
    ]


def settings_of(namespace: str, name: str) -> dict[str, str]:
    """Return the values of the ConfigMap and the Secret ``name``, without those that are missing or not permitted."""
    config = permitted(lambda core: core.read_namespaced_config_map(name, namespace, **timeout()))
    secret = permitted(lambda core: core.read_namespaced_secret(name, namespace, **timeout()))
    hidden = {key: _decoded(value) for key, value in ((secret and secret.data) or {}).items()}
    return {**((config and config.data) or {}), **hidden}


def has_service(namespace: str, name: str) -> bool:
    """Return whether ``namespace`` has the Service ``name``."""
    return permitted(lambda core: core.read_namespaced_service(name, namespace, **timeout())) is not None


def service_response(namespace: str, service: str, path: str) -> str:
    """Return the response of ``service``, written NAME:PORT, at ``path``, through the API server."""
    name = "connect_get_namespaced_service_proxy_with_path"
    return str(call_core_api(lambda core: getattr(core, name)(service, namespace, path, **timeout())))


def pod_responses(namespace: str, selector: str, port: int, path: str) -> dict[str, str]:
    """Return the response of each running pod that matches ``selector`` at ``path`` of ``port``, by the pod's name.

    Requests go through the API server, which needs the permission for pods/proxy. A pod that does not respond (it is
    starting, or about to end) is skipped.

    Raises:
        ServiceError: no pod responds, or the API server does not.
    """
    running = [pod.name for pod in pods(namespace, selector) if pod.phase == "Running"]
    each = {name: _pod_response(namespace, f"{name}:{port}", path) for name in running}
    responses = {name: response for name, response in each.items() if response is not None}
    if not responses:
        raise ServiceError(f"no pod of namespace {namespace} with {selector} responds; see kubectl get pods")
    return responses


def _pod_response(namespace: str, pod: str, path: str) -> str | None:
    """Return the response of ``pod``, written NAME:PORT, at ``path``; None when it does not respond or is missing."""
    get = {"_preload_content": False, **timeout()}  # as it comes: the client would read JSON and write Python
    response = permitted(
        lambda core: core.connect_get_namespaced_pod_proxy_with_path(pod, namespace, path, **get), but=(404, 500, 503)
    )
    return None if response is None else str(response.data.decode())


def argo_messages(namespace: str, run: str) -> dict[str, str]:
    """Return Argo's messages on the nodes of KFP's ``run`` that cannot start or that failed, by the node's name.

    A pod that a quota or an admission rule forbids never exists: only Argo records it.
    """
    api = client_of("CustomObjectsApi")
    response = call_api(
        lambda: api.list_namespaced_custom_object(
            "argoproj.io", "v1alpha1", namespace, "workflows", label_selector=f"pipeline/runid={run}", **timeout()
        )
    )
    found = [node for item in response["items"] for node in _argo_nodes(item.get("status", {})).values()]
    return {node["name"]: node["message"] for node in found if node.get("message")}


def _argo_nodes(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return Argo's record of each node; one of more than a megabyte is packed."""
    packed = status.get("compressedNodes")
    return dict(json.loads(gzip.decompress(base64.b64decode(packed)))) if packed else status.get("nodes") or {}


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Yield a port of 127.0.0.1 that leads to ``port`` of ``service`` while the block lasts, by kubectl.

    Raises:
        ServiceError: kubectl is missing, or the service is.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise ServiceError(f"kubectl is not installed, and only it reaches {service} from here: install it")
    command = [program, "port-forward", "--address", "127.0.0.1", "-n", namespace, f"service/{service}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        try:
            lines = [process.stdout.readline().strip()]
            while lines[-1] and not FORWARDING.search(lines[-1]):
                lines.append(process.stdout.readline().strip())
            match = FORWARDING.search(lines[-1])
            if match is None:
                reason = " ".join(lines).strip() or "it ended"
                raise ServiceError(f"kubectl cannot reach {service} in namespace {namespace}: {reason}")
            Thread(target=process.stdout.read, daemon=True).start()  # a line for each connection: a full pipe stops it
            yield int(match[1])
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def quantity(text: str | int | float) -> float:
    """Return the number that Kubernetes writes as ``text``: "500m" is 0.5, "2Gi" is 2147483648, "1e3" is 1000."""
    match = QUANTITY.fullmatch(str(text))
    if match and match[2][1:].lstrip("+-").isdecimal():
        return float(match[0])
    if match is None or match[2] not in SUFFIXES:
        raise ServiceError(
            f"Kubernetes' quantity {text!r} is not valid; expected a number with a unit, such as 500m or 2Gi"
        )
    return float(match[1]) * SUFFIXES[match[2]]


def _pod(item: Any) -> Pod:
    main = next((c for c in item.spec.containers if c.name == "main"), item.spec.containers[0])
    statuses = [*(item.status.init_container_statuses or []), *(item.status.container_statuses or [])]
    own = next((status for status in item.status.container_statuses or [] if status.name == main.name), None)
    state = own.state if own else None
    waiting_reason, waiting_message = _waiting(item, statuses)
    termination_reason, termination_message = _termination(item, statuses)
    requests = (main.resources and main.resources.requests) or {}
    limits = (main.resources and main.resources.limits) or {}
    running, terminated = (state.running, state.terminated) if state else (None, None)
    return Pod(
        name=item.metadata.name,
        labels=item.metadata.labels or {},
        annotations=item.metadata.annotations or {},
        phase=item.status.phase,
        node=item.spec.node_name or "",
        image=main.image,
        command=tuple(main.command or ()),
        waiting_reason=waiting_reason,
        termination_reason=termination_reason,
        message=waiting_message or termination_message,
        created=item.metadata.creation_timestamp,
        started=running.started_at if running else terminated.started_at if terminated else None,
        finished=terminated.finished_at if terminated else None,
        cpu=quantity(requests.get("cpu", 0)),
        memory_bytes=int(quantity(requests.get("memory", 0))),
        gpus=_gpus(limits),
        exit_code=terminated.exit_code if terminated else None,
    )


def _waiting(item: Any, statuses: list[Any]) -> tuple[str, str]:
    if item.status.phase != "Pending":
        return "", ""
    for condition in item.status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return condition.reason or "Unschedulable", condition.message or ""
    for status in statuses:
        waiting = status.state and status.state.waiting
        if waiting and waiting.reason not in (None, "PodInitializing", "ContainerCreating"):
            return waiting.reason, waiting.message or ""
    return "ContainerCreating", ""


def _termination(item: Any, statuses: list[Any]) -> tuple[str, str]:
    if item.status.phase not in ("Failed", "Succeeded"):
        return "", ""
    if item.status.reason:  # of the whole pod: Evicted, DeadlineExceeded, NodeLost
        return item.status.reason, item.status.message or ""
    for status in statuses:
        terminated = status.state and status.state.terminated
        if terminated and terminated.exit_code:
            return terminated.reason or "Error", terminated.message or f"exit code {terminated.exit_code}"
    return "Completed", ""


def _gpus(resources: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: int(quantity(count)) for name, count in resources.items() if GPU_RESOURCE.match(name) and quantity(count)
    }


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ServiceError("a value of a Secret is not text; write it again with kubectl create secret") from error
