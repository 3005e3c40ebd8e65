"""Where a promotion takes effect: the model servers of this machine, or those of a cluster. Both poll a repository."""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cli.settings import Settings, doors_told
from toolchain.artifacts.digest import short_digest
from toolchain.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from toolchain.lifecycle.ledger import Entry, Ledger
    from toolchain.lifecycle.routing import RoutingConfig, Target
    from toolchain.services.mlflow import Tracker

SERVER = "http://127.0.0.1:8080"  # where `python -m cli serve` listens unless told otherwise
SECONDS_TO_FOLLOW = 60.0  # for a server of this machine: it looks every 2 s, and a model loads in some seconds
SECONDS_BETWEEN_LOOKS = 0.25


@dataclass(frozen=True)
class Here:
    """This machine."""

    settings: Settings
    model_repository: str
    servers: Sequence[str]  # addresses
    namespace: str = ""

    def prepare(self, tracker: "Tracker", known: "Ledger", target: "Target", shadow: bool) -> None:
        """Nothing is to be prepared: servers of this machine run every model that this machine runs."""

    def follow(self, known: "Ledger") -> None:
        """Wait until the servers answer as the ledger says, each for a while, and print what they say."""
        routing = known.routing
        for server in self.servers if routing else ():
            print(_followed(server, routing), flush=True)


@dataclass(frozen=True)
class Cluster:
    """A namespace of a cluster, whose pods serve."""

    settings: Settings  # with the cluster's registry
    model_repository: str
    namespace: str
    size: str = ""  # of the pods; "": as they are
    gpus: int | None = None  # of each pod; None: as they are
    sample_percent: float | None = None  # of requests that samples are kept of; None: as it is
    require_tokens: bool | None = None  # whether pods must not start without bearer tokens; None: as it is
    secret: str = ""  # that with the pods' keys of S3; "": the chart's
    renewed: bool = True  # whether the pods get the image of this checkout; a rollback leaves theirs
    servers: Sequence[str] = field(default_factory=list)  # the pods are asked instead

    def prepare(self, tracker: "Tracker", known: "Ledger", target: "Target", shadow: bool) -> None:
        """Let the pods be such that they can run ``target``, a shadow or a canary: it may need another image."""
        from cli.serving import kubernetes
        from toolchain.lifecycle import model_repository

        if known.routing and known.serving:
            model_repository.bring(tracker, known.model, target, self.model_repository)
            canary = None if shadow else target
            self._apply(replace(known.routing, canary=canary, shadow=target if shadow else None), known.serving)
            kubernetes.wait(self.namespace, known.routing)

    def follow(self, known: "Ledger") -> None:
        """Make the Deployment what the ledger says, and wait until its pods answer so."""
        from cli.serving import kubernetes

        if known.routing and known.serving:
            self._apply(known.routing, known.serving)
            kubernetes.wait(self.namespace, known.routing)

    def _apply(self, routing: "RoutingConfig", serving: "Entry") -> None:
        from cli.serving import kubernetes

        how: dict[str, Any] = {
            "gpus": self.gpus,
            "sample_percent": self.sample_percent,
            "require_tokens": self.require_tokens,
            "renewed": self.renewed,
        }
        how |= {"secret": self.secret} if self.secret else {}
        kubernetes.apply(self.namespace, self.model_repository, routing, serving, size=self.size, **how)


Place = Here | Cluster


@contextmanager
def place(given: argparse.Namespace, settings: Settings) -> Iterator[Place]:
    """Yield where ``given`` (model, engine, server) takes effect; services are reached while the block lasts.

    Raises:
        ServiceError: the cluster, or a service there, cannot be reached.
    """
    if (given.engine or settings.engine) == "cluster":
        with _cluster(given, settings) as found:
            yield found
    else:
        from cli.serving.serve import repository_path

        yield Here(settings, str(repository_path(given.model, settings)), given.server or [SERVER])


@contextmanager
def _cluster(given: argparse.Namespace, settings: Settings) -> Iterator[Cluster]:
    from cli.cluster import bucket
    from cli.cluster.kfp_client import NAMESPACE
    from cli.cluster.tracking import registry_reached
    from cli.serving import kubernetes

    namespace = settings.namespace or NAMESPACE
    with ExitStack() as stack:
        name = stack.enter_context(bucket.reached(settings, namespace, bucket.PROMOTER))
        stack.enter_context(doors_told({"TOOLCHAIN_BUCKET": name}))
        found = stack.enter_context(registry_reached(settings, namespace, bucket.PROMOTER))
        secret = bucket.settings_told(namespace, bucket.PROMOTER).get("TOOLCHAIN_SERVING_SECRET", "")
        yield Cluster(
            found, kubernetes.repository_uri(name, given.model), namespace, secret=secret, **_how(given, settings)
        )


def _how(given: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Return how pods are to be: what a promotion says of them; a rollback leaves them as they are."""
    from cli.run import cluster

    if given.command == "rollback":
        return {"renewed": False}
    size = given.resources or settings.resources
    if given.sample_percent is not None and not 0 <= given.sample_percent <= 100:
        raise ConfigError(f"--sample-percent is {given.sample_percent:g}: give 0 (no samples) to 100")
    named = {name: getattr(given, name) for name in ("gpus", "sample_percent", "require_tokens")}
    return {"size": cluster.size(size) if size else "", **named}


def _followed(server: str, routing: Any) -> str:
    """Return what the server says once it answers as ``routing`` says, or when it has not for too long."""
    from toolchain.lifecycle import server_client

    end = time.monotonic() + SECONDS_TO_FOLLOW
    while True:
        try:
            told = server_client.readiness(server)
        except ServiceError:
            return f"no model server answers at {server}: python -m cli serve {routing.model} starts one there"
        if told.get("name", routing.model) != routing.model:
            return f"{server} serves another model, {told['name']}"
        shadow = told.get("versions", {}).get("shadow", {})
        if told.get("digest") == routing.stable.digest and shadow.get("digest") == _digest(routing.shadow):
            beside = f", version {shadow['version']} is its shadow" if shadow else ""
            stable = f"version {told.get('version')} (digest {short_digest(routing.stable.digest)})"
            return f"{server} answers with {stable}{beside}"
        if time.monotonic() > end:
            return _behind(server, told, routing)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _digest(target: "Target | None") -> str | None:
    return target.digest if target else None


def _behind(server: str, told: dict[str, Any], routing: "RoutingConfig") -> str:
    refused = told.get("rejected", {})
    reasons = "; ".join(f"{what} is refused: {why}" for what, why in refused.items()) or told.get("detail", "")
    known = f"version {told['version']}" if "version" in told else "no version"
    hint = reasons or "was it started with an alias, a version or another folder of runs?"
    return f"{server} still answers with {known} after {SECONDS_TO_FOLLOW:g} s: {hint}"
