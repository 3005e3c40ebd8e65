"""Describe a model that a cluster serves: its versions, its image, and the size of its pods."""

import re
from dataclasses import dataclass
from typing import Any

from pipelines._pods import SIZES, Resources
from toolchain.errors import ConfigError
from toolchain.lifecycle.routing import RoutingConfig
from toolchain.lifecycle.server_client import HTTP_PORT

Document = dict[str, Any]  # a Kubernetes resource
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,55}[a-z0-9])?")  # with the prefix "serve-", a Service's name: 63 characters
GRPC = 8081  # port
METRICS = 8082  # port, which the chart's network policy opens to Prometheus only; it serves no predictions
PORTS = {"http": HTTP_PORT, "grpc": GRPC, "metrics": METRICS}
SERVING = "toolchain-serving"  # the chart's Secret with S3 keys that can read served models and write samples
# Of a pod: the model twice while it changes versions, and requests of up to 256 MiB.
RESOURCES = Resources(cpu=1, memory=2, storage=4)


@dataclass(frozen=True)
class PodOptions:
    """Options of the pods that serve a model; None, or "" for the size, keeps what is deployed."""

    size: str = ""  # one of small, medium, large
    gpus: int | None = None  # per pod
    sample_percent: float | None = None  # of requests, 0 to 100
    require_tokens: bool | None = None  # whether pods start only with bearer tokens


@dataclass(frozen=True, kw_only=True)
class ModelServer:
    """A model that a cluster serves."""

    namespace: str
    routing: RoutingConfig  # the versions and their roles
    model_repository: str  # s3://BUCKET/served/MODEL, which the pods follow
    verdict: str  # of the gate, on the stable version
    forced: bool  # whether it was promoted by --force
    image: str  # full name
    size: str  # one of SIZES
    gpus: int  # per pod; 0: inference on CPUs
    secret: str = SERVING  # with the S3 keys of the pods
    sample_percent: float = 0.0  # of requests that are sampled, to detect drift
    require_tokens: bool = False  # whether pods start only with bearer tokens

    @property
    def name(self) -> str:
        return name_of(self.routing.model)

    @property
    def selector(self) -> dict[str, str]:
        """The labels that select its pods."""
        return {"app.kubernetes.io/name": self.routing.model, "app.kubernetes.io/component": "model-server"}

    @property
    def labels(self) -> dict[str, str]:
        ours = {"app.kubernetes.io/part-of": "toolchain", "app.kubernetes.io/managed-by": "toolchain"}
        return {**self.selector, **ours, "toolchain/model": self.routing.model}


def name_of(model: str) -> str:
    """Return the name of the resources of ``model``; ConfigError if it is not valid in Kubernetes."""
    found = model.lower().replace("_", "-")
    if not NAME.fullmatch(found):
        raise ConfigError(
            f"model {model!r} has no valid name for a Service: expected at most 57 letters, digits, - and _, with a "
            "letter or digit first and last; register it under another name"
        )
    return f"serve-{found}"


def cores(size: str) -> tuple[float, float]:
    """Return the CPU request and the CPU limit of a pod."""
    requested = RESOURCES.cpu * SIZES[size].cpu
    return requested, max(1.0, requested * SIZES[size].burst)
