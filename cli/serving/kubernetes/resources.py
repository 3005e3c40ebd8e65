"""Render the Kubernetes resources of a served model.

The labels and annotations of the Deployment show the live version. The pods contain nothing of it, because they follow
the model repository: a promotion restarts no pod, but another image or size does.
"""

from collections.abc import Mapping

from cli.serving.kubernetes.model_server import GRPC, METRICS, Document, ModelServer, cores
from cli.serving.kubernetes.pod import pod_spec
from toolchain.lifecycle.server_client import HTTP_PORT

CALLERS = "toolchain/reaches-model-server"  # label of pods and namespaces that may call models
REPLICAS = {"small": (1, 2), "medium": (2, 8), "large": (2, 24)}  # (min, max); two pods survive the loss of a node
TARGET_CPU = 0.7  # average share of the CPU limit above which pods are added
DIGEST_DIGITS = 12  # in a label
VERDICTS = ("winner", "accurate")  # first words of a verdict of the gate


def documents(server: ModelServer) -> list[Document]:
    """Return the resources of ``server``, in the order in which they are created."""
    render = (service_account, network_policy, service, disruption_budget, deployment, autoscaler)
    return [resource(server) for resource in render]


def service_account(server: ModelServer) -> Document:
    """Return the pods' service account, which has no permissions; a cloud's IAM role for S3 may be bound to it."""
    return {**_head(server, "v1", "ServiceAccount"), "automountServiceAccountToken": False}


def network_policy(server: ModelServer) -> Document:
    """Allow requests from pods and namespaces with the label. A policy of the chart allows the pods to access S3."""
    own = {"podSelector": {"matchLabels": {CALLERS: "true"}}}
    others = {"namespaceSelector": {"matchLabels": {CALLERS: "true"}}}
    spec = {
        "podSelector": {"matchLabels": server.selector},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"from": [own, others], "ports": [{"port": port, "protocol": "TCP"} for port in (HTTP_PORT, GRPC)]}
        ],
    }
    return {**_head(server, "networking.k8s.io/v1", "NetworkPolicy"), "spec": spec}


def service(server: ModelServer) -> Document:
    ports = [
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"},
        {"name": "grpc", "port": GRPC, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "kubernetes.io/h2c"},
    ]
    return {**_head(server, "v1", "Service"), "spec": {"selector": server.selector, "ports": ports}}


def disruption_budget(server: ModelServer) -> Document:
    """Limit the drain of nodes to one pod at a time; a pod that is not ready may always be evicted."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server.selector},
    }
    return {**_head(server, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def autoscaler(server: ModelServer) -> Document:
    """Scale the number of pods by their CPU usage. Without a metrics server it stays at the minimum."""
    minimum, maximum = REPLICAS[server.size]
    target = {"type": "AverageValue", "averageValue": f"{round(1000 * TARGET_CPU * cores(server.size)[1])}m"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": server.name},
        "minReplicas": minimum,
        "maxReplicas": maximum,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
    }
    return {**_head(server, "autoscaling/v2", "HorizontalPodAutoscaler"), "spec": spec}


def deployment(server: ModelServer) -> Document:
    """Return the Deployment without the number of replicas, which the autoscaler sets."""
    head = _head(server, "apps/v1", "Deployment", _version_labels(server), _version_annotations(server))
    spec = {
        "selector": {"matchLabels": server.selector},
        "revisionHistoryLimit": 3,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {
                "labels": {**server.labels, "toolchain/reaches-storage": "true"},
                "annotations": {
                    "prometheus.io/scrape": "true",
                    "prometheus.io/port": str(METRICS),
                    "prometheus.io/path": "/metrics",
                },
            },
            "spec": pod_spec(server),
        },
    }
    return {**head, "spec": spec}


def _head(
    server: ModelServer,
    api_version: str,
    kind: str,
    labels: Mapping[str, str] = {},
    annotations: Mapping[str, str] = {},
) -> Document:
    metadata: Document = {"name": server.name, "namespace": server.namespace, "labels": {**server.labels, **labels}}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _version_labels(server: ModelServer) -> dict[str, str]:
    """Return the labels that `kubectl get deployments -L` shows."""
    stable, canary = server.routing.stable, server.routing.canary
    first = server.verdict.partition(" ")[0]
    verdict = "forced" if server.forced else first if first in VERDICTS else "unknown"
    found = {
        "toolchain/version": stable.version,
        "toolchain/digest": stable.digest[:DIGEST_DIGITS],
        "toolchain/verdict": verdict,
    }
    return {**found, **({"toolchain/canary": canary.version} if canary else {})}


def _version_annotations(server: ModelServer) -> dict[str, str]:
    """Return the annotations that `kubectl describe` shows, and the options that the next promotion keeps."""
    canary = server.routing.canary
    found = {
        "toolchain/digest": server.routing.stable.digest,
        "toolchain/variant": server.routing.stable.variant,
        "toolchain/verdict": server.verdict,
        "toolchain/entry": server.routing.entry,
        "toolchain/resources": server.size,
        "toolchain/gpus": str(server.gpus),
        "toolchain/sample-percent": f"{server.sample_percent:g}",
        "toolchain/require-tokens": str(server.require_tokens).lower(),
    }
    return {**found, **({"toolchain/canary-percent": f"{server.routing.percent:g}"} if canary else {})}
