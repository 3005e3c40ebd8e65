"""Render the pod of a served model: container, environment, resources, probes."""

from cli.serving.kubernetes.model_server import GRPC, METRICS, PORTS, RESOURCES, Document, ModelServer, cores
from pipelines._pods import GIB, GPU, SIZES, STEPS_CONFIG
from toolchain.lifecycle.server_client import HTTP_PORT

TOKENS = "serve-tokens"  # Secret with bearer tokens, in the key TOOLCHAIN_SERVE_TOKENS
TOKENS_DIR = "/etc/toolchain/serve-tokens"  # where it is mounted; the server rejects unknown keys
STORAGE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
STORAGE_ADDRESS = ("AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION")
# Before SIGTERM, while nodes remove the pod from the Service; if it is the only pod, requests still reach it.
PRE_STOP_S = 15
DRAIN_S = 5  # after SIGTERM, while clients close their connections
GRACE_PERIOD_S = PRE_STOP_S + DRAIN_S + 10 + 5 + 5  # and requests in progress, the last responses, the exit


def pod_spec(server: ModelServer) -> Document:
    """Return the spec of the Deployment's pods."""
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
        "terminationGracePeriodSeconds": GRACE_PERIOD_S,
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
    """Return the server's container. It is ready until SIGTERM, so that requests reach it while it is the only pod."""
    options = [
        "--host",
        "0.0.0.0",
        "--port",
        str(HTTP_PORT),
        "--grpc-port",
        str(GRPC),
        "--metrics-port",
        str(METRICS),
        "--drain-seconds",
        str(DRAIN_S),
    ]
    return {
        "name": "server",
        "image": server.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--model-repository", server.model_repository, *options, *_tokens(server), *_sampling(server)],
        "env": _environment(server.secret),
        "ports": [{"name": name, "containerPort": port} for name, port in PORTS.items()],
        "resources": _resources(server, storage),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
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
    """Return the options for bearer tokens. All keys of the Secret are mounted, so that a misspelt one is found."""
    return ["--tokens-dir", TOKENS_DIR, *(["--require-tokens"] if server.require_tokens else [])]


def _sampling(server: ModelServer) -> list[str]:
    """Return the options for samples, which are stored in the bucket of the models."""
    if not server.sample_percent:
        return []
    bucket = server.model_repository.removeprefix("s3://").partition("/")[0]
    return ["--samples", f"s3://{bucket}/samples", "--sample-percent", f"{server.sample_percent:g}"]


def _environment(secret: str) -> list[Document]:
    """Return the address and the keys of S3, which are optional: a cloud's IAM role needs no keys."""

    def reference(name: str, kind: str, source: str) -> Document:
        return {"name": name, "valueFrom": {kind: {"name": source, "key": name, "optional": True}}}

    return [
        *(reference(name, "configMapKeyRef", STEPS_CONFIG) for name in STORAGE_ADDRESS),
        *(reference(name, "secretKeyRef", secret) for name in STORAGE_KEYS),
    ]


def _resources(server: ModelServer, storage: int) -> Document:
    """Return the requests and limits. The server uses as many threads as its CPU limit has cores."""
    request, limit = cores(server.size)
    memory = f"{round(1024 * RESOURCES.memory * SIZES[server.size].memory)}Mi"
    same = {"memory": memory, "ephemeral-storage": str(storage), **({GPU: str(server.gpus)} if server.gpus else {})}
    return {
        "requests": {"cpu": f"{round(1000 * request)}m", **same},
        "limits": {"cpu": f"{round(1000 * limit)}m", **same},
    }


def _probes() -> Document:
    def probe(path: str, **options: int) -> Document:
        return {"httpGet": {"path": path, "port": "http"}, **options}

    return {
        "startupProbe": probe("/healthz", periodSeconds=1, failureThreshold=120),
        "readinessProbe": probe("/readyz", periodSeconds=2, timeoutSeconds=2, failureThreshold=2),
        "livenessProbe": probe("/healthz", periodSeconds=10, timeoutSeconds=10, failureThreshold=6),
    }
