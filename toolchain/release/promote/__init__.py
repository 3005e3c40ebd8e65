"""Promote a registered version to serve, after the gate's verdict, a check with a real server and the ledger."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.model import open_model
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError
from toolchain.hardware.cpu import describe
from toolchain.lifecycle import ledger, model_repository, openapi_store, registry, server_client
from toolchain.progress import log_info
from toolchain.release.promote.api import Api, compare
from toolchain.release.promote.canary import Outcome, Trial
from toolchain.release.promote.check import Check, check_with_server
from toolchain.release.promote.decision import (
    CANARY_REJECTED,
    KEEP,
    PROMOTE,
    REJECT,
    SHADOW,
    START_CANARY,
    Decision,
    PromotionRequest,
    Verdict,
    decide,
)
from toolchain.release.promote.settings import Config
from toolchain.services import kubernetes
from toolchain.services.mlflow import Tracker, Version

__all__ = ["Config", "Result", "promote", "run", "verdict_of"]


@dataclass(frozen=True)
class Result:
    promoted: bool  # whether this version is serving now, even if it was before
    changed: bool  # whether another version was serving before


def promote(config: Config) -> dict[str, Any]:
    """Decide on the version that ``config`` names, promote it if possible, and return the decision.

    A canary is watched until it is promoted or ended, which takes minutes or longer.

    Returns:
        model, version, digest, variant, verdict; action, reason and overridden of the decision; rows, how many recorded
        rows the server was checked with (0: no server was started), and matching, how many it predicted as recorded;
        openapi, the digest of the version's OpenAPI document, compared_with, the version that it was compared with, and
        breaking, the changes that break callers of that version; promoted, whether it is serving; trial, the counts of
        a canary at each percent; sha256 of the ledger's entry, "" when none was added.
    """
    tracker = Tracker()
    found = registry.named(tracker, config.model, registry.CANDIDATE)
    version = found.version
    known = _end_abandoned_canary(tracker, version, config)
    request = _request(found, known, config)
    decision = decide(request)
    if decision.action in (PROMOTE, START_CANARY, SHADOW) and not _is_canary(known, version):
        check = _check(tracker, version)
        request = replace(request, check=check, api=_api(tracker, version, check, known.serving, found.versions))
        decision = decide(request)
    trial = _trial(tracker, request, version, decision, config) if decision.action == START_CANARY else None
    if trial:
        outcome = trial.run()
        decision = replace(decision, action=PROMOTE if outcome.promoted else CANARY_REJECTED, reason=outcome.reason)
    else:
        outcome = _apply(tracker, request, version, decision, config, known)
    if config.model_repository and decision.action != REJECT:
        model_repository.publish(tracker, config.name, config.model_repository)
    record = _record(config.name, version, request, decision, outcome.sha256)
    return {**record, "promoted": outcome.promoted, "trial": trial.stages if trial else []}


def run(promotion: Path, config: Config) -> Result:
    """Promote the version that ``config`` names, if possible, and write the decision to the measurement ``promotion``.

    Raises:
        ArtifactError: the version's files in MLflow, or the ledger, were changed.
        ConfigError: there is no such model, version or alias, or no MLflow server is configured.
        ConflictError: another user promoted or rolled back at the same time.
        ServiceError: MLflow does not respond, or rejects a request.
    """
    work = Work("release.promote", config)
    with new_measurement(promotion, "promotion", work) as writer:
        writer.data = promote(config)
        work.metrics |= {name: float(writer.data[name]) for name in ("rows", "matching")}
    log_info(_summary(writer.data))
    action = writer.data["action"]
    return Result(promoted=writer.data["promoted"], changed=action == PROMOTE)


def verdict_of(tags: Mapping[str, str], won: bool, kind: str) -> Verdict:
    """Return the gate's verdict in the ``tags`` of a version: for processors of ``kind``, else the latest one."""
    has_own = f"accurate.{kind}" in tags
    processor = kind if has_own else tags.get("processor", "")
    accurate = tags.get(f"accurate.{kind}" if has_own else "accurate", "")
    if not accurate:
        return Verdict(False, "not gated")
    measured = {
        name: tags.get(f"{name}.{processor}", tags.get(name, "")) for name in ("accuracy", "agreement", "speedup")
    }
    numbers = ", ".join(f"{name} {value}" for name, value in measured.items() if value)
    word = "rejected" if accurate != "true" else "winner" if won else "accurate"
    summary = f"{word} on {processor or 'an unknown processor'}" + (f" ({numbers})" if numbers else "")
    reason = tags.get(f"{registry.TAG_REJECTION}.{processor}", "") if accurate != "true" else ""
    return Verdict(accurate == "true", f"{summary}: it {reason}" if reason else summary)


