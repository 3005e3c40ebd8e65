"""Route each request of a model to one of its loaded versions.

A router runs in the event loop's thread: a change takes effect between two requests.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolchain.inference.prepared import Prepared
from toolchain.lifecycle.routing import RoutingConfig, Target
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.exposition import REJECTION_REASONS, Exposition
from toolchain.serve.telemetry.sampling import Sampler
from toolchain.serve.versions.shadow import Comparison, Prepare, Trial, labels_of
from toolchain.serve.versions.version import LoadedVersion

CLOSE_POLL_INTERVAL_S = 0.05  # until the last request of a replaced version ends
STABLE, CANARY, SHADOW = "stable", "canary", "shadow"


@dataclass(frozen=True)
class Rejection:
    """Why a version is not loaded."""

    reason: str  # of REJECTION_REASONS
    message: str  # for the log; may contain paths

    @property
    def public_message(self) -> str:
        """The message in API responses."""
        return REJECTION_REASONS[self.reason]


@dataclass
class Router:
    """The loaded versions; none until ``routing`` is set."""

    settings: Settings
    routing: RoutingConfig | None = None
    roles: Mapping[str, LoadedVersion] = field(default_factory=dict)  # by "stable", "canary", "shadow"
    rejected: Mapping[str, Rejection] = field(default_factory=dict)  # by version, or "routing.json"
    canary_monitored: bool = True  # by its promotion: otherwise the canary receives nothing
    draining: bool = False  # after SIGTERM: load balancers should stop sending requests
    sampler: Sampler | None = None  # if sampling is on

    def __post_init__(self) -> None:
        self.exposition = Exposition(self.name)
        self.comparison = Comparison()
        self._leaving: dict[LoadedVersion, asyncio.Task[None]] = {}
        self._export_roles()

    @property
    def name(self) -> str:
        """The model's name in the API."""
        return self.routing.model if self.routing else self.settings.name

    @property
    def stable(self) -> LoadedVersion:
        """The stable version; raises Problem while there is none."""
        if STABLE not in self.roles:
            raise Problem(503, self.not_ready_reason)
        return self.roles[STABLE]

    @property
    def max_body_bytes(self) -> int:
        """Maximum size of a request's body; that of files while no version is loaded."""
        files = STABLE not in self.roles or self.roles[STABLE].task.input.file_type
        return self.settings.max_body_bytes if files else self.settings.max_text_body_bytes

    @property
    def versions(self) -> list[str]:
        """Names of the loaded versions, the stable one first."""
        return [served.version for served in self.roles.values()]

    @property
    def not_ready_reason(self) -> str:
        """Why the model is not ready; "" when it is."""
        if STABLE not in self.roles:
            rejected = "; ".join(f"{what}: {rejection.public_message}" for what, rejection in self.rejected.items())
            return f"no version is loaded yet{': ' if rejected else ''}{rejected}"
        return self.roles[STABLE].not_ready_reason or ("the server is shutting down" if self.draining else "")

    def choose(self, request_id: str, version: str = "") -> LoadedVersion:
        """Return the named version, or the one that ``request_id`` is routed to.

        An id is routed to the same version on every server. Code that awaits before it is done with the version must
        hold it with ``LoadedVersion.held``, so that it is not closed meanwhile.

        Raises:
            Problem: no such version is loaded, or none is.
        """
        if version:
            return self._named(version)
        canary = self.roles.get(CANARY)
        if (
            canary
            and self.routing
            and self.canary_monitored
            and not canary.not_ready_reason
            and self.routing.goes_to_canary(request_id)
        ):
            return canary
        return self.stable

    def compare(self, served: LoadedVersion, predictions: Sequence[Any], prepare: Prepare) -> None:
        """Compare ``predictions`` of ``served`` with those of another version, if a canary or shadow is loaded.

        Args:
            prepare: Prepares the same rows for another version.
        """
        stable, canary, shadow = (self.roles.get(role) for role in (STABLE, CANARY, SHADOW))
        if stable and canary and served is canary:
            self.comparison.begin(Trial(CANARY, canary, stable), labels_of(served, predictions), prepare)
        elif shadow and served is stable:
            self.comparison.begin(Trial(SHADOW, shadow, shadow), labels_of(served, predictions), prepare)

    def sample(
        self,
        served: LoadedVersion,
        request_id: str,
        values: Sequence[Any] | None,
        rows: Sequence[Prepared],
        predictions: Sequence[Any],
    ) -> None:
        """Offer rows and predictions of ``served`` to the sampler; see ``Sampler.offer``."""
        if self.sampler:
            self.sampler.offer(served, request_id, values, rows, predictions)

    def change(self, routing: RoutingConfig, roles: Mapping[str, LoadedVersion]) -> None:
        """Route to ``roles`` from now on; versions without a role finish their requests and are closed."""
        leaving = [served for served in self.roles.values() if served not in roles.values()]
        if roles != self.roles:
            self.exposition.changed()
        self.routing, self.roles, self.canary_monitored = routing, roles, True
        self._export_roles()
        for served in leaving:
            self._leaving[served] = asyncio.create_task(self._leave(served))

    def set_canary_monitored(self, monitored: bool) -> None:
        """Set whether a promotion monitors the canary."""
        self.canary_monitored = monitored
        self._export_roles()

    def set_rejected(self, rejected: Mapping[str, Rejection]) -> None:
        """Set the versions that are not loaded, and why."""
        self.rejected = rejected
        self.exposition.rejected({what: rejection.reason for what, rejection in rejected.items()})

    def metrics(self, in_flight: int) -> bytes:
        """Return all metrics in Prometheus' text format; ``in_flight`` requests are in progress."""
        stable = self.roles.get(STABLE)
        loaded = {served.version: served for served in (*self._leaving, *self.roles.values())}.values()
        others = sum(served.users for served in loaded if served is not stable)
        for served in loaded:
            own = in_flight - others if served is stable else served.users
            ready = not (served.not_ready_reason or self.draining)
            served.metrics.update(max(0, own), served.batcher.queued_rows, ready)
        sampled = self.sampler.text(loaded) if self.sampler else b""
        return self.exposition.text(served.metrics for served in loaded) + sampled

    async def close(self) -> None:
        """Finish the queued requests and close all versions."""
        for task in self._leaving.values():
            task.cancel()
        for served in {*self.roles.values(), *self._leaving}:
            await asyncio.to_thread(served.close)
        if self.sampler:
            await asyncio.to_thread(self.sampler.close)

    @property
    def is_busy(self) -> bool:
        """Whether threads of a version still run after ``close``."""
        return any(served.is_busy for served in {*self.roles.values(), *self._leaving})

    def _named(self, version: str) -> LoadedVersion:
        for served in self.roles.values():
            if served.version == version:
                return served
        loaded = ", ".join(self.versions) or "none"
        raise Problem(404, f"version not found; loaded versions of {self.name}: {loaded}")

    def _export_roles(self) -> None:
        """Export the role and share of each version as metrics."""
        percent = self.routing.percent if self.routing and self.canary_monitored and CANARY in self.roles else 0.0
        shares = {STABLE: 100.0 - percent, CANARY: percent, SHADOW: 0.0}
        for role, served in self.roles.items():
            served.metrics.role(role, shares[role])

    async def _leave(self, served: LoadedVersion) -> None:
        """Close ``served`` after its last request."""
        while served.users:
            await asyncio.sleep(CLOSE_POLL_INTERVAL_S)
        await asyncio.to_thread(served.close)
        del self._leaving[served]


def static_router(served: LoadedVersion) -> Router:
    """Return a router of a single version."""
    target = Target(version=served.version, digest=served.model.digest, variant=served.model.variant)
    return Router(served.settings, RoutingConfig(model=served.name, stable=target), {STABLE: served})
