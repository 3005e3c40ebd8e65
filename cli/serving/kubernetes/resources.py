"""What a served model is on a cluster: a document for each resource, as the API server takes it.

What changes with the version that serves stands on the Deployment, for people; nothing of it is in the pods, which
follow the repository: a promotion starts no pod anew, another image or size does.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines._pods import GIB, GPU, SIZES, STEPS_CONFIG, Resources
from toolchain.errors import ConfigError
from toolchain.lifecycle.routing import RoutingConfig
from toolchain.lifecycle.server_client import HTTP_PORT

Document = dict[str, Any]
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")  # with "serve-" before it, a Service's name: 63 characters
GRPC = 8081  # port
METRICS = 8082  # port, to which the chart's policy lets Prometheus alone: it cannot call the model
PORTS = {"http": HTTP_PORT, "grpc": GRPC, "metrics": METRICS}
CALLERS = "toolchain/reaches-model-server"  # the label of pods, and of namespaces, that may call models
SERVING = "toolchain-serving"  # the chart's Secret with keys of S3 that may read what is served and write samples
TOKENS = "serve-tokens"  # a Secret with bearer tokens, under TOOLCHAIN_SERVE_TOKENS
TOKENS_DIR = "/etc/toolchain/serve-tokens"  # where it is mounted; a server refuses what is misspelt there
STORAGE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
STORAGE_PLACE = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
# Of a server: its model twice while it changes versions, and requests of up to 256 MiB.
RESOURCES = Resources(cpu=1, memory=2, storage=4)
REPLICAS = {"small": (1, 2), "medium": (2, 8), "large": (2, 24)}  # fewest: two outlive a node; most
BUSY_SHARE = 0.7  # of the cores that a pod may use, on average, at which there are to be more pods
# Before SIGTERM, in which nodes take the pod off the Service; where it is the only one, they keep to it.
LEAVE_SECONDS = 15
DRAIN_SECONDS = 5  # after SIGTERM, in which callers are told to leave the connections that they kept
END_SECONDS = LEAVE_SECONDS + DRAIN_SECONDS + 10 + 5 + 5  # and what it has begun, the last answers, the exit
DIGITS = 12  # of a digest, in a label
VERDICTS = ("winner", "accurate")  # the words that the gate's verdict may begin with


@dataclass(frozen=True, kw_only=True)
class ModelServer:
    """A model that a cluster serves, and how."""

    namespace: str
    routing: RoutingConfig  # which versions of it
    model_repository: str  # s3://BUCKET/served/MODEL, which the pods follow
    verdict: str  # the gate's on the stable version, in words
    forced: bool  # whether it was promoted although something spoke against it
    image: str  # full name
    size: str  # one of SIZES
    gpus: int  # of a pod; 0: it computes on CPUs
    secret: str = SERVING  # with the pods' keys of S3
    sample_percent: float = 0.0  # of requests whose figures are put aside, to look for drift; 0: none
    require_tokens: bool = False  # whether pods must not start without bearer tokens

    @property
    def name(self) -> str:
        return name_of(self.routing.model)

    @property
    def selector(self) -> dict[str, str]:
        """The labels that tell its pods from others."""
        return {"app.kubernetes.io/name": self.routing.model, "app.kubernetes.io/component": "model-server"}

    @property
    def labels(self) -> dict[str, str]:
        ours = {"app.kubernetes.io/part-of": "toolchain", "app.kubernetes.io/managed-by": "toolchain"}
        return {**self.selector, **ours, "toolchain/model": self.routing.model}


def name_of(model: str) -> str:
    """Return the name that the resources of ``model`` have; ConfigError when Kubernetes could not take it."""
    found = model.lower().replace("_", "-")
    if not NAME.fullmatch(found):
        raise ConfigError(
            f"the model's name {model!r} makes no name of a Service: register it with letters, digits, - and _, "
            "57 at most, a letter or digit first and last"
        )
    return f"serve-{found}"


def documents(server: ModelServer) -> list[Document]:
    """Return all that ``server`` consists of, in the order in which it is to be there."""
    made = (service_account, network_policy, service, disruption_budget, deployment, autoscaler)
    return [make(server) for make in made]


def service_account(server: ModelServer) -> Document:
    """Return the pods' account, which may do nothing: a cloud's role for S3 may be bound to it."""
    return {**_head(server, "v1", "ServiceAccount"), "automountServiceAccountToken": False}


def network_policy(server: ModelServer) -> Document:
    """Return who may call: pods and namespaces with the label. The pods reach S3 by a policy of the chart."""
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
    """Return what lets a node be drained, but never takes two pods at once; one that is not ready may always go."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server.selector},
    }
    return {**_head(server, "policy/v1", "PodDisruptionBudget"), "spec": spec}


