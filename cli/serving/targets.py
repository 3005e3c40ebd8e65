"""The model servers that a promotion updates: those of this machine, or those of a cluster.

Both follow a model repository, which a promotion publishes to."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cli.serving.kubernetes.model_server import SERVING, PodOptions
from cli.settings import Settings, environment
from toolchain.artifacts.digest import short_digest
from toolchain.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from toolchain.lifecycle import routing
    from toolchain.lifecycle.ledger import Entry, Ledger
    from toolchain.services.mlflow import Tracker

SERVER = "http://127.0.0.1:8080"  # the default of `toolchain serve`
UPDATE_TIMEOUT_S = 60.0  # of a local server: it polls every 2 s, and a model loads in some seconds
POLL_INTERVAL_S = 0.25


@dataclass(frozen=True)
class Local:
    """The model servers of this machine."""

    settings: Settings
    repository: str  # the model repository: a folder, or s3://BUCKET/served/MODEL
    servers: Sequence[str]  # addresses
    namespace: str = ""

    def prepare(self, tracker: "Tracker", known: "Ledger", target: "routing.Target", shadow: bool) -> None:
        """Do nothing: local servers load every model that this machine can run."""

    def follow(self, known: "Ledger") -> None:
        """Wait until each server serves what the ledger says, and print its state."""
        if known.routing:
            for server in self.servers:
                print(_wait_for(server, known.routing), flush=True)


@dataclass(frozen=True)
class Cluster:
    """The pods that serve models in a namespace of a cluster."""

    settings: Settings  # with the cluster's registry
    repository: str  # the model repository: a folder, or s3://BUCKET/served/MODEL
    namespace: str
    secret: str  # the one with the pods' keys of S3
    pods: PodOptions | None  # None: the pods stay as they are
    servers: Sequence[str] = ()  # the pods are checked instead

    def prepare(self, tracker: "Tracker", known: "Ledger", target: "routing.Target", shadow: bool) -> None:
        """Update the pods so that they can load ``target``, a shadow or a canary, which may need another image."""
        from cli.serving import kubernetes
        from toolchain.lifecycle import model_repository

        if known.routing and known.serving:
            model_repository.upload_version(tracker, known.model, target, self.repository)
            canary = None if shadow else target
            self._apply(replace(known.routing, canary=canary, shadow=target if shadow else None), known.serving)
            kubernetes.wait(self.namespace, known.routing)

    def follow(self, known: "Ledger") -> None:
        """Update the Deployment to what the ledger says, and wait for its pods."""
        from cli.serving import kubernetes

        if known.routing and known.serving:
            self._apply(known.routing, known.serving)
            kubernetes.wait(self.namespace, known.routing)

    def _apply(self, config: "routing.RoutingConfig", serving: "Entry") -> None:
        from cli.serving import kubernetes

        kubernetes.apply(self.namespace, self.repository, config, serving, self.pods, self.secret or SERVING)


Target = Local | Cluster


@contextmanager
def promotion_target(
    model: str, engine: str | None, servers: Sequence[str], pods: PodOptions | None, settings: Settings
) -> Iterator[Target]:
    """Yield the model servers of ``engine``; on a cluster, services are reachable while the block lasts.

    Args:
        model: A registered model's name.
        engine: "local" or "cluster"; None for that of the ``settings``.
        servers: Addresses of local model servers; empty for the default one.
        pods: Options of the cluster's pods; None leaves the pods as they are.
        settings: Of the environment.

    Raises:
        ServiceError: the cluster, or a service there, cannot be reached.
    """
    if (engine or settings.engine) == "cluster":
        with _cluster(model, pods, settings) as found:
            yield found
    else:
        from cli.serving.serve import repository_path

        yield Local(settings, str(repository_path(model, settings)), servers or [SERVER])


@contextmanager
def _cluster(model: str, pods: PodOptions | None, settings: Settings) -> Iterator[Cluster]:
    from cli.cluster import bucket
    from cli.cluster.kfp_client import NAMESPACE
    from cli.cluster.tracking import cluster_registry
    from cli.serving import kubernetes

    namespace = settings.namespace or NAMESPACE
    with ExitStack() as stack:
        name = stack.enter_context(bucket.cluster_bucket(settings, namespace, bucket.PROMOTER_SECRET))
        stack.enter_context(environment({"TOOLCHAIN_BUCKET": name}))
        found = stack.enter_context(cluster_registry(settings, namespace, bucket.PROMOTER_SECRET))
        secret = bucket.cluster_settings(namespace, bucket.PROMOTER_SECRET).get("TOOLCHAIN_SERVING_SECRET", "")
        yield Cluster(found, kubernetes.repository_uri(name, model), namespace, secret, pods)


def pod_options(size: str, gpus: int | None, sample_percent: float | None, require_tokens: bool | None) -> PodOptions:
    """Return the checked options of a cluster's pods; ConfigError when one is not valid."""
    from cli.run import cluster

    if sample_percent is not None and not 0 <= sample_percent <= 100:
        raise ConfigError(f"--sample-percent is {sample_percent:g}; expected 0 (no samples) to 100")
    return PodOptions(cluster.size(size) if size else "", gpus, sample_percent, require_tokens)


def _wait_for(server: str, config: "routing.RoutingConfig") -> str:
    """Return the state of ``server`` once it serves what ``config`` says, or after ``UPDATE_TIMEOUT_S``."""
    from toolchain.lifecycle import server_client

    end = time.monotonic() + UPDATE_TIMEOUT_S
    while True:
        try:
            ready = server_client.readiness(server)
        except ServiceError:
            return f"no model server is running at {server}; to start one: toolchain serve {config.model}"
        if ready.get("name", config.model) != config.model:
            return f"{server} serves another model, {ready['name']}"
        shadow = ready.get("versions", {}).get("shadow", {})
        if ready.get("digest") == config.stable.digest and shadow.get("digest") == _digest(config.shadow):
            beside = f", and version {shadow['version']} as its shadow" if shadow else ""
            stable = f"version {ready.get('version')} (digest {short_digest(config.stable.digest)})"
            return f"{server} serves {stable}{beside}"
        if time.monotonic() > end:
            return _outdated(server, ready)
        time.sleep(POLL_INTERVAL_S)


def _digest(target: "routing.Target | None") -> str | None:
    return target.digest if target else None


def _outdated(server: str, ready: dict[str, Any]) -> str:
    reasons = "; ".join(f"{version} is rejected: {reason}" for version, reason in ready.get("rejected", {}).items())
    hint = (
        reasons
        or ready.get("detail", "")
        or ("check whether it was started with an alias, a version or another TOOLCHAIN_RUNS")
    )
    known = f"version {ready['version']}" if "version" in ready else "no version"
    return f"{server} still serves {known} after {UPDATE_TIMEOUT_S:g} s: {hint}"
