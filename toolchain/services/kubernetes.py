"""Kubernetes: the one door to its API, by the kubeconfig (KUBECONFIG, ~/.kube/config) or from inside a pod."""

import base64
import binascii
import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from toolchain.errors import ServiceError

Answer = TypeVar("Answer")
SECONDS_TO_ANSWER = 10.0  # an API server that takes longer is down
SECONDS_TO_END = 20.0  # for kubectl, told to stop forwarding
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+)")
IN_A_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
GPU_RESOURCE = re.compile(r"^(nvidia|amd)\.com/(gpu|mig-.+)$|^gpu\.intel\.com/")
SUFFIXES = {"m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGT", 1)
}


@dataclass(frozen=True)
class Pod:
    """What is worth knowing of a pod that runs a step."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    phase: str  # Pending, Running, Succeeded or Failed
    node: str  # "" before it has one
    image: str  # of its main container
    command: tuple[str, ...]  # of its main container
    waits: str  # Kubernetes' word for why it does not run yet: "Unschedulable", "ImagePullBackOff"; "" when it runs
    ended: str  # Kubernetes' word for how it ended: "OOMKilled", "Evicted", "Error"; "" before
    told: str  # Kubernetes' sentence for either
    created: datetime
    started: datetime | None  # of its main container
    finished: datetime | None
    cpu: float  # cores that it asks for
    memory_bytes: int
    gpus: Mapping[str, int]  # count by resource


@dataclass(frozen=True)
class Node:
    name: str
    labels: Mapping[str, str]
    cpu: float  # cores that pods can ask for
    memory_bytes: int
    gpus: Mapping[str, int]  # count by resource


def is_configured() -> bool:
    """Return whether there is a kubeconfig, or this is a pod."""
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    return any(Path(file).is_file() for file in files.split(os.pathsep) if file) or IN_A_POD.is_file()


def pods(namespace: str, selector: str) -> list[Pod]:
    """Return the pods in ``namespace`` whose labels match ``selector``, oldest first."""
    answer = _ask(lambda core: core.list_namespaced_pod(namespace, label_selector=selector, **_patience()))
    return sorted((_pod(item) for item in answer.items), key=lambda pod: (pod.created, pod.name))


def log(namespace: str, pod: str, seconds: int | None = None) -> list[tuple[str, str]]:
    """Return (time, line) of what the main container of ``pod`` printed, in the last ``seconds`` when given."""
    text = _ask(
        lambda core: core.read_namespaced_pod_log(
            pod, namespace, container="main", timestamps=True, since_seconds=seconds, **_patience()
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
        for item in _ask(lambda core: core.list_node(**_patience())).items
    ]


def settings_of(namespace: str, name: str) -> dict[str, str]:
    """Return what the ConfigMap and the Secret ``name`` hold together; nothing where one is missing or not for us."""
    config = _permitted(lambda core: core.read_namespaced_config_map(name, namespace, **_patience()))
    secret = _permitted(lambda core: core.read_namespaced_secret(name, namespace, **_patience()))
    hidden = {key: _decoded(value) for key, value in ((secret and secret.data) or {}).items()}
    return {**((config and config.data) or {}), **hidden}


def has_service(namespace: str, name: str) -> bool:
    """Return whether ``namespace`` has the Service ``name``."""
    return _permitted(lambda core: core.read_namespaced_service(name, namespace, **_patience())) is not None


def answer_of(namespace: str, service: str, path: str) -> str:
    """Return what ``service``, written NAME:PORT, answers at ``path``, asked through the API server."""
    name = "connect_get_namespaced_service_proxy_with_path"
    return str(_ask(lambda core: getattr(core, name)(service, namespace, path, **_patience())))


def complaints(namespace: str, run: str) -> dict[str, str]:
    """Return what Argo says of the nodes of KFP's ``run`` that it cannot start or that failed, by the node's name.

    A pod that a quota or an admission rule forbids never exists: Argo's record is the only one that tells of it.
    """
    api = _client_of("CustomObjectsApi")
    answer = _asked(
        lambda: api.list_namespaced_custom_object(
            "argoproj.io", "v1alpha1", namespace, "workflows", label_selector=f"pipeline/runid={run}", **_patience()
        )
    )
    found = [node for item in answer["items"] for node in _argo_nodes(item.get("status", {})).values()]
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
            said = [process.stdout.readline().strip()]
            while said[-1] and not FORWARDING.search(said[-1]):
                said.append(process.stdout.readline().strip())
            match = FORWARDING.search(said[-1])
            if match is None:
                reason = " ".join(said).strip() or "it ended"
                raise ServiceError(f"kubectl cannot reach {service} in namespace {namespace}: {reason}")
            Thread(target=process.stdout.read, daemon=True).start()  # a line for each connection: a full pipe stops it
            yield int(match[1])
        finally:
            process.terminate()
            process.wait(SECONDS_TO_END)


def quantity(text: str | int | float) -> float:
    """Return the number that Kubernetes writes as ``text``: "500m" is 0.5, "2Gi" is 2147483648."""
    match = re.match(r"^([0-9.]+)([a-zA-Z]*)$", str(text))
    if match is None or match[2] not in SUFFIXES:
        raise ServiceError(f"Kubernetes' quantity {text!r} is not understood")
    return float(match[1]) * SUFFIXES[match[2]]


def _pod(item: Any) -> Pod:
    main = next((c for c in item.spec.containers if c.name == "main"), item.spec.containers[0])
    statuses = [*(item.status.init_container_statuses or []), *(item.status.container_statuses or [])]
    own = next((status for status in item.status.container_statuses or [] if status.name == main.name), None)
    state = own.state if own else None
    waits, reason = _waiting(item, statuses)
    ended, how = _ending(item, statuses)
    requests = (main.resources and main.resources.requests) or {}
    limits = (main.resources and main.resources.limits) or {}
    running, over = (state.running, state.terminated) if state else (None, None)
    return Pod(
        name=item.metadata.name,
        labels=item.metadata.labels or {},
        annotations=item.metadata.annotations or {},
        phase=item.status.phase,
        node=item.spec.node_name or "",
        image=main.image,
        command=tuple(main.command or ()),
        waits=waits,
        ended=ended,
        told=reason or how,
        created=item.metadata.creation_timestamp,
        started=running.started_at if running else over.started_at if over else None,
        finished=over.finished_at if over else None,
        cpu=quantity(requests.get("cpu", 0)),
        memory_bytes=int(quantity(requests.get("memory", 0))),
        gpus=_gpus(limits),
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


def _ending(item: Any, statuses: list[Any]) -> tuple[str, str]:
    if item.status.phase not in ("Failed", "Succeeded"):
        return "", ""
    if item.status.reason:  # of the whole pod: Evicted, DeadlineExceeded, NodeLost
        return item.status.reason, item.status.message or ""
    for status in statuses:
        over = status.state and status.state.terminated
        if over and over.exit_code:
            return over.reason or "Error", over.message or f"exit code {over.exit_code}"
    return "Completed", ""


def _gpus(resources: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: int(quantity(count)) for name, count in resources.items() if GPU_RESOURCE.match(name) and count != "0"
    }


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ServiceError("a value of a Secret is not text; write it again with kubectl create secret") from error


def _patience() -> dict[str, float]:
    return {"_request_timeout": SECONDS_TO_ANSWER}


@cache
def _client_of(kind: str) -> Any:
    from kubernetes import client, config

    try:
        if IN_A_POD.is_file() and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config()
            return getattr(client, kind)()
        return getattr(client, kind)(config.new_client_from_config())
    except config.ConfigException as error:
        raise ServiceError(f"there is no usable kubeconfig ({error}): set KUBECONFIG to one") from error


def _ask(call: Callable[[Any], Answer]) -> Answer:
    core = _client_of("CoreV1Api")
    return _asked(lambda: call(core))


def _permitted(call: Callable[[Any], Answer]) -> Answer | None:
    """Return what ``call`` answers, None where it is not there or may not be read by us."""
    from kubernetes.client.exceptions import ApiException

    try:
        return _ask(call)
    except ServiceError as error:
        if isinstance(error.__cause__, ApiException) and error.__cause__.status in (403, 404):
            return None
        raise


def _asked(call: Callable[[], Answer]) -> Answer:
    """Return what ``call`` answers; one line says what to do when it does not."""
    import urllib3
    from kubernetes.client.exceptions import ApiException

    try:
        return call()
    except ApiException as error:
        hint = {
            401: "log in again: the kubeconfig's credentials are too old",
            403: "ask for the right to do it",
            503: "its pods are being started, or cannot be: try again in a minute, or look at them",
        }
        said = re.search(r'"message":"((?:[^"\\]|\\.)*)"', str(error.body or ""))
        reason = said[1].replace('\\"', '"') if said else error.reason
        raise ServiceError(
            f"Kubernetes refuses: {reason}; {hint.get(error.status, 'see the name and the namespace')}"
        ) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise ServiceError(
            f"Kubernetes' API server does not answer ({reason}); check KUBECONFIG and the network"
        ) from error
