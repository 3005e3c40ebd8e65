"""Poll the model repository in a thread, load new versions next to the current ones and update the router at once.

What cannot be taken is not taken: the server goes on with what it has, and says why. Time is counted by a clock that
nobody sets.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from toolchain.artifacts.digest import short_digest
from toolchain.errors import ArtifactError, ServiceError, StorageFullError, ToolchainError
from toolchain.lifecycle.routing import FILE, UNWATCHED_SECONDS, RoutingConfig, Target, parse
from toolchain.serve.problems import tell_place
from toolchain.serve.settings import Settings
from toolchain.serve.versions.repository import AbsentError, open_repository
from toolchain.serve.versions.router import STABLE, Rejection, Router
from toolchain.serve.versions.version import Served, load

SECONDS_TO_TRY_AGAIN = 15.0  # what was refused: loading takes a good part of a core, which requests need
KINDS = {AbsentError: "missing", StorageFullError: "disk_full", ServiceError: "away", ArtifactError: "damaged"}


class RejectedError(Exception):
    """A version that was loaded, and must not be taken."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class VersionWatcher:
    """Keeps ``router`` as the repository of ``settings`` says.

    Raises:
        AbsentError: the repository holds no routing.json.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._repository = settings, open_repository(settings)
        self._document, self._refused_at = b"", 0.0  # what was looked at last, and when anything was refused
        self._routing: RoutingConfig | None = None  # what answers
        self._roles: dict[str, Served] = {}
        self._refused: dict[str, Rejection] = {}
        self._heartbeat, self._beaten_at, self._watched = b"", 0.0, True  # of who watches a canary
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="following", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look()
        called = replace(settings, name=self._repository.name or settings.name)
        self.router = Router(called, self._routing, dict(self._roles))
        self.router.refuse(self._refused)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again and again from now on; the router belongs to ``loop``."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        """Take nothing more."""
        self._ended.set()

    def is_at_work(self, patience: float) -> bool:
        """Return whether the thread is still loading, ``patience`` seconds after it was told to stop."""
        if self._thread.ident is not None:
            self._thread.join(patience)
        return self._thread.is_alive()

    def _work(self) -> None:
        while not self._ended.wait(self._settings.poll_interval):
            try:
                self._look()
                self._mind()
            except Exception as error:  # whatever it is, the next look may go well, and requests go on meanwhile
                tell_place(error, "looking at the repository")

    def _look(self) -> None:
        """Take what is in the repository, if it is new, or if a part of it was refused a while ago."""
        try:
            document = self._repository.document()
            again = time.monotonic() - self._refused_at >= SECONDS_TO_TRY_AGAIN
            if document == self._document and not (self._refused and again):
                return
            self._document = document
            routing = self._parse(document)
        except RejectedError as error:
            self._reject({FILE: Rejection(error.kind, str(error))})
            return
        except (AbsentError, ServiceError) as error:
            if isinstance(error, AbsentError) and self._loop is None:
                raise
            self._document = b""  # whatever comes next is new
            self._reject({FILE: Rejection(KINDS[type(error)], str(error))})
            return
        self._take(routing)

    def _mind(self) -> None:
        """Let the canary have its share only while somebody watches it."""
        if self._routing is None or self._routing.canary is None:
            return
        heartbeat, now = self._repository.heartbeat(), time.monotonic()
        if heartbeat not in (b"", self._heartbeat):
            self._heartbeat, self._beaten_at = heartbeat, now
        watched = now - self._beaten_at <= UNWATCHED_SECONDS
        if self._loop and watched != self._watched:
            self._loop.call_soon_threadsafe(self.router.watch, watched)
            share = f"{self._routing.percent:g} %" if watched else "nothing: nobody watches it any more"
            print(f"the canary, version {self._routing.canary.version}, gets {share}", flush=True)
        self._watched = watched

    def _parse(self, document: bytes) -> RoutingConfig:
        try:
            routing = parse(document, self._repository.shown)
        except ArtifactError as error:
            raise RejectedError("document", str(error)) from error
        if self._routing and routing.model != self._routing.model:
            raise RejectedError(
                "document", f"{self._repository.shown} is of {routing.model}, not of {self._routing.model}"
            )
        return routing

    def _take(self, routing: RoutingConfig) -> None:
        """Load what ``routing`` names, and let it answer; nothing changes while its stable version is refused."""
        roles: dict[str, Served] = {}
        refused: dict[str, Rejection] = {}
        for role, target in routing.targets.items():
            try:
                roles[role] = self._loaded(routing.model, target) or self._load(
                    routing.model, target, roles.get(STABLE)
                )
            except RejectedError as error:
                refused[target.version] = Rejection(error.kind, str(error))
                if role == STABLE:
                    break
        if self._ended.is_set():
            return
        if STABLE in roles and (routing, roles) != (self._routing, self._roles):
            self._change(routing, roles)
        self._reject(refused)

    def _loaded(self, model: str, target: Target) -> Served | None:
        """Return the version that answers already, if it is the same under the same name."""
        for served in self._roles.values():
            if (served.name, served.version, served.model.digest) == (model, target.version, target.digest):
                return served
        return None

    def _load(self, model: str, target: Target, stable: Served | None) -> Served:
        """Return the version ``target``, or say by RejectedError why it must not be taken."""
        try:
            folder = self._repository.folder(target)
            served = load(
                replace(self._settings, model=folder, model_repository="", name=model, version=target.version)
            )
        except ToolchainError as error:
            raise RejectedError(KINDS.get(type(error), "failure"), str(error)) from error
        except Exception as error:  # what a file may do to the library that reads it has no end
            tell_place(error, "loading a version")
            raise RejectedError("failure", f"loading {target.digest} failed with {type(error).__name__}") from error
        kind, reason = _objection(served, target, stable)
        if kind:
            served.close()
            raise RejectedError(kind, reason)
        return served

    def _change(self, routing: RoutingConfig, roles: dict[str, Served]) -> None:
        self._routing, self._roles = routing, roles
        self._beaten_at, self._watched = time.monotonic(), True  # whoever changed it is there
        if self._loop:
            self._loop.call_soon_threadsafe(self.router.change, routing, roles)
            print(f"changed: {told(routing, roles)}", flush=True)
        try:
            self._repository.taken(self._document, routing)
        except StorageFullError as error:
            print(error, file=sys.stderr, flush=True)

    def _reject(self, refused: dict[str, Rejection]) -> None:
        """Remember what is refused now, and say what was not before."""
        for what, refusal in refused.items():
            if self._refused.get(what) != refusal:
                print(f"not taken: {what}: {refusal.reason}", file=sys.stderr, flush=True)
        if self._loop and refused != self._refused:
            self._loop.call_soon_threadsafe(self.router.refuse, refused)
        self._refused, self._refused_at = refused, time.monotonic()


def told(routing: RoutingConfig, roles: Mapping[str, Served]) -> str:
    """Return in words who answers."""
    shares = {"stable": "", "canary": f", canary of {routing.percent:g} %", "shadow": ", shadow"}
    versions = [f"{served.version}, {served.model.variant}{shares[role]}" for role, served in roles.items()]
    return f"{routing.model} " + "; ".join(versions)


def _objection(served: Served, target: Target, stable: Served | None) -> tuple[str, str]:
    """Return why a version that was loaded must not be taken: its kind and in words; "" when it may."""
    what = f"version {target.version}, digest {short_digest(target.digest)}"
    if served.model.digest != target.digest:
        return "damaged", f"{what}: the folder holds digest {short_digest(served.model.digest)}; promote again"
    if served.parity.reason:
        return "answers", f"{what}: {served.parity.reason}"
    ours, due = served.model.signature, stable.model.signature if stable else served.model.signature
    if (ours.task, ours.labels) != (due.task, due.labels):
        return "unfit", f"{what} is for {ours.task} with labels {', '.join(ours.labels)}, the stable one is not"
    return "", ""
