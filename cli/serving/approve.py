"""Approve or reject the versions that a run registered, in the model's ledger, where promotion checks it.

No pod waits for the approval: the run has ended, and its versions are tagged with the run that must be approved.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.cluster.tracking import registry_of
from cli.settings import Settings, open_registry
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version


@dataclass(frozen=True)
class Recorded:
    """An approval or a rejection in the ledger."""

    model: str
    version_option: str  # option of ``promote`` for the version: "" for the candidate, else " --version N"
    live: str  # the number of the live version if it is one of the run's, else ""


def approve(run_id: str, reason: str, engine: str | None, settings: Settings) -> dict[str, Any]:
    """Record that the versions of ``run_id`` may be promoted, print how, and return the fields of ``--json``.

    Raises:
        ConfigError: no registered version requires an approval of that run.
        ConflictError: the ledger was changed at the same time.
        ServiceError: MLflow does not respond, or denies access.
    """
    done = _record(run_id, reason, engine, settings, rejected=False)
    print(f"approved {run_id}; to promote it: toolchain promote {done.model}{done.version_option}")
    return _fields(run_id, done, approved=True)


def reject(run_id: str, reason: str, engine: str | None, settings: Settings) -> dict[str, Any]:
    """Record that the versions of ``run_id`` may not be promoted, and end a trial of one of them.

    Returns the fields of ``--json``.

    Raises:
        ConfigError: no registered version requires an approval of that run, or there is no reason.
        ConflictError: the ledger was changed at the same time.
        ServiceError: MLflow does not respond, or denies access.
    """
    if not reason.strip():
        raise ConfigError("reject requires a reason, which is recorded in the ledger: add --reason TEXT")
    done = _record(run_id, reason, engine, settings, rejected=True)
    print(f"rejected {run_id}: none of its versions of {done.model} can be promoted")
    if done.live:
        print(f"version {done.live} of {done.model} is one of them and still live: toolchain rollback {done.model}")
    return _fields(run_id, done, approved=False)


def _fields(run_id: str, done: Recorded, approved: bool) -> dict[str, Any]:
    return {"run": run_id, "model": done.model, "approved": approved, "live_version": done.live}


def _record(run_id: str, reason: str, engine: str | None, settings: Settings, rejected: bool) -> Recorded:
    from toolchain.lifecycle import ledger
    from toolchain.lifecycle.registry import CANDIDATE, TAG_DIGEST

    action = ledger.REJECTED if rejected else ledger.APPROVED
    with registry_of(engine, settings) as found:
        tracker = open_registry(found)
        versions = _versions_of(tracker, run_id)
        model = versions[0].model
        candidate = tracker.aliases(model).get(CANDIDATE, "")
        version = next((one for one in versions if one.number == candidate), versions[0])
        trial = ledger.read(tracker, model).trial
        ledger.record_approval(tracker, model, version, action, run_id, reason, settings.owner)
        now = ledger.read(tracker, model)
        if trial and now.trial is None:
            _update_servers(tracker, model, engine, found)
        digests = {one.tags.get(TAG_DIGEST) for one in versions}
        live = now.serving.version if now.serving and now.serving.digest in digests else ""
    return Recorded(model, "" if version.number == candidate else f" --version {version.number}", live)


def _update_servers(tracker: "Tracker", model: str, engine: str | None, settings: Settings) -> None:
    """Publish that a canary or shadow was ended, and wait for the model servers."""
    from cli.serving.targets import promotion_target
    from toolchain.lifecycle import ledger, model_repository

    with promotion_target(model, engine, [], None, settings) as target:
        model_repository.publish(tracker, model, target.repository)
        target.follow(ledger.read(tracker, model))


def _versions_of(tracker: "Tracker", run_id: str) -> "list[Version]":
    """Return the versions that require an approval of ``run_id``."""
    from toolchain.lifecycle.ledger import SUFFIX
    from toolchain.lifecycle.registry import TAG_APPROVAL

    models = [model for model in tracker.models() if not model.endswith(SUFFIX)]
    waiting = [one for model in models for one in tracker.versions(model) if TAG_APPROVAL in one.tags]
    found = [one for one in waiting if one.tags[TAG_APPROVAL] == run_id]
    if not found:
        runs = sorted({one.tags[TAG_APPROVAL] for one in waiting})
        hint = f"runs that do: {', '.join(runs)}" if runs else "no run does (submit with -p require_approval=true)"
        raise ConfigError(f"run {run_id!r} requires no approval; {hint}")
    return found