def _end_abandoned_canary(tracker: Tracker, version: Version, config: Config) -> ledger.Ledger:
    """Return the ledger, after ending another version's canary that no process watches any more."""
    known = ledger.read(tracker, config.name)
    canary = known.canary
    if (
        canary is None
        or canary.digest == version.tags[registry.TAG_DIGEST]
        or canary.watched_until > 1000 * time.time()
    ):
        return known
    ended = ledger.end_trial(tracker, known, "its promote process is gone", config.user)
    log_info(ended.summary)
    if config.model_repository:
        model_repository.publish(tracker, config.name, config.model_repository)
    return ledger.read(tracker, config.name)


def _request(found: registry.Named, known: ledger.Ledger, config: Config) -> PromotionRequest:
    """Return the facts for a decision, before a server is started."""
    version = found.version
    return PromotionRequest(
        number=version.number,
        digest=version.tags[registry.TAG_DIGEST],
        verdict=verdict_of(version.tags, _won(version.number, found.aliases), describe().kind),
        older=_is_older(version, known.serving, found.versions),
        serving=known.serving,
        force=config.force or _is_canary(known, version),  # its objections are in the ledger already
        percent=config.canary,
        shadow=config.shadow,
        canary=known.canary,
        blocked=_missing_approval(version, known),
    )


def _apply(
    tracker: Tracker,
    request: PromotionRequest,
    version: Version,
    decision: Decision,
    config: Config,
    known: ledger.Ledger,
) -> Outcome:
    """Carry out a decision that needs no canary."""
    if decision.action in (PROMOTE, SHADOW):
        entry = _entry(request, version, decision, config, known.head)
        ledger.append(tracker, config.name, version, entry)
        return Outcome(decision.action == PROMOTE, decision.reason, entry.sha256)
    if decision.action == KEEP:
        ledger.point_champion(tracker, config.name)  # an interrupted promotion may have left the old alias
    return Outcome(decision.action == KEEP, decision.reason, "")


def _is_canary(known: ledger.Ledger, version: Version) -> bool:
    """Return whether ``version`` is the canary already, and so passed the server check before."""
    return known.canary is not None and known.canary.digest == version.tags[registry.TAG_DIGEST]


def _missing_approval(version: Version, known: ledger.Ledger) -> str:
    """Return why ``version`` is not approved: rejected, or still waiting; "" when it is, or needs no approval."""
    run = version.tags.get(registry.TAG_APPROVAL, "")
    word = known.approval_of(run) if run else None
    if word and word.action == ledger.REJECTED:
        return f"{word.user or 'a person'} rejected {run}{f': {word.reason}' if word.reason else ''}"
    return f"it waits for approval: toolchain approve {run}" if run and word is None else ""


def _trial(tracker: Tracker, request: PromotionRequest, version: Version, decision: Decision, config: Config) -> Trial:
    """Return a new canary as configured, or the current one to resume."""
    resumed = request.canary if request.canary and request.canary.digest == request.digest else None
    first = resumed.percent if resumed else config.canary
    entry = replace(_entry(request, version, decision, config, ""), action=ledger.CANARY)
    pods = server_client.selector(config.name)

    def scrape() -> dict[str, str]:
        if config.servers:
            return server_client.fetch_metrics(config.servers)
        return kubernetes.pod_responses(config.namespace, pods, server_client.HTTP_PORT, "metrics")

    def expected() -> set[str] | None:
        return None if config.servers else kubernetes.living_pods(config.namespace, pods)

    def publish() -> None:
        model_repository.publish(tracker, config.name, config.model_repository)

    def beat() -> None:
        model_repository.write_heartbeat(config.model_repository)

    return Trial(tracker, config.name, version, entry, config.plan(first), publish, beat, scrape, expected)


