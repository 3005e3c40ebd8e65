"""Following: a thread looks at the shelf, loads what is new beside what answers, and lets the fleet change at once.

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
from toolchain.lifecycle.routing import FILE, UNWATCHED_SECONDS, Target, Traffic, parse
from toolchain.serve.problems import tell_place
from toolchain.serve.settings import Settings
from toolchain.serve.versions.repository import AbsentError, open_shelf
from toolchain.serve.versions.router import STABLE, Fleet, Refusal
from toolchain.serve.versions.version import Served, load

SECONDS_TO_TRY_AGAIN = 15.0  # what was refused: loading takes a good part of a core, which requests need
KINDS = {AbsentError: "missing", StorageFullError: "disk_full", ServiceError: "away", ArtifactError: "damaged"}


class RefusedError(Exception):
    """A version that was loaded, and must not be taken."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class Follower:
    """Keeps ``fleet`` as the shelf of ``settings`` says.

    Raises:
        AbsentError: the shelf holds no traffic.json.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._shelf = settings, open_shelf(settings)
        self._document, self._refused_at = b"", 0.0  # what was looked at last, and when anything was refused
        self._traffic: Traffic | None = None  # what answers
        self._roles: dict[str, Served] = {}
        self._refused: dict[str, Refusal] = {}
        self._heartbeat, self._beaten_at, self._watched = b"", 0.0, True  # of who watches a canary
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="following", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look()
        called = replace(settings, name=self._shelf.name or settings.name)
        self.fleet = Fleet(called, self._traffic, dict(self._roles))
        self.fleet.refuse(self._refused)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again and again from now on; the fleet belongs to ``loop``."""
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
        while not self._ended.wait(self._settings.look_seconds):
            try:
                self._look()
                self._mind()
            except Exception as error:  # whatever it is, the next look may go well, and requests go on meanwhile
                tell_place(error, "looking at the shelf")

    def _look(self) -> None:
        """Take what is on the shelf, if it is new, or if a part of it was refused a while ago."""
        try:
            document = self._shelf.document()
            again = time.monotonic() - self._refused_at >= SECONDS_TO_TRY_AGAIN
            if document == self._document and not (self._refused and again):
                return
            self._document = document
            traffic = self._parse(document)
        except RefusedError as error:
            self._refuse({FILE: Refusal(error.kind, str(error))})
            return
        except (AbsentError, ServiceError) as error:
            if isinstance(error, AbsentError) and self._loop is None:
                raise
            self._document = b""  # whatever comes next is new
            self._refuse({FILE: Refusal(KINDS[type(error)], str(error))})
            return
        self._take(traffic)

    def _mind(self) -> None:
        """Let the canary have its share only while somebody watches it."""
        if self._traffic is None or self._traffic.canary is None:
            return
        heartbeat, now = self._shelf.heartbeat(), time.monotonic()
        if heartbeat not in (b"", self._heartbeat):
            self._heartbeat, self._beaten_at = heartbeat, now
        watched = now - self._beaten_at <= UNWATCHED_SECONDS
        if self._loop and watched != self._watched:
            self._loop.call_soon_threadsafe(self.fleet.watch, watched)
            share = f"{self._traffic.percent:g} %" if watched else "nothing: nobody watches it any more"
            print(f"the canary, version {self._traffic.canary.version}, gets {share}", flush=True)
        self._watched = watched

    def _parse(self, document: bytes) -> Traffic:
        try:
            traffic = parse(document, self._shelf.shown)
        except ArtifactError as error:
            raise RefusedError("document", str(error)) from error
        if self._traffic and traffic.model != self._traffic.model:
            raise RefusedError("document", f"{self._shelf.shown} is of {traffic.model}, not of {self._traffic.model}")
        return traffic

    def _take(self, traffic: Traffic) -> None:
        """Load what ``traffic`` names, and let it answer; nothing changes while its stable version is refused."""
        roles: dict[str, Served] = {}
        refused: dict[str, Refusal] = {}
        for role, target in traffic.targets.items():
            try:
                roles[role] = self._loaded(traffic.model, target) or self._load(
                    traffic.model, target, roles.get(STABLE)
                )
            except RefusedError as error:
                refused[target.version] = Refusal(error.kind, str(error))
                if role == STABLE:
                    break
        if self._ended.is_set():
            return
        if STABLE in roles and (traffic, roles) != (self._traffic, self._roles):
            self._change(traffic, roles)
        self._refuse(refused)

    def _loaded(self, model: str, target: Target) -> Served | None:
        """Return the version that answers already, if it is the same under the same name."""
        for served in self._roles.values():
            if (served.name, served.version, served.model.digest) == (model, target.version, target.digest):
                return served
        return None

    def _load(self, model: str, target: Target, stable: Served | None) -> Served:
        """Return the version ``target``, or say by RefusedError why it must not be taken."""
        try:
            folder = self._shelf.folder(target)
            served = load(replace(self._settings, model=folder, traffic="", name=model, version=target.version))
        except ToolchainError as error:
            raise RefusedError(KINDS.get(type(error), "failure"), str(error)) from error
        except Exception as error:  # what a file may do to the library that reads it has no end
            tell_place(error, "loading a version")
            raise RefusedError("failure", f"loading {target.digest} failed with {type(error).__name__}") from error
        kind, reason = _objection(served, target, stable)
        if kind:
            served.close()
            raise RefusedError(kind, reason)
        return served

    def _change(self, traffic: Traffic, roles: dict[str, Served]) -> None:
        self._traffic, self._roles = traffic, roles
        self._beaten_at, self._watched = time.monotonic(), True  # whoever changed it is there
        if self._loop:
            self._loop.call_soon_threadsafe(self.fleet.change, traffic, roles)
            print(f"changed: {told(traffic, roles)}", flush=True)
        try:
            self._shelf.taken(self._document, traffic)
        except StorageFullError as error:
            print(error, file=sys.stderr, flush=True)

    def _refuse(self, refused: dict[str, Refusal]) -> None:
        """Remember what is refused now, and say what was not before."""
        for what, refusal in refused.items():
            if self._refused.get(what) != refusal:
                print(f"not taken: {what}: {refusal.reason}", file=sys.stderr, flush=True)
        if self._loop and refused != self._refused:
            self._loop.call_soon_threadsafe(self.fleet.refuse, refused)
        self._refused, self._refused_at = refused, time.monotonic()


def told(traffic: Traffic, roles: Mapping[str, Served]) -> str:
    """Return in words who answers."""
    shares = {"stable": "", "canary": f", canary of {traffic.percent:g} %", "shadow": ", shadow"}
    versions = [f"{served.version}, {served.model.variant}{shares[role]}" for role, served in roles.items()]
    return f"{traffic.model} " + "; ".join(versions)


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
