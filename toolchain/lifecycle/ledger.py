"""Record every promotion, canary, approval and rollback of a model in MLflow; the last entry decides what serves.

MLflow has no compare-and-swap, but two writers never get the same version number of a registered model: it is part of a
primary key in MLflow's database. So a ledger is a separate registered model, "MODEL.ledger", and an entry is one of its
versions, written by a single request. An entry contains the digest of the previous entry that its writer read. When two
entries name the same previous one, the lower number is valid and the other is void for every reader; each writer reads
the ledger again to learn which. A request that was sent twice because its response was lost is harmless for the same
reason. The digests also reveal an entry that was changed or removed. The alias "champion" only follows the ledger.

A canary is a version on trial: each entry gives it a share of the requests until it is promoted or ended by an entry.
Predictions of a shadow are compared and never returned. The next routing change ends it, so at most one canary or
shadow exists. Approvals are entries too, so that they cannot be changed without trace.

MLflow is shared: a version of that model that is not an entry, or that this toolchain cannot have written, is a damaged
line. It is shown as such and ignored, and the rest is read. An entry that was changed, or that follows a removed entry,
makes the whole ledger untrustworthy: ``inspect`` shows it, ``read`` raises.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from toolchain.artifacts.digest import short_digest
from toolchain.errors import ArtifactError, ConfigError, ConflictError, ServiceError
from toolchain.lifecycle.ledger_entries import APPROVED as APPROVED
from toolchain.lifecycle.ledger_entries import CANARY as CANARY
from toolchain.lifecycle.ledger_entries import CANARY_ENDED as CANARY_ENDED
from toolchain.lifecycle.ledger_entries import CHANGED as CHANGED
from toolchain.lifecycle.ledger_entries import DAMAGED as DAMAGED
from toolchain.lifecycle.ledger_entries import PROMOTED as PROMOTED
from toolchain.lifecycle.ledger_entries import REJECTED as REJECTED
from toolchain.lifecycle.ledger_entries import ROLLED_BACK as ROLLED_BACK
from toolchain.lifecycle.ledger_entries import SERVING as SERVING
from toolchain.lifecycle.ledger_entries import SHADOW as SHADOW
from toolchain.lifecycle.ledger_entries import SHADOW_ENDED as SHADOW_ENDED
from toolchain.lifecycle.ledger_entries import TAG_SHA256 as TAG_SHA256
from toolchain.lifecycle.ledger_entries import Entry as Entry
from toolchain.lifecycle.ledger_entries import Line as Line
from toolchain.lifecycle.ledger_entries import read_entry
from toolchain.lifecycle.registry import CHAMPION, TAG_APPROVAL, TAG_DIGEST, TAG_ENTRY, TAG_VARIANT
from toolchain.lifecycle.routing import RoutingConfig
from toolchain.progress import log_info
from toolchain.services.mlflow import Tracker, Version
from toolchain.services.storage import bucket, s3

SUFFIX = ".ledger"  # of the ledger's registered model, after the name of the model it describes
PREFIX = "ledger"  # of the copies in the bucket


@dataclass(frozen=True)
class Ledger:
    """The entries of a model's ledger, oldest first."""

    model: str
    lines: tuple[Line, ...]

    @property
    def head(self) -> str:
        """The digest of the last valid entry, "" when there is none."""
        return next((line.entry.sha256 for line in reversed(self.lines) if line.valid), "")

    @property
    def promotions(self) -> list[Entry]:
        """The promotions in effect: the last one is serving, and a rollback returns to the one before it."""
        active: list[Entry] = []
        for line in self.lines:
            if line.valid and line.entry.action == PROMOTED:
                active.append(line.entry)
            elif line.valid and line.entry.action == ROLLED_BACK:
                active = _up_to(active[:-1], line.entry.digest)
        return active

    @property
    def serving(self) -> Entry | None:
        return next(reversed(self.promotions), None)

    @property
    def trial(self) -> Entry | None:
        """The last entry of the current canary or shadow, None when there is neither."""
        changes = (line.entry for line in reversed(self.lines) if line.valid and line.entry.action in SERVING)
        last = next(changes, None)
        return last if last and last.action in (CANARY, SHADOW) else None

    @property
    def canary(self) -> Entry | None:
        return self.trial if self.trial and self.trial.action == CANARY else None

    @property
    def routing(self) -> RoutingConfig | None:
        """The routing config, None before the first promotion."""
        serving, trial = self.serving, self.trial
        if serving is None:
            return None
        routing = RoutingConfig(model=self.model, stable=serving.target, entry=self.head)
        if trial is None:
            return routing
        if trial.action == SHADOW:
            return replace(routing, shadow=trial.target)
        return replace(routing, canary=trial.target, percent=float(trial.percent))

    def approval_of(self, run: str) -> Entry | None:
        """Return the last approval or rejection of the versions that ``run`` registered, None when there is none."""
        entries = (line.entry for line in reversed(self.lines) if line.valid)
        return next((one for one in entries if one.action in (APPROVED, REJECTED) and one.run == run), None)


