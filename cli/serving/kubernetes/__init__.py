"""Deploy a model on a cluster, update it, and wait for its pods: for ``promote`` and ``rollback``.

The pods poll the model repository in S3, so a published promotion changes what they serve. This package creates the
resources at the first promotion, and later updates the labels of the Deployment, and its pods if their image or size
changes.
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cli.serving.kubernetes.model_server import SERVING, ModelServer, PodOptions, name_of
from cli.serving.kubernetes.resources import documents
from components import images
from pipelines._pods import DEFAULT_SIZE
from toolchain.artifacts.model import DESCRIPTION
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle.ledger import Entry
from toolchain.lifecycle.routing import RoutingConfig
from toolchain.lifecycle.server_client import HTTP_PORT, selector
from toolchain.progress import log_info
from toolchain.services import kubernetes, storage
from toolchain.services.kubernetes import applying

DEPLOYMENT = ("apps/v1", "Deployment")
OPENVINO = "openvino"  # a back end that the default image does not have
READY_TIMEOUT_S = 300.0  # for a pod to get its image and its model; a running pod loads a version within 5 s
POLL_INTERVAL_S = 0.5
MAX_MESSAGE_CHARACTERS = 120  # of a message of Kubernetes about a pod, which begins with the cause


def repository_uri(bucket: str, model: str) -> str:
    """Return the URI of the model repository of ``model``, which servers on the cluster follow."""
    return f"s3://{bucket}/served/{model}"


def apply(
    namespace: str,
    repository: str,
    routing: RoutingConfig,
    entry: Entry,
    options: PodOptions | None = None,
    secret: str = SERVING,
) -> None:
    """Create or update the resources of the model that ``routing`` names.

    S3 must be reachable (``cluster_bucket``), because the back ends are read from the models' descriptions.

    Args:
        namespace: Namespace of the model servers, with the ConfigMap and the Secret `toolchain-steps`.
        repository: The model repository, s3://BUCKET/served/MODEL, to which ``routing`` was published.
        routing: The routing config.
        entry: The ledger's entry of the stable version.
        options: Options of the pods; None keeps theirs, and their image if it can run the models.
        secret: The Secret with the S3 keys of the pods.

    Raises:
        ConfigError: the model's name is not valid for a Service, or another model uses it.
        ServiceError: the cluster or S3 is down, or denies access.
    """
    model = routing.model
    present = applying.found(*DEPLOYMENT, namespace, name_of(model)) or {}
    _check_owner(present, model, namespace)
    pods = _merged(options or PodOptions(), present.get("metadata", {}).get("annotations", {}))
    backends = set(_backends(repository, routing))
    image = _image(_image_of(present), backends, pods.gpus or 0, update=options is not None)
    applying.apply(documents(_model_server(namespace, repository, routing, entry, pods, image, secret)))


def _model_server(
    namespace: str,
    repository: str,
    routing: RoutingConfig,
    entry: Entry,
    pods: PodOptions,
    image: str,
    secret: str,
) -> ModelServer:
    return ModelServer(
        namespace=namespace,
        routing=routing,
        model_repository=repository.rstrip("/"),
        verdict=entry.verdict,
        forced=bool(entry.overridden),
        image=image,
        size=pods.size,
        gpus=pods.gpus or 0,
        secret=secret,
        sample_percent=pods.sample_percent or 0.0,
        require_tokens=bool(pods.require_tokens),
    )


def wait(namespace: str, routing: RoutingConfig, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Return once all pods of the Deployment serve what ``routing`` says; log what is pending.

    Raises:
        ServiceError: they do not after ``timeout_s``; the message says what is pending.
    """
    began, logged = time.monotonic(), {""}
    while pending := _pending(namespace, routing):
        passed = time.monotonic() - began
        if passed > timeout_s:
            raise ServiceError(
                f"{name_of(routing.model)} does not serve version {routing.stable.version} in every pod after "
                f"{timeout_s:.0f} s: {pending}"
            )
        if pending not in logged:
            log_info(f"{passed:4.0f} s  {pending}")
            logged.add(pending)
        time.sleep(POLL_INTERVAL_S)
    pods = len(_readiness(namespace, routing.model))
    version = routing.stable.version
    log_info(f"{name_of(routing.model)}: {pods} pods serve version {version} after {time.monotonic() - began:.1f} s")