def autoscaler(server: ModelServer) -> Document:
    """Return how many pods there are: more where they are busy. Without a metrics server it keeps the fewest."""
    fewest, most = REPLICAS[server.size]
    busy = {"type": "AverageValue", "averageValue": f"{round(1000 * BUSY_SHARE * _cores(server.size)[1])}m"}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": server.name},
        "minReplicas": fewest,
        "maxReplicas": most,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
    }
    return {**_head(server, "autoscaling/v2", "HorizontalPodAutoscaler"), "spec": spec}


def deployment(server: ModelServer) -> Document:
    """Return the pods, without their number, which is the autoscaler's to say."""
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
            "spec": _pod(server),
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
    """Return what `kubectl get deployments -L` shows."""
    stable, canary = server.routing.stable, server.routing.canary
    word = server.verdict.partition(" ")[0]
    verdict = "forced" if server.forced else word if word in VERDICTS else "unknown"
    found = {
        "toolchain/version": stable.version,
        "toolchain/digest": stable.digest[:DIGITS],
        "toolchain/verdict": verdict,
    }
    return {**found, **({"toolchain/canary": canary.version} if canary else {})}


def _version_annotations(server: ModelServer) -> dict[str, str]:
    """Return what `kubectl describe` shows, and what the next promotion keeps to where it is told nothing else."""
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


def _pod(server: ModelServer) -> Document:
    storage = round(GIB * RESOURCES.storage * SIZES[server.size].storage)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": server.selector},
    }
    return {
        "serviceAccountName": server.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": END_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        "containers": [_container(server, storage)],
        "volumes": [
            {"name": "temporary", "emptyDir": {"sizeLimit": str(storage)}},
            {"name": "tokens", "secret": {"secretName": TOKENS, "optional": not server.require_tokens}},
        ],
        **({"tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]} if server.gpus else {}),
    }


def _container(server: ModelServer, storage: int) -> Document:
    """Return the server; it is ready until SIGTERM, so that it answers on while it is the only pod that does."""
    shown = [
        "--host",
        "0.0.0.0",
        "--port",
        str(HTTP_PORT),
        "--grpc-port",
        str(GRPC),
        "--metrics-port",
        str(METRICS),
        "--drain-seconds",
        str(DRAIN_SECONDS),
    ]
    return {
        "name": "server",
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--model-repository", server.model_repository, *shown, *_tokens(server), *_sampling(server)],
        "env": _environment(server.secret),
        "ports": [{"name": name, "containerPort": port} for name, port in PORTS.items()],
        "resources": _resources(server, storage),
        "lifecycle": {"preStop": {"sleep": {"seconds": LEAVE_SECONDS}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "temporary", "mountPath": "/tmp"},
            {"name": "tokens", "mountPath": TOKENS_DIR, "readOnly": True},
        ],
        **_probes(),
    }


def _tokens(server: ModelServer) -> list[str]:
    """Return what lets pods find tokens. All keys of the Secret are mounted, so that a misspelt one is seen."""
    return ["--tokens-dir", TOKENS_DIR, *(["--require-tokens"] if server.require_tokens else [])]


def _sampling(server: ModelServer) -> list[str]:
    """Return what lets pods put samples aside, in the bucket that they get their models from."""
    if not server.sample_percent:
        return []
    bucket = server.model_repository.removeprefix("s3://").partition("/")[0]
    return ["--samples", f"s3://{bucket}/samples", "--sample-percent", f"{server.sample_percent:g}"]


def _environment(secret: str) -> list[Document]:
    """Return where S3 is and who asks it; a cloud's roles need no keys."""

    def known(name: str, kind: str, source: str) -> Document:
        return {"name": name, "valueFrom": {kind: {"name": source, "key": name, "optional": True}}}

    return [
        *(known(name, "configMapKeyRef", STEPS_CONFIG) for name in STORAGE_PLACE),
        *(known(name, "secretKeyRef", secret) for name in STORAGE_KEYS),
    ]


def _resources(server: ModelServer, storage: int) -> Document:
    """Return what a pod asks for. The server computes with as many threads as its limit of cores grants."""
    requested, most = _cores(server.size)
    memory = f"{round(1024 * RESOURCES.memory * SIZES[server.size].memory)}Mi"
    same = {"memory": memory, "ephemeral-storage": str(storage), **({GPU: str(server.gpus)} if server.gpus else {})}
    return {
        "requests": {"cpu": f"{round(1000 * requested)}m", **same},
        "limits": {"cpu": f"{round(1000 * most)}m", **same},
    }


def _cores(size: str) -> tuple[float, float]:
    """Return the cores that a pod asks for, and those that it may use where they are idle."""
    requested = RESOURCES.cpu * SIZES[size].cpu
    return requested, max(1.0, requested * SIZES[size].burst)


def _probes() -> Document:
    def asked(path: str, **how: int) -> Document:
        return {"httpGet": {"path": path, "port": "http"}, **how}

    return {
        "startupProbe": asked("/healthz", periodSeconds=1, failureThreshold=120),
        "readinessProbe": asked("/readyz", periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        "livenessProbe": asked("/healthz", periodSeconds=10, timeoutSeconds=10, failureThreshold=6),
    }