def read(tracker: Tracker, model: str) -> Ledger:
    """Return the ledger of ``model``, empty when no version was ever promoted.

    Raises:
        ArtifactError: an entry was changed or removed.
        ServiceError: MLflow does not respond, or rejects the request.
    """
    ledger, fault = inspect(tracker, model)
    if fault:
        raise ArtifactError(fault)
    return ledger


def inspect(tracker: Tracker, model: str) -> tuple[Ledger, str]:
    """Return the ledger of ``model`` with its damaged lines, and the reason not to trust it, "" when it is intact.

    Raises:
        ServiceError: MLflow does not respond, or rejects the request.
    """
    lines: list[Line] = []
    chain, changed = [""], 0
    for position, version in enumerate(tracker.versions(model + SUFFIX), 1):
        entry = read_entry(version)
        is_entry = entry.action != DAMAGED
        if int(version.number) != position or entry.reason == CHANGED or (is_entry and entry.previous not in chain):
            changed = changed or position
        lines.append(Line(int(version.number), entry, valid=is_entry and entry.previous == chain[-1]))
        if lines[-1].valid:
            chain.append(entry.sha256)
    fault = (
        f"entry {changed} of {model}{SUFFIX} in MLflow was changed or removed; compare it with its copy in S3, and "
        "rename that registered model to start a new ledger"
    )
    return Ledger(model, tuple(lines)), fault if changed else ""


def append(tracker: Tracker, model: str, version: Version, entry: Entry) -> Ledger:
    """Append ``entry`` about ``version``, update the alias "champion", and return the new ledger.

    Raises:
        ConflictError: another user appended an entry after the one that ``entry`` follows.
        ArtifactError, ServiceError: as ``read``.
    """
    content = {TAG_ENTRY: json.dumps(entry.as_json), TAG_SHA256: entry.sha256}
    tags = {**content, TAG_DIGEST: entry.digest, TAG_VARIANT: entry.variant}
    tracker.add_version(model + SUFFIX, version.run, version.path, tags, entry.summary)
    ledger = read(tracker, model)
    for line in ledger.lines:
        if line.valid and line.entry.previous == entry.previous and line.entry != entry:
            raise ConflictError(
                f"another user {line.entry.summary} at the same time; nothing else was changed: "
                f"see `toolchain ledger {model}`, and retry if needed"
            )
    point_champion(tracker, model)
    mirror(ledger)
    return ledger


def rollback(tracker: Tracker, model: str, reason: str, user: str) -> Entry:
    """Return to the previously serving version, and return the new entry.

    With a current canary or shadow, that is ended instead, and the stable version keeps serving.

    Raises:
        ConfigError: there is no earlier promotion, or all of them were rejected since.
        ArtifactError: the earlier version is missing from the registry, or was changed.
        ConflictError, ServiceError: as ``append``.
    """
    ledger = read(tracker, model)
    if ledger.trial:
        return end_trial(tracker, ledger, reason or "rolled back", user)
    versions = {one.number: one for one in tracker.versions(model)}
    target = _previous(ledger, versions)
    version = versions.get(target.version)
    if version is None or version.tags.get(TAG_DIGEST) != target.digest:
        raise ArtifactError(
            f"version {target.version} of {model}, the earlier one, is missing from MLflow; promote another one"
        )
    kept = {name: getattr(target, name) for name in ("version", "digest", "variant", "verdict")}
    entry = Entry(action=ROLLED_BACK, **kept, reason=reason, user=user, previous=ledger.head)
    append(tracker, model, version, entry)
    return entry


