"""Check what this machine and its cluster offer pipelines, and how to add what is missing."""

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.cluster.kfp_client import HEALTH, Server
from cli.extras import describe_missing_module
from cli.settings import Settings
from pipelines._pods import VNNI
from toolchain.errors import ServiceError
from toolchain.hardware.doctor import Finding, graphics, processor
from toolchain.services import http, kubernetes
from toolchain.services.mlflow_retry import without_credentials
from toolchain.services.storage import has_credentials

REQUEST_TIMEOUT_S = 3  # a running service responds at once
RUN_SIZE_GB = 2  # eight variants of a 90 MB model, checkpoints, datasets


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each resource that pipelines can use."""
    yield _engine(settings)
    yield from _cluster(settings)
    yield _mlflow(settings)
    yield _s3()
    yield from processor()
    yield from graphics()
    yield _disk(settings.runs)


def _engine(settings: Settings) -> Finding:
    if not settings.endpoint:
        hint = "ENGINE=cluster submits to the kubeconfig's cluster, KFP_ENDPOINT to another Kubeflow Pipelines server"
        return Finding(True, "engine", f"local; {hint}")
    reachable = is_reachable(f"{settings.endpoint.rstrip('/')}/{HEALTH}")
    state = "responds" if reachable else "does not respond: check KFP_ENDPOINT and the network, or use --engine local"
    return Finding(reachable, "engine", f"cluster; {settings.endpoint} {state}")


def _cluster(settings: Settings) -> Iterator[Finding]:
    if not kubernetes.is_configured():
        yield Finding(
            False, "cluster", "no kubeconfig: set KUBECONFIG to submit to a cluster; pipelines run locally without one"
        )
        return
    try:
        nodes = kubernetes.nodes()
    except ServiceError as error:
        yield Finding(False, "cluster", str(error))
        return
    yield Finding(True, "cluster", f"{len(nodes)} nodes with {sum(node.cpu for node in nodes):g} cores for pods")
    yield from _nodes(nodes)
    server = Server(settings)
    try:
        server.check()
        yield Finding(True, "KFP", f"{server.name} responds: make submit ENGINE=cluster")
    except ServiceError as error:
        yield Finding(False, "KFP", str(error))


def _nodes(nodes: Sequence[kubernetes.Node]) -> Iterator[Finding]:
    gpus = [f"{node.name} ({_counts(node)})" for node in nodes if node.gpus]
    hint = "none: training runs on CPUs; see docs/train/gpu-nodes.md"
    yield Finding(bool(gpus), "GPU nodes", ", ".join(gpus) or hint)
    fast = [node.name for node in nodes if node.labels.get(VNNI) == "true"]
    hint = f"no node has the label {VNNI}=true: install node-feature-discovery, or INT8 is measured on any node"
    yield Finding(bool(fast), "VNNI nodes", ", ".join(fast) or hint)


def _counts(node: kubernetes.Node) -> str:
    product = node.labels.get("nvidia.com/gpu.product", "")
    return ", ".join(f"{count} {resource}" for resource, count in node.gpus.items()) + (
        f", {product}" if product else ""
    )


def _mlflow(settings: Settings) -> Finding:
    if importlib.util.find_spec("mlflow") is None:
        return Finding(False, "MLflow", describe_missing_module("mlflow"))
    if settings.tracking_uri.startswith("sqlite"):
        return Finding(
            True,
            "MLflow",
            f"SQLite at {settings.mlflow_database}; view it with make mlflow; MLFLOW_TRACKING_URI sets a server",
        )
    reachable = is_reachable(f"{settings.tracking_uri.rstrip('/')}/health")
    state = "responds" if reachable else "does not respond: start it, or unset MLFLOW_TRACKING_URI to use SQLite"
    return Finding(reachable, "MLflow", f"{without_credentials(settings.tracking_uri)} {state}")


def _s3() -> Finding:
    if importlib.util.find_spec("boto3") is None:
        return Finding(False, "S3", describe_missing_module("boto3"))
    if has_credentials():
        return Finding(True, "S3", "credentials found: s3:// sources can be read")
    hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for MinIO) to read s3:// sources"
    return Finding(False, "S3", f"no credentials: {hint}")


def _disk(runs: Path) -> Finding:
    existing = next(parent for parent in (runs, *runs.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    enough = free >= RUN_SIZE_GB
    return Finding(
        enough,
        "disk",
        f"{free:.0f} GB free for {runs}" + ("" if enough else f"; a run needs about {RUN_SIZE_GB} GB: free some space"),
    )


def is_reachable(url: str) -> bool:
    """Return whether a server responds at ``url`` within REQUEST_TIMEOUT_S."""
    try:
        return http.request(url, timeout_s=REQUEST_TIMEOUT_S).is_success
    except http.UnreachableError:
        return False