def _check_owner(present: Mapping[str, Any], model: str, namespace: str) -> None:
    """Raise ConfigError if another model uses the name: "my-model" and "my_model" have the same."""
    owner = present.get("metadata", {}).get("labels", {}).get("toolchain/model", model)
    if owner != model:
        raise ConfigError(
            f"{name_of(model)} in namespace {namespace} serves {owner}: register {model} under another name, or serve "
            "it in another namespace (KFP_NAMESPACE)"
        )


def _merged(options: PodOptions, before: Mapping[str, str]) -> PodOptions:
    """Return ``options``, with those that are not set from the Deployment's annotations ``before``."""
    sampled, required = options.sample_percent, options.require_tokens
    return PodOptions(
        size=options.size or before.get("toolchain/resources", DEFAULT_SIZE),
        gpus=int(before.get("toolchain/gpus", 0)) if options.gpus is None else options.gpus,
        sample_percent=float(before.get("toolchain/sample-percent", 0)) if sampled is None else sampled,
        require_tokens=before.get("toolchain/require-tokens") == "true" if required is None else required,
    )


def _image_of(present: Mapping[str, Any]) -> str:
    """Return the image of the existing pods, or "" if there are none."""
    return str(present["spec"]["template"]["spec"]["containers"][0]["image"]) if present else ""


def _image(present: str, backends: set[str], gpus: int, update: bool) -> str:
    """Return the image that serves models of ``backends``; the ``present`` one, if it can and there is no ``update``.

    Pods with OpenVINO keep it: it runs all models of the default image, and a rollback then restarts no pod.
    """
    openvino = OPENVINO in backends
    if gpus and openvino:
        raise ConfigError(
            "the model requires OpenVINO, which runs on CPUs only: use --gpus 0, or promote an ONNX variant"
        )
    has_openvino = present.startswith(_without_tag(images.SERVE_OPENVINO))
    image = images.SERVE_GPU if gpus else images.SERVE_OPENVINO if openvino or has_openvino else images.SERVE
    matches = _without_tag(present) == _without_tag(image)
    return present if matches and not update else image


def _without_tag(image: str) -> str:
    return image.rpartition(":")[0]


def _backends(repository: str, routing: RoutingConfig) -> Iterator[str]:
    """Yield the back end of each model in ``routing``, from its description."""
    for target in routing.targets.values():
        description = storage.content(f"{repository.rstrip('/')}/{target.digest}/{DESCRIPTION}")
        yield str(json.loads(description)["backend"])


def _pending(namespace: str, routing: RoutingConfig) -> str:
    """Return what differs from ``routing``, or "" if all pods serve it."""
    present = applying.found(*DEPLOYMENT, namespace, name_of(routing.model)) or {}
    status, replicas = present.get("status", {}), present.get("spec", {}).get("replicas", 1)
    current = present and status.get("observedGeneration", 0) >= present["metadata"]["generation"]
    ready = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) if current else 0
    if ready < replicas or status.get("replicas", 0) > replicas:
        return "; ".join([f"{ready} of {replicas} pods are ready", *_pod_problems(namespace, routing.model)])
    try:
        responses = _readiness(namespace, routing.model).values()
    except ServiceError as error:
        return str(error)
    if len(responses) > replicas:  # with another image, which may reject the next version
        return f"{len(responses) - replicas} replaced pods are ending"
    return "; ".join(sorted({_difference(json.loads(response), routing) for response in responses} - {""}))


def _readiness(namespace: str, model: str) -> dict[str, str]:
    return kubernetes.pod_responses(namespace, selector(model), HTTP_PORT, "readyz")


def _difference(ready: Mapping[str, Any], routing: RoutingConfig) -> str:
    """Return the first version of ``routing`` that a pod has not loaded, by its readiness; "" if it has all."""
    loaded = {role: version["digest"] for role, version in ready["versions"].items()}
    for role, target in routing.targets.items():
        if loaded.get(role) != target.digest:
            reasons = "".join(f" ({version} is rejected: {reason})" for version, reason in ready["rejected"].items())
            return f"version {target.version} is not loaded yet{reasons}"
    return ""


def _pod_problems(namespace: str, model: str) -> list[str]:
    """Return why pods do not start, except for those that only need time."""
    pods = kubernetes.pods(namespace, selector(model))
    waiting = [pod for pod in pods if pod.waiting_reason not in ("", "ContainerCreating")]
    return sorted({f"{pod.waiting_reason} ({pod.message[:MAX_MESSAGE_CHARACTERS]})" for pod in waiting})
