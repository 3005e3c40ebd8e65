"""Decision: whether a version may become what serves. No service is asked here; all that counts is in a ``Push``."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from toolchain.release.promote.api import Api
from toolchain.release.promote.check import Check
from toolchain.services.ledger import SHOWN_DIGITS, Entry

PROMOTE, TRY, SHADOW, KEEP, REFUSE = "promote", "try", "shadow", "keep", "refuse"
BACK = "back"  # what becomes of TRY when something spoke against the canary


@dataclass(frozen=True)
class Verdict:
    """What the gate said of a version."""

    safe: bool
    told: str  # in words: "winner on avx2 (accuracy 0.9100, …)", "refused on …", "not gated"


@dataclass(frozen=True, kw_only=True)
class Push:
    """A version that someone wants to serve, and what is known of it."""

    number: str
    digest: str
    verdict: Verdict
    older: bool  # registered before what serves
    serving: Entry | None  # None: nothing was promoted yet
    force: bool  # with a reason
    check: Check | None = None  # None: no server was started yet, for what needs none to be decided
    percent: float = 0.0  # of requests that it gets as a canary at first, 0 to promote it at once
    shadow: bool = False  # whether it shall only be compared with what serves
    canary: Entry | None = None  # what is on trial now
    forbidden: str = ""  # what keeps it from serving until a person has approved it
    api: Api = field(default_factory=Api)  # beside that of what serves


@dataclass(frozen=True)
class Decision:
    action: str  # PROMOTE, TRY (as a canary), SHADOW, KEEP (it serves already) or REFUSE
    why: str  # a clause
    overrode: str = ""  # what spoke against it and was overridden by force


def decide(push: Push) -> Decision:
    """Return what is to be done. Force overrides objections, never a server that fails or a person's word."""
    if push.serving and push.serving.digest == push.digest:
        return Decision(KEEP, f"digest {push.digest[:SHOWN_DIGITS]} serves already, as version {push.serving.version}")
    if push.check and push.check.fault:
        return Decision(REFUSE, f"a server with it fails: {push.check.fault}")
    if push.forbidden:
        return Decision(REFUSE, push.forbidden)
    if push.shadow and push.serving is None:
        return Decision(REFUSE, "nothing serves yet that its answers could be compared with: promote one first")
    if push.shadow and push.canary and push.canary.digest == push.digest:
        return Decision(REFUSE, "it is on trial as a canary, which is compared already (to end that: rollback)")
    objections = "; ".join(_objections(push))
    if objections and not push.force:
        return Decision(REFUSE, f"{objections}. To promote it all the same: --force --reason REASON")
    if push.serving and push.shadow:
        return Decision(SHADOW, f"beside version {push.serving.version}", objections)
    if push.serving and 0 < push.percent < 100:
        return Decision(TRY, f"beside version {push.serving.version}", objections)
    return Decision(PROMOTE, f"after version {push.serving.version}" if push.serving else "the first", objections)


def _objections(push: Push) -> Iterator[str]:
    if not push.verdict.safe:
        told = push.verdict.told
        yield "it was not gated" if told == "not gated" else f"the gate refused it: {told}"
    if push.older and push.serving:
        yield f"it is older than version {push.serving.version}, which serves (to go back: rollback)"
    if push.canary and push.canary.digest != push.digest:
        yield f"version {push.canary.version} is on trial as a canary (to end that: rollback)"
    if push.check and not push.check.rows:
        yield "no answers were recorded with it, so nothing shows that it answers as it was measured"
    if push.api.objection:
        yield push.api.objection
