"""Ledger: every promotion, canary, approval and rollback of a model, append-only, in MLflow; it says what serves.

MLflow has no compare-and-swap. It has one thing that two can never both get: the next version number of a registered
model, part of a primary key in its database. So a ledger is a registered model of its own, "MODEL.ledger", and an entry
is one of its versions, written whole by one request. An entry names the digest of the entry that its writer saw last.
Of two that name the same one, the lower number counts and the other is void, for every reader alike; each writer reads
back, and so learns whether it won. A request that was sent twice, because its answer got lost, is harmless for the same
reason. The digests also show when an entry was changed or taken out. The alias "champion" only follows the ledger.

A canary is a version on trial: each entry gives it a share of the requests, until it is promoted or an entry ends it.
A shadow answers nobody and is only compared; the next change of who answers ends it, so there is one of both at most.
Approvals are entries too, so that what a person said of a version cannot be changed unseen either.

Others share MLflow: a version of that model which is not an entry, or an entry that no writer of ours makes, is a
damaged line. It is shown as such, does not count, and the rest is read. An entry that was changed, or one that follows
an entry which is gone, makes the whole ledger untrustworthy: ``inspect`` shows it, ``read`` raises.
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

SUFFIX = ".ledger"  # of the registered model that is a ledger, after the name of the model that it is about
PREFIX = "ledger"  # in the bucket, of the copies


@dataclass(frozen=True)
class Ledger:
    """What was done, oldest first."""

    model: str
    lines: tuple[Line, ...]

    @property
    def head(self) -> str:
        """The digest of the last entry that counts, "" when there is none."""
        return next((line.entry.sha256 for line in reversed(self.lines) if line.counts), "")

    @property
    def served(self) -> list[Entry]:
        """The promotions that stand: what serves is the last, what a rollback leads to the one before it."""
        standing: list[Entry] = []
        for line in self.lines:
            if line.counts and line.entry.action == PROMOTED:
                standing.append(line.entry)
            elif line.counts and line.entry.action == ROLLED_BACK:
                standing = _up_to(standing[:-1], line.entry.digest)
        return standing

    @property
    def serving(self) -> Entry | None:
        return next(reversed(self.served), None)

    @property
    def tried(self) -> Entry | None:
        """The last entry of the canary that is on trial, or of the shadow, None when there is neither."""
        changes = (line.entry for line in reversed(self.lines) if line.counts and line.entry.action in SERVING)
        last = next(changes, None)
        return last if last and last.action in (CANARY, SHADOW) else None

    @property
    def canary(self) -> Entry | None:
        return self.tried if self.tried and self.tried.action == CANARY else None

    @property
    def routing(self) -> RoutingConfig | None:
        """Who answers, None before the first promotion."""
        serving, tried = self.serving, self.tried
        if serving is None:
            return None
        routing = RoutingConfig(model=self.model, stable=serving.target, entry=self.head)
        if tried is None:
            return routing
        if tried.action == SHADOW:
            return replace(routing, shadow=tried.target)
        return replace(routing, canary=tried.target, percent=float(tried.percent))

    def word_on(self, run: str) -> Entry | None:
        """Return the last approval or rejection of what ``run`` registered, None when nobody said anything."""
        words = (line.entry for line in reversed(self.lines) if line.counts)
        return next((one for one in words if one.action in (APPROVED, REJECTED) and one.run == run), None)


def read(tracker: Tracker, model: str) -> Ledger:
    """Return the ledger of ``model``, empty when nothing was ever promoted.

    Raises:
        ArtifactError: an entry was changed, or taken out.
        ServiceError: MLflow does not answer, or refuses.
    """
    ledger, fault = inspect(tracker, model)
    if fault:
        raise ArtifactError(fault)
    return ledger


def inspect(tracker: Tracker, model: str) -> tuple[Ledger, str]:
    """Return the ledger of ``model`` with all lines that can be shown, and why it must not be trusted, "" if it can be.

    Raises:
        ServiceError: MLflow does not answer, or refuses.
    """
    lines: list[Line] = []
    chain, changed = [""], 0
    for place, version in enumerate(tracker.versions(model + SUFFIX), 1):
        entry = read_entry(version)
        ours = entry.action != DAMAGED
        if int(version.number) != place or entry.reason == CHANGED or (ours and entry.previous not in chain):
            changed = changed or place
        lines.append(Line(int(version.number), entry, counts=ours and entry.previous == chain[-1]))
        if lines[-1].counts:
            chain.append(entry.sha256)
    fault = (
        f"entry {changed} of {model}{SUFFIX} in MLflow was changed or taken out; compare it with its copy in S3, and "
        "rename that registered model to begin a new ledger"
    )
    return Ledger(model, tuple(lines)), fault if changed else ""


def append(tracker: Tracker, model: str, version: Version, entry: Entry) -> Ledger:
    """Add ``entry``, which is about ``version``, let the champion follow, and return the ledger with it.

    Raises:
        ConflictError: somebody else changed what serves since the ledger was read that ``entry`` follows.
        ArtifactError, ServiceError: as ``read``.
    """
    said = {TAG_ENTRY: json.dumps(entry.said), TAG_SHA256: entry.sha256}
    tags = {**said, TAG_DIGEST: entry.digest, TAG_VARIANT: entry.variant}
    tracker.add_version(model + SUFFIX, version.run, version.path, tags, entry.told)
    ledger = read(tracker, model)
    for line in ledger.lines:
        if line.counts and line.entry.previous == entry.previous and line.entry != entry:
            raise ConflictError(
                f"at the same time somebody {line.entry.told}; nothing else was changed: "
                f"see `toolchain ledger {model}`, and do it again if it is still wanted"
            )
    point_champion(tracker, model)
    mirror(ledger)
    return ledger


def rollback(tracker: Tracker, model: str, reason: str, who: str) -> Entry:
    """Let what served before serve again, and return the entry that says so.

    A canary that is on trial, or a shadow, ends instead: what served before it is the stable version, which goes on.

    Raises:
        ConfigError: nothing was promoted before what serves, or a person has rejected all of it.
        ArtifactError: what served before is not in the registry any more, or another than it was.
        ConflictError, ServiceError: as ``append``.
    """
    ledger = read(tracker, model)
    if ledger.tried:
        return end_trial(tracker, ledger, reason or "rolled back", who)
    versions = {one.number: one for one in tracker.versions(model)}
    target = _previous(ledger, versions)
    version = versions.get(target.version)
    if version is None or version.tags.get(TAG_DIGEST) != target.digest:
        raise ArtifactError(
            f"version {target.version} of {model}, which served before, is gone from MLflow; promote one"
        )
    kept = {name: getattr(target, name) for name in ("version", "digest", "variant", "verdict")}
    entry = Entry(action=ROLLED_BACK, **kept, reason=reason, who=who, previous=ledger.head)
    append(tracker, model, version, entry)
    return entry


def _previous(ledger: Ledger, versions: Mapping[str, Version]) -> Entry:
    """Return the promotion before the one that serves, leaving out versions that a person has rejected since."""
    if len(ledger.served) < 2:
        serving = f"version {ledger.serving.version}" if ledger.serving else "anything was promoted"
        raise ConfigError(f"nothing of {ledger.model} served before {serving}; promote another version instead")
    rejected = []
    for entry in reversed(ledger.served[:-1]):
        run = versions[entry.version].tags.get(TAG_APPROVAL, "") if entry.version in versions else ""
        word = ledger.word_on(run) if run else None
        if word is None or word.action != REJECTED:
            return entry
        rejected.append(f"version {entry.version} (rejected by {word.who or 'a person'}: {word.reason})")
        log_info(f"skipping {rejected[-1]}, which served before")
    raise ConfigError(
        f"no version of {ledger.model} that served before can serve again: {', '.join(rejected)}; approve one of their "
        "runs, or promote another version"
    )


def speak(tracker: Tracker, model: str, version: Version, action: str, run: str, reason: str, who: str) -> Entry:
    """Record a person's word on what ``run`` registered, ``version`` among it, and return the entry.

    A canary or shadow that is rejected is ended.

    Args:
        action: APPROVED or REJECTED.

    Raises:
        ConflictError, ServiceError: as ``append``.
    """
    ledger = read(tracker, model)
    digest, variant = version.tags[TAG_DIGEST], version.tags.get(TAG_VARIANT, "")
    told = Entry(action=action, version=version.number, digest=digest, variant=variant, verdict="", reason=reason)
    entry = told.again(who=who, run=run, previous=ledger.head)
    ledger = append(tracker, model, version, entry)
    known = {one.tags.get(TAG_DIGEST): one for one in tracker.versions(model)}
    if action == REJECTED and ledger.tried and known[ledger.tried.digest].tags.get(TAG_APPROVAL) == run:
        end_trial(tracker, ledger, f"{run} was rejected", who)
    return entry


def end_trial(tracker: Tracker, ledger: Ledger, reason: str, who: str) -> Entry:
    """Let nothing be asked of the canary or shadow of ``ledger`` any more, and return the entry that says so.

    Raises:
        ConflictError, ServiceError: as ``append``.
    """
    tried = ledger.tried
    if tried is None:
        told = f"`toolchain ledger {ledger.model}`"
        raise ConfigError(f"no canary or shadow of {ledger.model} is tried; see {told}")
    kept = {name: getattr(tried, name) for name in ("version", "digest", "variant", "verdict")}
    action = CANARY_ENDED if tried.action == CANARY else SHADOW_ENDED
    entry = Entry(action=action, **kept, reason=reason, who=who, previous=ledger.head)
    append(tracker, ledger.model, _behind(tracker, ledger.model, tried), entry)
    return entry


def point_champion(tracker: Tracker, model: str) -> None:
    """Let the alias point at what the ledger says serves, and look again: whoever is late sets right what it undid."""
    serving = read(tracker, model).serving
    while serving:
        tracker.set_alias(model, CHAMPION, serving.version)
        found = read(tracker, model).serving
        if found == serving:
            return
        serving = found


def mirror(ledger: Ledger) -> None:
    """Copy what the bucket does not hold yet of ``ledger``; without a bucket MLflow alone keeps it."""
    try:
        place = f"s3://{bucket.name()}/{PREFIX}/{ledger.model}/"
    except ConfigError:
        return
    try:
        kept = {stored.uri for stored in s3.listing(place)}
        for line in ledger.lines:
            uri = f"{place}{line.number:06d}-{short_digest(line.entry.sha256)}.json"
            if uri not in kept:
                s3.write(json.dumps(line.plain, indent=1).encode(), uri)
    except ServiceError as error:  # what serves has been changed, and the next entry brings this one along
        log_info(f"the ledger's copy will follow with its next entry: {error}")


def _behind(tracker: Tracker, model: str, entry: Entry) -> Version:
    """Return the version that ``entry`` is about; of one that was deleted since, the entry's own place does."""
    known = [*tracker.versions(model + SUFFIX), *tracker.versions(model)]
    return next(one for one in reversed(known) if one.tags.get(TAG_DIGEST) == entry.digest)


def _up_to(standing: list[Entry], digest: str) -> list[Entry]:
    """Return ``standing`` up to the last entry with ``digest``: rejected versions between are skipped by a rollback."""
    places = [place for place, entry in enumerate(standing) if entry.digest == digest]
    return standing[: places[-1] + 1] if places else standing