def _previous(ledger: Ledger, versions: Mapping[str, Version]) -> Entry:
    """Return the promotion before the serving one, skipping versions that were rejected since."""
    if len(ledger.promotions) < 2:
        before = f" before version {ledger.serving.version}" if ledger.serving else ""
        raise ConfigError(f"no version of {ledger.model} was serving{before}; promote another version instead")
    rejected = []
    for entry in reversed(ledger.promotions[:-1]):
        run = versions[entry.version].tags.get(TAG_APPROVAL, "") if entry.version in versions else ""
        review = ledger.approval_of(run) if run else None
        if review is None or review.action != REJECTED:
            return entry
        rejected.append(f"version {entry.version} (rejected by {review.user or 'a user'}: {review.reason})")
        log_info(f"skipping {rejected[-1]}")
    raise ConfigError(
        f"no earlier version of {ledger.model} may serve: {', '.join(rejected)}; approve one of their runs, or promote "
        "another version"
    )


def record_approval(
    tracker: Tracker, model: str, version: Version, action: str, run: str, reason: str, user: str
) -> Entry:
    """Record a user's approval or rejection of the versions that ``run`` registered, and return the entry.

    A rejected canary or shadow is ended.

    Args:
        version: One of those versions.
        action: APPROVED or REJECTED.

    Raises:
        ConflictError, ServiceError: as ``append``.
    """
    ledger = read(tracker, model)
    digest, variant = version.tags[TAG_DIGEST], version.tags.get(TAG_VARIANT, "")
    entry = Entry(
        action=action,
        version=version.number,
        digest=digest,
        variant=variant,
        verdict="",
        reason=reason,
        user=user,
        run=run,
        previous=ledger.head,
    )
    ledger = append(tracker, model, version, entry)
    known = {one.tags.get(TAG_DIGEST): one for one in tracker.versions(model)}
    if action == REJECTED and ledger.trial and known[ledger.trial.digest].tags.get(TAG_APPROVAL) == run:
        end_trial(tracker, ledger, f"{run} was rejected", user)
    return entry


def end_trial(tracker: Tracker, ledger: Ledger, reason: str, user: str) -> Entry:
    """End the current canary or shadow of ``ledger``, and return the new entry.

    Raises:
        ConflictError, ServiceError: as ``append``.
    """
    trial = ledger.trial
    if trial is None:
        raise ConfigError(f"{ledger.model} has no canary or shadow; see `toolchain ledger {ledger.model}`")
    kept = {name: getattr(trial, name) for name in ("version", "digest", "variant", "verdict")}
    action = CANARY_ENDED if trial.action == CANARY else SHADOW_ENDED
    entry = Entry(action=action, **kept, reason=reason, user=user, previous=ledger.head)
    append(tracker, ledger.model, _version_of(tracker, ledger.model, trial), entry)
    return entry


def point_champion(tracker: Tracker, model: str) -> None:
    """Point the alias at the serving version, and read the ledger again: the last writer corrects a stale alias."""
    serving = read(tracker, model).serving
    while serving:
        tracker.set_alias(model, CHAMPION, serving.version)
        found = read(tracker, model).serving
        if found == serving:
            return
        serving = found


def mirror(ledger: Ledger) -> None:
    """Copy the entries of ``ledger`` that the bucket lacks; without a bucket they are in MLflow only."""
    try:
        prefix = f"s3://{bucket.name()}/{PREFIX}/{ledger.model}/"
    except ConfigError:
        return
    try:
        kept = {stored.uri for stored in s3.listing(prefix)}
        for line in ledger.lines:
            uri = f"{prefix}{line.number:06d}-{short_digest(line.entry.sha256)}.json"
            if uri not in kept:
                s3.write(json.dumps(line.as_dict, indent=1).encode(), uri)
    except ServiceError as error:  # the promotion itself is done; the next entry copies this one too
        log_info(f"the ledger's copy in S3 will be updated with its next entry: {error}")


def _version_of(tracker: Tracker, model: str, entry: Entry) -> Version:
    """Return the version that ``entry`` describes, or the entry's own MLflow version when that was deleted."""
    known = [*tracker.versions(model + SUFFIX), *tracker.versions(model)]
    return next(one for one in reversed(known) if one.tags.get(TAG_DIGEST) == entry.digest)


def _up_to(promotions: list[Entry], digest: str) -> list[Entry]:
    """Return ``promotions`` up to the last one with ``digest``: a rollback skips rejected versions after it."""
    found = [index for index, entry in enumerate(promotions) if entry.digest == digest]
    return promotions[: found[-1] + 1] if found else promotions
