"""Router: the versions of one model that a server answers with, and which of them answers which request.

All of it belongs to the thread of the event loop: a change happens between two requests, never within one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolchain.inference.predictor import Prepared
from toolchain.lifecycle.routing import RoutingConfig, Target
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.exposition import REJECTION_REASONS, Exposition
from toolchain.serve.telemetry.sampling import Sampler
from toolchain.serve.versions.shadow import Again, Comparison, Trial, labels_of
from toolchain.serve.versions.version import Served

SECONDS_BETWEEN_TRIES = 0.05  # to close a version that was replaced: as soon as nobody is with it
STABLE, CANARY, SHADOW = "stable", "canary", "shadow"


@dataclass(frozen=True)
class Rejection:
    """Why something that the routing names is not taken."""

    kind: str  # of REJECTION_REASONS
    reason: str  # in words, for the log; may name paths

    @property
    def told(self) -> str:
        """What a caller may hear."""
        return REJECTION_REASONS[self.kind]


@dataclass
class Router:
    """What is loaded. Without ``routing`` nothing is, yet."""

    settings: Settings
    routing: RoutingConfig | None = None
    roles: Mapping[str, Served] = field(default_factory=dict)  # by "stable", "canary", "shadow"
    refused: Mapping[str, Rejection] = field(default_factory=dict)  # by version, or "routing.json"
    watched: bool = True  # whether somebody still watches the canary: without that it gets nothing
    draining: bool = False  # told to end: balancers shall send nothing more
    sampler: Sampler | None = None  # where samples are asked for

    def __post_init__(self) -> None:
        self.exposition = Exposition(self.name)
        self.comparison = Comparison()
        self._leaving: dict[Served, asyncio.Task[None]] = {}
        self._tell()

    @property
    def name(self) -> str:
        """The model's, as callers know it."""
        return self.routing.model if self.routing else self.settings.name

    @property
    def stable(self) -> Served:
        """The version that answers by default; raises Problem while there is none."""
        if STABLE not in self.roles:
            raise Problem(503, self.unready)
        return self.roles[STABLE]

    @property
    def takes_texts(self) -> bool:
        """Whether requests hold texts; pictures may be larger, so they are assumed while nothing is loaded."""
        return STABLE in self.roles and self.roles[STABLE].takes_texts

    @property
    def versions(self) -> list[str]:
        """Those that may be asked by name, the stable one first."""
        return [served.version for served in self.roles.values()]

    @property
    def unready(self) -> str:
        """Why the model must not be asked; "" when it may."""
        if STABLE not in self.roles:
            told = "; ".join(f"{what}: {refusal.told}" for what, refusal in self.refused.items())
            return f"no version is loaded yet{': ' if told else ''}{told}"
        return self.roles[STABLE].unready or ("the server is about to end" if self.draining else "")

    def choose(self, request_id: str, version: str = "") -> Served:
        """Return who answers: the version asked for by name, else by the routing's share of ``request_id``.

        The same id leads to the same version on every server. Who awaits anything before the answer must keep the
        version by ``Served.held``, so that it is not closed meanwhile.

        Raises:
            Problem: no such version is loaded, or none is.
        """
        if version:
            return self._named(version)
        canary = self.roles.get(CANARY)
        if canary and self.routing and self.watched and not canary.unready and self.routing.goes_to_canary(request_id):
            return canary
        return self.stable

    def answered(self, served: Served, answers: Sequence[Any], again: Again) -> None:
        """Hold ``answers``, which ``served`` gave, against those of another version, where one is on trial.

        Args:
            again: Returns the same rows as another version takes them.
        """
        stable, canary, shadow = (self.roles.get(role) for role in (STABLE, CANARY, SHADOW))
        if stable and canary and served is canary:
            self.comparison.begin(Trial(CANARY, canary, stable), labels_of(served, answers), again)
        elif shadow and served is stable:
            self.comparison.begin(Trial(SHADOW, shadow, shadow), labels_of(served, answers), again)

    def sample(
        self,
        served: Served,
        request_id: str,
        values: Sequence[Any] | None,
        rows: Sequence[Prepared],
        answers: Sequence[Any],
    ) -> None:
        """Offer what ``served`` answered to the sample, as ``Sampler.offer`` takes it."""
        if self.sampler:
            self.sampler.offer(served, request_id, values, rows, answers)

    def change(self, routing: RoutingConfig, roles: Mapping[str, Served]) -> None:
        """Let ``roles`` answer from now on; who has none any more answers what it has begun and is closed."""
        leaving = [served for served in self.roles.values() if served not in roles.values()]
        if roles != self.roles:
            self.exposition.changed()
        self.routing, self.roles, self.watched = routing, roles, True
        self._tell()
        for served in leaving:
            self._leaving[served] = asyncio.create_task(self._leave(served))

    def watch(self, watched: bool) -> None:
        """Hear whether somebody watches the canary."""
        self.watched = watched
        self._tell()

    def refuse(self, refused: Mapping[str, Rejection]) -> None:
        """Remember what is not taken now, and why."""
        self.refused = refused
        self.exposition.refused({what: refusal.kind for what, refusal in refused.items()})

    def metrics(self, in_flight: int) -> bytes:
        """Return all figures in Prometheus' text format; ``in_flight`` requests are being read or answered."""
        stable = self.roles.get(STABLE)
        loaded = {served.version: served for served in (*self._leaving, *self.roles.values())}.values()
        others = sum(served.users for served in loaded if served is not stable)
        for served in loaded:
            own = in_flight - others if served is stable else served.users
            served.metrics.now(max(0, own), served.batcher.waiting, not (served.unready or self.draining))
        sampled = self.sampler.text(loaded) if self.sampler else b""
        return self.exposition.text(served.metrics for served in loaded) + sampled

    async def close(self) -> None:
        """Answer what waits and end all versions."""
        for task in self._leaving.values():
            task.cancel()
        for served in {*self.roles.values(), *self._leaving}:
            await asyncio.to_thread(served.close)
        if self.sampler:
            await asyncio.to_thread(self.sampler.close)

    @property
    def is_at_work(self) -> bool:
        """Whether threads of a version still run after ``close``."""
        return any(served.is_at_work for served in {*self.roles.values(), *self._leaving})

    def _named(self, version: str) -> Served:
        for served in self.roles.values():
            if served.version == version:
                return served
        there = ", ".join(self.versions) or "none"
        raise Problem(404, f"there is no such version of {self.name} here; there is {there}")

    def _tell(self) -> None:
        """Let the figures say what each version is for."""
        percent = self.routing.percent if self.routing and self.watched and CANARY in self.roles else 0.0
        shares = {STABLE: 100.0 - percent, CANARY: percent, SHADOW: 0.0}
        for role, served in self.roles.items():
            served.metrics.role(role, shares[role])

    async def _leave(self, served: Served) -> None:
        """Close ``served`` once nobody is with it."""
        while served.users:
            await asyncio.sleep(SECONDS_BETWEEN_TRIES)
        await asyncio.to_thread(served.close)
        del self._leaving[served]


def fixed(served: Served) -> Router:
    """Return a router of one version that nothing changes."""
    target = Target(version=served.version, digest=served.model.digest, variant=served.model.variant)
    return Router(served.settings, RoutingConfig(model=served.name, stable=target), {STABLE: served})
