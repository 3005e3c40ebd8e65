"""What this machine offers a pipeline, and what to do about what is missing."""

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from cli.cluster.kfp_client import HEALTH, Server
from cli.settings import Settings
from pipelines._placing import VNNI
from toolchain.errors import ServiceError
from toolchain.hardware.doctor import Finding, graphics, processor
from toolchain.services import kubernetes
from toolchain.services.mlflow_retry import shown
from toolchain.services.storage import knows_who_asks

SECONDS_TO_ANSWER = 3  # a service that is there answers at once
GIGABYTES_FOR_A_RUN = 2  # eight variants of a 90 MB model, checkpoints, datasets


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield a finding for each thing that a pipeline can use."""
    yield _engine(settings)
    yield from _cluster(settings)
    yield _mlflow(settings)
    yield _s3()
    yield from processor()
    yield from graphics()
    yield _disk(settings.runs)


def _engine(settings: Settings) -> Finding:
    if not settings.endpoint:
        advice = "ENGINE=cluster submits to that of the kubeconfig, KFP_ENDPOINT to that of a URL"
        return Finding(True, "engine", f"local; {advice}")
    answers = is_answering(f"{settings.endpoint.rstrip('/')}/{HEALTH}")
    told = "answers" if answers else "does not answer: check KFP_ENDPOINT and the network, or use --engine local"
    return Finding(answers, "engine", f"cluster at {settings.endpoint}, which {told}")


def _cluster(settings: Settings) -> Iterator[Finding]:
    if not kubernetes.is_configured():
        yield Finding(False, "cluster", "no kubeconfig: set KUBECONFIG to submit to a cluster, or run it all here")
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
        yield Finding(True, "KFP", f"{server.name} answers: make submit ENGINE=cluster")
    except ServiceError as error:
        yield Finding(False, "KFP", str(error))


def _nodes(nodes: Sequence[kubernetes.Node]) -> Iterator[Finding]:
    gpus = [f"{node.name} ({_counts(node)})" for node in nodes if node.gpus]
    none = "none offers a GPU: training runs on CPUs; see docs/gpu-nodes.md"
    yield Finding(bool(gpus), "GPU nodes", ", ".join(gpus) or none)
    fast = [node.name for node in nodes if node.labels.get(VNNI) == "true"]
    advice = f"none is labelled {VNNI}=true: install node-feature-discovery, or INT8 is measured where it falls"
    yield Finding(bool(fast), "VNNI nodes", ", ".join(fast) or advice)


def _counts(node: kubernetes.Node) -> str:
    kind = node.labels.get("nvidia.com/gpu.product", "")
    return ", ".join(f"{count} {resource}" for resource, count in node.gpus.items()) + (f", {kind}" if kind else "")


def _mlflow(settings: Settings) -> Finding:
    if importlib.util.find_spec("mlflow") is None:
        return Finding(False, "MLflow", "not installed: make setup")
    if settings.tracking_uri.startswith("sqlite"):
        return Finding(
            True,
            "MLflow",
            f"SQLite at {settings.mlflow_database}; make mlflow shows it; MLFLOW_TRACKING_URI names a server",
        )
    answers = is_answering(f"{settings.tracking_uri.rstrip('/')}/health")
    told = "answers" if answers else "does not answer: start it, or unset MLFLOW_TRACKING_URI to use SQLite here"
    return Finding(answers, "MLflow", f"{shown(settings.tracking_uri)} {told}")


def _s3() -> Finding:
    if knows_who_asks():
        return Finding(True, "S3", "credentials are there: s3:// sources can be read")
    advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for MinIO) to read s3:// sources"
    return Finding(False, "S3", f"no credentials: {advice}")


def _disk(runs: Path) -> Finding:
    there = next(parent for parent in (runs, *runs.parents) if parent.exists())
    free = shutil.disk_usage(there).free / 1e9
    enough = free >= GIGABYTES_FOR_A_RUN
    return Finding(
        enough,
        "disk",
        f"{free:.0f} GB free for {runs}"
        + ("" if enough else f"; a run takes about {GIGABYTES_FOR_A_RUN} GB: free some"),
    )


def is_answering(url: str) -> bool:
    """Return whether a server answers at ``url``, within SECONDS_TO_ANSWER."""
    try:
        with urlopen(url, timeout=SECONDS_TO_ANSWER) as answer:
            return bool(answer.status < 500)
    except (URLError, OSError, ValueError):
        return False
