"""Promote: a registered version becomes what serves, once the gate, a real server and the ledger say that it may."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.model import open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError
from toolchain.processor import describe
from toolchain.progress import say
from toolchain.release.promote.api import Api, compare
from toolchain.release.promote.canary import Outcome, Trial
from toolchain.release.promote.check import Check, ask_server
from toolchain.release.promote.decision import BACK, KEEP, PROMOTE, REFUSE, SHADOW, TRY, Decision, Push, Verdict, decide
from toolchain.release.promote.settings import Config
from toolchain.services import interfaces, kubernetes, ledger, model_servers, registry, shelf
from toolchain.services.mlflow import Tracker, Version

__all__ = ["Config", "Result", "promote", "run", "verdict_of"]


@dataclass(frozen=True)
class Result:
    promoted: bool  # whether this version serves now, if only because it did before
    changed: bool  # whether another one did before


def promote(config: Config) -> dict[str, Any]:
    """Decide on the version that ``config`` names, promote it if it may, and return what was found and done.

    A canary is watched until it is promoted or ended, which takes minutes or longer.

    Returns:
        model, version, digest, variant, verdict; action, why and overrode of the decision; rows asked and answered
        alike, 0 when the server was not started; openapi, the digest of its document, against, the version that this
        was compared with, and breaking, what callers of that one would lose; promoted, whether it serves; trial, what
        was seen of a canary at each percent; sha256 of the ledger's entry, "" when none was added.
    """
    tracker = Tracker()
    found = registry.named(tracker, config.model, registry.CANDIDATE)
    version = found.version
    known = _without_abandoned(tracker, version, config)
    push = _push(found, known, config)
    decision = decide(push)
    if decision.action in (PROMOTE, TRY, SHADOW) and not _is_on_trial(known, version):
        check = _check(tracker, version)
        push = replace(push, check=check, api=_api(tracker, version, check, known.serving, found.versions))
        decision = decide(push)
    trial = _trial(tracker, push, version, decision, config) if decision.action == TRY else None
    if trial:
        outcome = trial.run()
        decision = replace(decision, action=PROMOTE if outcome.promoted else BACK, why=outcome.reason)
    else:
        outcome = _at_once(tracker, push, version, decision, config, known)
    if config.shelf and decision.action != REFUSE:
        shelf.publish(tracker, config.name, config.shelf)
    told = _told(config.name, version, push, decision, outcome.sha256)
    return {**told, "promoted": outcome.promoted, "trial": trial.stages if trial else []}


def run(promotion: Path, config: Config) -> Result:
    """Promote what ``config`` names if it may be, and write the measurement ``promotion``: what was decided, and why.

    Raises:
        ArtifactError: the version's files in MLflow, or the ledger, were changed.
        ConfigError: there is no such model, version or alias, or no MLflow server is named.
        ConflictError: somebody else promoted or rolled back at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    work = Work("release.promote", config)
    with new_measurement(promotion, "promotion", work) as writer:
        writer.data = promote(config)
        work.metrics |= {name: float(writer.data[name]) for name in ("rows", "alike")}
    say(_sentence(writer.data))
    action = writer.data["action"]
    return Result(promoted=writer.data["promoted"], changed=action == PROMOTE)


def verdict_of(tags: Mapping[str, str], won: bool, kind: str) -> Verdict:
    """Return the gate's verdict in the ``tags`` of a version: for processors of ``kind``, else the last one given."""
    here = f"safe.{kind}" in tags
    safe, where = tags.get(f"safe.{kind}" if here else "safe", ""), kind if here else tags.get("processor", "")
    if not safe:
        return Verdict(False, "not gated")
    measured = {name: tags.get(f"{name}.{where}", tags.get(name, "")) for name in ("accuracy", "agreement", "ratio")}
    figures = ", ".join(f"{name} {value}" for name, value in measured.items() if value)
    word = "refused" if safe != "true" else "winner" if won else "safe"
    sentence = f"{word} on {where or 'an unknown processor'}" + (f" ({figures})" if figures else "")
    reason = tags.get(f"{registry.TAG_REJECTION}.{where}", "") if safe != "true" else ""
    return Verdict(safe == "true", f"{sentence}: it {reason}" if reason else sentence)


def _without_abandoned(tracker: Tracker, version: Version, config: Config) -> ledger.Ledger:
    """Return the ledger, after the end of a canary of another version that nobody watches any more."""
    known = ledger.read(tracker, config.name)
    canary = known.canary
    if canary is None or canary.digest == version.tags[registry.TAG_DIGEST] or canary.until > 1000 * time.time():
        return known
    ended = ledger.end_trial(tracker, known, "nobody has watched it any more", config.who)
    say(ended.told)
    if config.shelf:
        shelf.publish(tracker, config.name, config.shelf)
    return ledger.read(tracker, config.name)


def _push(found: registry.Named, known: ledger.Ledger, config: Config) -> Push:
    """Return all that counts for the decision on what was ``found`` before a server was started with it."""
    version = found.version
    return Push(
        number=version.number,
        digest=version.tags[registry.TAG_DIGEST],
        verdict=verdict_of(version.tags, _won(version.number, found.aliases), describe().kind),
        older=_is_older(version, known.serving, found.versions),
        serving=known.serving,
        force=config.force or _is_on_trial(known, version),  # what it overrode stands in the ledger already
        percent=config.canary,
        shadow=config.shadow,
        canary=known.canary,
        forbidden=_forbidden(version, known),
    )


