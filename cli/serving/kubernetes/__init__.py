"""The model servers of a cluster: made, changed, waited for and asked, for `promote` and `rollback` there.

The pods poll the model's repository in S3, so publishing changes what serves. Here the cluster is told of it: the first
time all resources are made, later the Deployment's labels change, and its pods only where their image or size does.
"""

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from cli.serving.kubernetes.resources import SERVING, ModelServer, documents, name_of
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
OPENVINO = "openvino"  # the back end that the plain image has not
SECONDS_TO_SERVE = 300.0  # for a pod to get its image and its model; a version that is followed is there in 5 s
POLL_SECONDS = 0.5
TOLD_CHARACTERS = 120  # of what Kubernetes says of a pod: its sentence begins with what matters


def repository_uri(bucket: str, model: str) -> str:
    """Return the repository of ``model``, which servers on the cluster follow."""
    return f"s3://{bucket}/served/{model}"


def apply(
    namespace: str,
    place: str,
    routing: RoutingConfig,
    entry: Entry,
    *,
    size: str = "",
    gpus: int | None = None,
    sample_percent: float | None = None,
    require_tokens: bool | None = None,
    renewed: bool = True,
    secret: str = SERVING,
) -> None:
    """Let ``namespace`` serve the model whose repository is at ``place``, as ``routing`` says, which is there already.

    S3 must be reached (``bucket.cluster_bucket``), since the models' descriptions say what runs them.

    Args:
        namespace: Where the servers run; it holds the ConfigMap and the Secret `toolchain-steps`.
        place: s3://BUCKET/served/MODEL.
        routing: What was published.
        entry: The ledger's, behind the stable version.
        size: One of SIZES; "": as it is, "medium" for a new one.
        gpus: Of each pod; None: as it is, none for a new one.
        sample_percent: Of requests, 0 to 100, whose figures are put aside; None: as it is, none for a new one.
        require_tokens: Whether pods must not start without bearer tokens; None: as it is, not for a new one.
        secret: That with the pods' keys of S3.
        renewed: Whether the pods get the image of this checkout; without, theirs stays where it runs what it must.

    Raises:
        ConfigError: the model's name makes none for Kubernetes, or another model has it there.
        ServiceError: the cluster or S3 is down, or refuses.
    """
    model = routing.model
    present = applying.found(*DEPLOYMENT, namespace, name_of(model)) or {}
    _check_owner(present, model, namespace)
    before = present.get("metadata", {}).get("annotations", {})
    gpus = int(before.get("toolchain/gpus", 0)) if gpus is None else gpus
    sampled = float(before.get("toolchain/sample-percent", 0)) if sample_percent is None else sample_percent
    required = before.get("toolchain/require-tokens") == "true" if require_tokens is None else require_tokens
    server = ModelServer(
        namespace=namespace,
        routing=routing,
        model_repository=place.rstrip("/"),
        verdict=entry.verdict,
        forced=bool(entry.overridden),
        image=_image(_image_of(present), set(_backends(place, routing)), gpus, renewed),
        size=size or before.get("toolchain/resources", DEFAULT_SIZE),
        gpus=gpus,
        secret=secret,
        sample_percent=sampled,
        require_tokens=required,
    )
    applying.apply(documents(server))


def wait(namespace: str, routing: RoutingConfig, seconds: float = SECONDS_TO_SERVE) -> None:
    """Return once every pod answers as ``routing`` says and the Deployment's pods are all there; tell what it takes.

    Raises:
        ServiceError: that is not so after ``seconds``; with what keeps it.
    """
    began, told = time.monotonic(), {""}
    while lacking := _lacking(namespace, routing):
        passed = time.monotonic() - began
        if passed > seconds:
            raise ServiceError(
                f"{name_of(routing.model)} does not serve version {routing.stable.version} everywhere after "
                f"{seconds:.0f} s: {lacking}"
            )
        if lacking not in told:
            log_info(f"{passed:4.0f} s  {lacking}")
            told.add(lacking)
        time.sleep(POLL_SECONDS)
    pods = len(_ready(namespace, routing.model))
    log_info(f"{name_of(routing.model)}: {pods} pods answer so after {time.monotonic() - began:.1f} s")