def _won(number: str, aliases: Mapping[str, str]) -> bool:
    return any(one == number for alias, one in aliases.items() if alias.partition("-")[0] == registry.CANDIDATE)


def _is_older(version: Version, serving: ledger.Entry | None, versions: Mapping[str, Version]) -> bool:
    """Return whether ``version`` was registered before the serving version; variants of one run have one age."""
    if serving is None or int(version.number) >= int(serving.version):
        return False
    return serving.version not in versions or versions[serving.version].run != version.run


def _check(tracker: Tracker, version: Version) -> Check:
    """Start a server with the files of ``version`` and compare its predictions with the recorded ones."""
    with TemporaryDirectory(prefix="promoted-") as folder:
        model = open_model(tracker.download(version.run, version.path, Path(folder)))
        if model.digest != version.tags[registry.TAG_DIGEST]:
            raise ArtifactError(f"version {version.number} of {version.model} was changed in MLflow; register it again")
        log_info(f"starting a server to check version {version.number} of {version.model} with the recorded rows")
        return check_with_server(model, version.model, version.number)


def _api(
    tracker: Tracker, version: Version, check: Check, serving: ledger.Entry | None, versions: Mapping[str, Version]
) -> Api:
    """Store the OpenAPI document of ``version`` and compare it with that of the serving version."""
    if check.document is None:
        return Api()
    sha256 = openapi_store.save(tracker, version, check.document)
    old = versions.get(serving.version) if serving else None
    return compare(check.document, sha256, openapi_store.load(tracker, old) if old else None, old.number if old else "")


def _entry(request: PromotionRequest, version: Version, decision: Decision, config: Config, head: str) -> ledger.Entry:
    return ledger.Entry(
        action=ledger.SHADOW if decision.action == SHADOW else ledger.PROMOTED,
        version=request.number,
        digest=request.digest,
        variant=version.tags.get(registry.TAG_VARIANT, ""),
        verdict=request.verdict.summary,
        reason=config.reason,
        overridden=decision.overridden,
        user=config.user,
        previous=head,
    )


def _record(name: str, version: Version, request: PromotionRequest, decision: Decision, sha256: str) -> dict[str, Any]:
    check = request.check or Check(0, 0)
    return {
        "model": name,
        "version": request.number,
        "digest": request.digest,
        "variant": version.tags.get(registry.TAG_VARIANT, ""),
        "verdict": request.verdict.summary,
        **asdict(decision),
        "rows": check.rows,
        "matching": check.matching,
        "openapi": request.api.sha256,
        "compared_with": request.api.compared_with,
        "breaking": list(request.api.breaking),
        "sha256": sha256,
    }


def _summary(data: Mapping[str, Any]) -> str:
    version = f"version {data['version']} of {data['model']} ({data['variant']}, digest {short_digest(data['digest'])})"
    if data["action"] == REJECT:
        return f"not promoted: {version}: {data['reason']}"
    if data["action"] == CANARY_REJECTED:
        return f"not promoted: {version}: its canary was ended: {data['reason']}"
    if data["action"] == KEEP:
        return f"no change for {version}: {data['reason']}"
    forced = f"; forced, although {data['overridden']}" if data["overridden"] else ""
    checked = f"{data['matching']} of {data['rows']} recorded rows match"
    compatible = "" if data["breaking"] or not data["compared_with"] else ", API compatible"
    done = "started a shadow of" if data["action"] == SHADOW else "promoted"
    return f"{done} {version}, {data['reason']}{compatible}: {data['verdict']}; {checked}{forced}"
