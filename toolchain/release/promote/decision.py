"""Decide whether a version may serve, from the facts in a ``PromotionRequest`` alone: no service is called here."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from toolchain.artifacts.digest import short_digest
from toolchain.lifecycle.ledger import Entry
from toolchain.release.promote.api import Api
from toolchain.release.promote.check import Check

PROMOTE, START_CANARY, SHADOW, KEEP, REJECT = "promote", "start_canary", "shadow", "keep", "reject"
CANARY_REJECTED = "canary_rejected"  # replaces START_CANARY when a canary fails its tests


@dataclass(frozen=True)
class Verdict:
    """The gate's verdict on a version."""

    accurate: bool
    summary: str  # "winner on avx2 (accuracy 0.9100, …)", "rejected on …", "not gated"


@dataclass(frozen=True, kw_only=True)
class PromotionRequest:
    """A version to promote, and the facts that the decision needs."""

    number: str
    digest: str
    verdict: Verdict
    older: bool  # whether it was registered before the serving version
    serving: Entry | None  # None: nothing was promoted yet
    force: bool  # given with a reason
    check: Check | None = None  # None: no server was started yet, for decisions that need none
    percent: float = 0.0  # initial share of requests as a canary; 0 promotes at once
    shadow: bool = False  # whether to only compare it with the serving version
    canary: Entry | None = None  # the current canary
    blocked: str = ""  # why approval is missing, "" when it is not needed or was given
    api: Api = field(default_factory=Api)  # compared with that of the serving version


@dataclass(frozen=True)
class Decision:
    action: str  # PROMOTE, START_CANARY, SHADOW, KEEP (it is serving already) or REJECT
    reason: str  # a clause
    overridden: str = ""  # the objections that were overridden by force


def decide(request: PromotionRequest) -> Decision:
    """Return the action to take. Force overrides objections, but not a failing server or a missing approval."""
    serving = request.serving
    if serving and serving.digest == request.digest:
        return Decision(KEEP, f"digest {short_digest(request.digest)} is serving already, as version {serving.version}")
    if obstacle := _obstacle(request):
        return Decision(REJECT, obstacle)
    objections = "; ".join(_objections(request))
    if objections and not request.force:
        return Decision(REJECT, f"{objections}. To promote it anyway: --force --reason REASON")
    if serving and request.shadow:
        return Decision(SHADOW, f"beside version {serving.version}", objections)
    if serving and 0 < request.percent < 100:
        return Decision(START_CANARY, f"beside version {serving.version}", objections)
    return Decision(PROMOTE, f"replaces version {serving.version}" if serving else "first version", objections)


def _obstacle(request: PromotionRequest) -> str:
    """Return what rules out a promotion, forced or not, "" for nothing."""
    if request.check and request.check.fault:
        return f"the server check failed: {request.check.fault}"
    if request.blocked:
        return request.blocked
    if request.shadow and request.serving is None:
        return "no version is serving that a shadow could be compared with: promote one first"
    if request.shadow and request.canary and request.canary.digest == request.digest:
        return "it is a canary already, which is compared too (to end the canary: rollback)"
    return ""


def _objections(request: PromotionRequest) -> Iterator[str]:
    if not request.verdict.accurate:
        summary = request.verdict.summary
        yield "it was not gated" if summary == "not gated" else f"the gate rejected it: {summary}"
    if request.older and request.serving:
        yield f"it is older than the serving version {request.serving.version} (to go back: rollback)"
    if request.canary and request.canary.digest != request.digest:
        yield f"version {request.canary.version} is a canary now (to end it: rollback)"
    if request.check and not request.check.rows:
        yield "no expected predictions were recorded with it, so its server cannot be checked"
    if request.api.objection:
        yield request.api.objection
