"""Poll the model repository in a thread, load new versions next to the current ones and update the router at once.

A version that cannot be loaded is rejected and logged; the server continues with the current ones. Intervals are
measured by the monotonic clock.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from toolchain.artifacts.digest import short_digest
from toolchain.errors import ArtifactError, ServiceError, StorageFullError, ToolchainError
from toolchain.lifecycle.routing import FILE, HEARTBEAT_TIMEOUT_S, RoutingConfig, Target, parse
from toolchain.serve.problems import log_location
from toolchain.serve.settings import Settings
from toolchain.serve.versions.repository import NotFoundError, open_repository
from toolchain.serve.versions.router import STABLE, Rejection, Router
from toolchain.serve.versions.version import LoadedVersion, load

RETRY_INTERVAL_S = 15.0  # of rejected versions: loading uses a core that requests need
REASONS = {
    NotFoundError: "not_found",
    StorageFullError: "disk_full",
    ServiceError: "unavailable",
    ArtifactError: "damaged",
}


class RejectedError(Exception):
    """A version that must not serve."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class VersionWatcher:
    """Updates ``router`` when the model repository of ``settings`` changes.

    Raises:
        NotFoundError: the repository has no routing.json.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._repository = settings, open_repository(settings)
        self._document, self._rejected_at = b"", 0.0  # the last routing.json, and the time of the last rejection
        self._routing: RoutingConfig | None = None  # the applied one
        self._roles: dict[str, LoadedVersion] = {}
        self._rejected: dict[str, Rejection] = {}
        self._heartbeat, self._beaten_at, self._monitored = b"", 0.0, True  # by the canary's promotion
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="version-watcher", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poll()
        named = replace(settings, name=self._repository.name or settings.name)
        self.router = Router(named, self._routing, dict(self._roles))
        self.router.set_rejected(self._rejected)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start polling; the router belongs to ``loop``."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Stop polling."""
        self._ended.set()

    def is_busy(self, timeout_s: float) -> bool:
        """Return whether the thread is still loading ``timeout_s`` after ``stop``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return self._thread.is_alive()

    def _work(self) -> None:
        while not self._ended.wait(self._settings.poll_interval):
            try:
                self._poll()
                self._check_heartbeat()
            except Exception as error:  # the next poll may succeed, and requests go on
                log_location(error, "polling the model repository")

    def _poll(self) -> None:
        """Apply routing.json if it changed, or if a version was rejected a while ago."""
        try:
            document = self._repository.document()
            retry = time.monotonic() - self._rejected_at >= RETRY_INTERVAL_S
            if document == self._document and not (self._rejected and retry):
                return
            self._document = document
            routing = self._parse(document)
        except RejectedError as error:
            self._reject({FILE: Rejection(error.reason, str(error))})
            return
        except (NotFoundError, ServiceError) as error:
            if isinstance(error, NotFoundError) and self._loop is None:
                raise
            self._document = b""  # apply the next one even if it is unchanged
            self._reject({FILE: Rejection(REASONS[type(error)], str(error))})
            return
        self._apply(routing)

    def _check_heartbeat(self) -> None:
        """Give the canary its share only while a promotion monitors it."""
        if self._routing is None or self._routing.canary is None:
            return
        heartbeat, now = self._repository.heartbeat(), time.monotonic()
        if heartbeat not in (b"", self._heartbeat):
            self._heartbeat, self._beaten_at = heartbeat, now
        monitored = now - self._beaten_at <= HEARTBEAT_TIMEOUT_S
        if self._loop and monitored != self._monitored:
            self._loop.call_soon_threadsafe(self.router.set_canary_monitored, monitored)
            share = f"{self._routing.percent:g} %" if monitored else "0 %: its promotion has stopped"
            print(f"canary version {self._routing.canary.version} receives {share}", flush=True)
        self._monitored = monitored

    def _parse(self, document: bytes) -> RoutingConfig:
        try:
            routing = parse(document, self._repository.shown)
        except ArtifactError as error:
            raise RejectedError("invalid_config", str(error)) from error
        if self._routing and routing.model != self._routing.model:
            raise RejectedError(
                "invalid_config", f"{self._repository.shown} names the model {routing.model}, not {self._routing.model}"
            )
        return routing

    def _apply(self, routing: RoutingConfig) -> None:
        """Load the versions of ``routing`` and apply it, unless its stable version is rejected."""
        roles: dict[str, LoadedVersion] = {}
        rejected: dict[str, Rejection] = {}
        for role, target in routing.targets.items():
            try:
                roles[role] = self._loaded(routing.model, target) or self._load(
                    routing.model, target, roles.get(STABLE)
                )
            except RejectedError as error:
                rejected[target.version] = Rejection(error.reason, str(error))
                if role == STABLE:
                    break
        if self._ended.is_set():
            return
        if STABLE in roles and (routing, roles) != (self._routing, self._roles):
            self._change(routing, roles)
        self._reject(rejected)

    def _loaded(self, model: str, target: Target) -> LoadedVersion | None:
        """Return ``target`` if it is loaded already under the same name."""
        for served in self._roles.values():
            if (served.name, served.version, served.model.digest) == (model, target.version, target.digest):
                return served
        return None

    def _load(self, model: str, target: Target, stable: LoadedVersion | None) -> LoadedVersion:
        """Load ``target``; raises RejectedError if it must not serve."""
        try:
            folder = self._repository.folder(target)
            served = load(
                replace(self._settings, model=folder, model_repository="", name=model, version=target.version)
            )
        except ToolchainError as error:
            raise RejectedError(REASONS.get(type(error), "load_failed"), str(error)) from error
        except Exception as error:  # libraries raise many types for a damaged file
            log_location(error, "loading a version")
            raise RejectedError("load_failed", f"loading {target.digest} failed with {type(error).__name__}") from error
        reason, message = _rejection(served, target, stable)
        if reason:
            served.close()
            raise RejectedError(reason, message)
        return served

    def _change(self, routing: RoutingConfig, roles: dict[str, LoadedVersion]) -> None:
        self._routing, self._roles = routing, roles
        self._beaten_at, self._monitored = time.monotonic(), True
        if self._loop:
            self._loop.call_soon_threadsafe(self.router.change, routing, roles)
            print(f"updated: {describe(routing, roles)}", flush=True)
        try:
            self._repository.applied(self._document, routing)
        except StorageFullError as error:
            print(error, file=sys.stderr, flush=True)

    def _reject(self, rejected: dict[str, Rejection]) -> None:
        """Store the rejected versions and log the new ones."""
        for what, rejection in rejected.items():
            if self._rejected.get(what) != rejection:
                print(f"rejected: {what}: {rejection.message}", file=sys.stderr, flush=True)
        if self._loop and rejected != self._rejected:
            self._loop.call_soon_threadsafe(self.router.set_rejected, rejected)
        self._rejected, self._rejected_at = rejected, time.monotonic()


def describe(routing: RoutingConfig, roles: Mapping[str, LoadedVersion]) -> str:
    """Return the model and its versions by role, for the log."""
    shares = {"stable": "", "canary": f", canary of {routing.percent:g} %", "shadow": ", shadow"}
    versions = [f"{served.version}, {served.model.variant}{shares[role]}" for role, served in roles.items()]
    return f"{routing.model} " + "; ".join(versions)


def _rejection(served: LoadedVersion, target: Target, stable: LoadedVersion | None) -> tuple[str, str]:
    """Return why a loaded version must not serve, as a reason and a message; "" when it may."""
    what = f"version {target.version}, digest {short_digest(target.digest)}"
    if served.model.digest != target.digest:
        return "damaged", f"{what}: the folder holds digest {short_digest(served.model.digest)}; promote again"
    if served.parity.reason:
        return "parity_mismatch", f"{what}: {served.parity.reason}"
    ours, expected = served.model.signature, stable.model.signature if stable else served.model.signature
    if (ours.task, ours.labels) != (expected.task, expected.labels):
        return (
            "incompatible",
            f"{what} is for {ours.task} with labels {', '.join(ours.labels)}, unlike the stable version",
        )
    return "", ""
