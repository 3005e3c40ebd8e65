"""Approve or reject what a run registered: a person's word, kept in the ledger of the model, that promotion waits for.

Nothing waits in a pod: the run has ended, and each of its versions says which run must be approved.
"""

import argparse
from typing import TYPE_CHECKING

from cli.cluster.tracking import registry_of
from cli.settings import Settings, open_registry
from toolchain.errors import ConfigError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version


def speak(given: argparse.Namespace, settings: Settings) -> None:
    """Record that what ``given.run`` registered may serve ("approve"), or may not ("reject"), and say what follows.

    A version on trial as a canary, or in the shadow, is ended when it is rejected.

    Raises:
        ConfigError: no registered version waits for that run, or it is rejected without a reason.
        ConflictError: somebody else changed the ledger at the same time.
        ServiceError: MLflow does not answer, or refuses.
    """
    rejected = given.command == "reject"
    if rejected and not given.reason.strip():
        raise ConfigError("reject without a reason: give one by --reason, it is recorded")
    model, chosen, serving = _recorded(given, settings, rejected)
    if rejected:
        print(f"rejected {given.run}: none of its versions of {model} will be promoted")
        if serving:
            print(f"version {serving} of {model} is one of them and still serves: python -m cli rollback {model}")
    else:
        print(f"approved {given.run}: python -m cli promote {model}{chosen} lets it serve")


def _recorded(given: argparse.Namespace, settings: Settings, rejected: bool) -> tuple[str, str, str]:
    """Record the word; return the model's name, the words that name one of its versions to ``promote``, and the number
    of the version that serves if it is one of them, else ""."""
    from toolchain.lifecycle import ledger
    from toolchain.lifecycle.registry import CANDIDATE, TAG_DIGEST

    action = ledger.REJECTED if rejected else ledger.APPROVED

    with registry_of(given.engine, settings) as found:
        tracker = open_registry(found)
        meant = _meant(tracker, given.run)
        model = meant[0].model
        candidate = tracker.aliases(model).get(CANDIDATE, "")
        version = next((one for one in meant if one.number == candidate), meant[0])
        tried = ledger.read(tracker, model).tried
        ledger.speak(tracker, model, version, action, given.run, given.reason, settings.owner)
        now = ledger.read(tracker, model)
        if tried and now.tried is None:
            _tell_servers(tracker, model, given, found)
        digests = {one.tags.get(TAG_DIGEST) for one in meant}
        serving = now.serving.version if now.serving and now.serving.digest in digests else ""
    return model, "" if version.number == candidate else f" --version {version.number}", serving


def _tell_servers(tracker: "Tracker", model: str, given: argparse.Namespace, settings: Settings) -> None:
    """Let servers know that a canary or shadow was ended, as a rollback does."""
    from cli.serving.targets import place
    from toolchain.lifecycle import ledger, model_repository

    wanted = argparse.Namespace(command="rollback", model=model, engine=given.engine, server=[])
    with place(wanted, settings) as there:
        model_repository.publish(tracker, model, there.model_repository)
        there.follow(ledger.read(tracker, model))


def _meant(tracker: "Tracker", run: str) -> "list[Version]":
    """Return the versions that ``run`` asked approval for."""
    from toolchain.lifecycle.ledger import SUFFIX
    from toolchain.lifecycle.registry import TAG_APPROVAL

    models = [model for model in tracker.models() if not model.endswith(SUFFIX)]
    asking = [one for model in models for one in tracker.versions(model) if TAG_APPROVAL in one.tags]
    meant = [one for one in asking if one.tags[TAG_APPROVAL] == run]
    if not meant:
        runs = sorted({one.tags[TAG_APPROVAL] for one in asking})
        told = f"versions of {', '.join(runs)} do" if runs else "no run has asked for one (-p require_approval=true)"
        raise ConfigError(f"no registered version waits for approval of {run!r}; {told}")
    return meant