def _at_once(
    tracker: Tracker, push: Push, version: Version, decision: Decision, config: Config, known: ledger.Ledger
) -> Outcome:
    """Do what was decided, without a trial."""
    if decision.action in (PROMOTE, SHADOW):
        entry = _entry(push, version, decision, config, known.head)
        ledger.append(tracker, config.name, version, entry)
        return Outcome(decision.action == PROMOTE, decision.why, entry.sha256)
    if decision.action == KEEP:
        ledger.point_champion(tracker, config.name)  # a promotion that was cut off may not have come so far
    return Outcome(decision.action == KEEP, decision.why, "")


def _is_on_trial(known: ledger.Ledger, version: Version) -> bool:
    """Return whether ``version`` is the canary already: a server has answered with it before that."""
    return known.canary is not None and known.canary.digest == version.tags[registry.TAG_DIGEST]


def _forbidden(version: Version, known: ledger.Ledger) -> str:
    """Return what a person's word, or the want of it, holds against ``version``, "" for nothing."""
    run = version.tags.get(registry.TAG_APPROVAL, "")
    word = known.word_on(run) if run else None
    if word and word.action == ledger.REJECTED:
        return f"{word.who or 'a person'} has rejected {run}{f': {word.reason}' if word.reason else ''}"
    return f"it waits for approval: python -m pipelines approve {run}" if run and word is None else ""


def _trial(tracker: Tracker, push: Push, version: Version, decision: Decision, config: Config) -> Trial:
    """Return the canary as ``config`` wants it, or as it is on trial already."""
    resumed = push.canary if push.canary and push.canary.digest == push.digest else None
    first = resumed.percent if resumed else config.canary
    entry = replace(_entry(push, version, decision, config, ""), action=ledger.CANARY)

    def texts() -> dict[str, str]:
        if config.servers:
            return model_servers.figures(config.servers)
        pods = model_servers.selector(config.name)
        return kubernetes.pod_answers(config.namespace, pods, model_servers.HTTP, "metrics")

    def expected() -> set[str] | None:
        return None if config.servers else kubernetes.living_pods(config.namespace, model_servers.selector(config.name))

    def publish() -> None:
        shelf.publish(tracker, config.name, config.shelf)

    def beat() -> None:
        shelf.beat(config.shelf)

    return Trial(tracker, config.name, version, entry, config.plan(first), publish, beat, texts, expected)


def _won(number: str, aliases: Mapping[str, str]) -> bool:
    return any(one == number for alias, one in aliases.items() if alias.partition("-")[0] == registry.CANDIDATE)


def _is_older(version: Version, serving: ledger.Entry | None, versions: Mapping[str, Version]) -> bool:
    """Return whether ``version`` was registered before what serves; variants of one run are of the same age."""
    if serving is None or int(version.number) >= int(serving.version):
        return False
    return serving.version not in versions or versions[serving.version].run != version.run


def _check(tracker: Tracker, version: Version) -> Check:
    """Start the server with the files of ``version`` and ask it what was recorded."""
    with TemporaryDirectory(prefix="promoted-") as folder:
        model = open_model(tracker.download(version.run, version.path, Path(folder)))
        if model.digest != version.tags[registry.TAG_DIGEST]:
            raise ArtifactError(f"version {version.number} of {version.model} was changed in MLflow; register it again")
        say(f"starting a server with version {version.number} of {version.model} to ask it what was recorded")
        return ask_server(model, version.model, version.number)


def _api(
    tracker: Tracker, version: Version, check: Check, serving: ledger.Entry | None, versions: Mapping[str, Version]
) -> Api:
    """Keep the document that a server of ``version`` answered with, and compare it with that of what serves."""
    if check.document is None:
        return Api()
    sha256 = interfaces.keep(tracker, version, check.document)
    old = versions.get(serving.version) if serving else None
    return compare(check.document, sha256, interfaces.kept(tracker, old) if old else None, old.number if old else "")


def _entry(push: Push, version: Version, decision: Decision, config: Config, head: str) -> ledger.Entry:
    return ledger.Entry(
        action=ledger.SHADOW if decision.action == SHADOW else ledger.PROMOTED,
        version=push.number,
        digest=push.digest,
        variant=version.tags.get(registry.TAG_VARIANT, ""),
        verdict=push.verdict.told,
        reason=config.reason,
        overrode=decision.overrode,
        who=config.who,
        previous=head,
    )


def _told(name: str, version: Version, push: Push, decision: Decision, entry: str) -> dict[str, Any]:
    check = push.check or Check(0, 0)
    return {
        "model": name,
        "version": push.number,
        "digest": push.digest,
        "variant": version.tags.get(registry.TAG_VARIANT, ""),
        "verdict": push.verdict.told,
        **asdict(decision),
        "rows": check.rows,
        "alike": check.alike,
        "openapi": push.api.sha256,
        "against": push.api.against,
        "breaking": list(push.api.breaking),
        "sha256": entry,
    }


def _sentence(found: Mapping[str, Any]) -> str:
    what = f"version {found['version']} of {found['model']} ({found['variant']}, digest {found['digest'][:12]})"
    if found["action"] == REFUSE:
        return f"not promoted: {what}: {found['why']}"
    if found["action"] == BACK:
        return f"not promoted: {what}, its canary was ended: {found['why']}"
    if found["action"] == KEEP:
        return f"nothing to do for {what}: {found['why']}"
    forced = f"; by force, although {found['overrode']}" if found["overrode"] else ""
    asked = f"{found['alike']} of {found['rows']} recorded rows answered alike"
    same = "" if found["breaking"] or not found["against"] else ", nothing changes for callers"
    done = "compares in the shadow" if found["action"] == SHADOW else "promoted"
    return f"{done} {what}, {found['why']}{same}: {found['verdict']}; {asked}{forced}"