def _check_owner(present: Mapping[str, Any], model: str, namespace: str) -> None:
    """Refuse a name that another model's servers have: "my-model" and "my_model" make the same."""
    owner = present.get("metadata", {}).get("labels", {}).get("toolchain/model", model)
    if owner != model:
        raise ConfigError(
            f"{name_of(model)} in namespace {namespace} serves {owner}: register {model} under another name, or serve "
            "it in another namespace (KFP_NAMESPACE)"
        )


def _image_of(present: Mapping[str, Any]) -> str:
    """Return the image of the pods that are there, "" when there are none."""
    return str(present["spec"]["template"]["spec"]["containers"][0]["image"]) if present else ""


def _image(present: str, backends: set[str], gpus: int, renewed: bool) -> str:
    """Return the image that serves models of ``backends``.

    Pods that had OpenVINO keep it, since it runs what the plain image does, and a rollback to it then starts no pod.
    """
    openvino = OPENVINO in backends
    if gpus and openvino:
        raise ConfigError("the model runs on OpenVINO, here for CPUs only: leave GPUs out, or promote an ONNX variant")
    kept = present.startswith(_without_tag(images.SERVE_OPENVINO))
    wanted = images.SERVE_GPU if gpus else images.SERVE_OPENVINO if openvino or kept else images.SERVE
    same = _without_tag(present) == _without_tag(wanted)
    return present if same and not renewed else wanted


def _without_tag(image: str) -> str:
    return image.rpartition(":")[0]


def _backends(place: str, routing: RoutingConfig) -> Iterator[str]:
    """Yield what runs each of the models that ``routing`` names, as they say themselves."""
    for target in routing.targets.values():
        description = storage.content(f"{place.rstrip('/')}/{target.digest}/{DESCRIPTION}")
        yield str(json.loads(description)["backend"])


def _lacking(namespace: str, routing: RoutingConfig) -> str:
    """Return what is not yet as ``routing`` says, "" when all is."""
    present = applying.found(*DEPLOYMENT, namespace, name_of(routing.model)) or {}
    status, wanted = present.get("status", {}), present.get("spec", {}).get("replicas", 1)
    current = present and status.get("observedGeneration", 0) >= present["metadata"]["generation"]
    there = min(status.get("updatedReplicas", 0), status.get("availableReplicas", 0)) if current else 0
    if there < wanted or status.get("replicas", 0) > wanted:
        return "; ".join([f"{there} of {wanted} pods are there", *_troubles(namespace, routing.model)])
    try:
        answers = _ready(namespace, routing.model).values()
    except ServiceError as silence:
        return str(silence)
    if len(answers) > wanted:  # with another image, they may refuse what comes next
        return f"{len(answers) - wanted} pods that were replaced are about to end"
    return "; ".join(sorted({_unlike(json.loads(answer), routing) for answer in answers} - {""}))


def _ready(namespace: str, model: str) -> dict[str, str]:
    return kubernetes.pod_responses(namespace, selector(model), HTTP_PORT, "readyz")


def _unlike(told: Mapping[str, Any], routing: RoutingConfig) -> str:
    """Return in what a pod that told so is not as ``routing`` says, "" when it is."""
    loaded = {role: version["digest"] for role, version in told["versions"].items()}
    for role, target in routing.targets.items():
        if loaded.get(role) != target.digest:
            why = "".join(f" ({what} is refused: {reason})" for what, reason in told["rejected"].items())
            return f"version {target.version} is not loaded yet{why}"
    return ""


def _troubles(namespace: str, model: str) -> list[str]:
    """Return what keeps pods from running, but for mere time."""
    waiting = [
        pod
        for pod in kubernetes.pods(namespace, selector(model))
        if pod.waiting_reason not in ("", "ContainerCreating")
    ]
    return sorted({f"{pod.waiting_reason} ({pod.message[:TOLD_CHARACTERS]})" for pod in waiting})
