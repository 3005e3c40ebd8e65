"""The OpenAPI document of a registered version, and what callers of another version would lose by it."""

import argparse
from typing import TYPE_CHECKING, Any

from cli.serving.serve import choose, repository_path
from cli.settings import Settings, open_registry
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle.openapi_diff import breaking_changes

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version


def tell_openapi(given: argparse.Namespace, settings: Settings) -> bool:
    """Print what ``given`` asks for and return whether nobody who calls the version ``given.against`` is broken.

    The document is the one that was kept when the version was promoted; of one that never was, the real server is
    started for a moment to say it.

    Raises:
        ArtifactError: the document, or the model, was changed in MLflow.
        ConfigError: there is no such model or version.
        ServiceError: MLflow does not answer, or the server does not start.
    """
    from toolchain.lifecycle.openapi_store import as_text
    from toolchain.lifecycle.registry import named

    tracker = _open(given.model, settings)
    version = named(tracker, f"{given.model}:{given.version or _usual(tracker, given.model)}").version
    document = _document(tracker, version, settings)
    if not given.against:
        print(as_text(document), end="")
        return True
    old = _document(tracker, named(tracker, f"{given.model}:{given.against}").version, settings)
    changes = breaking_changes(old, document)
    for change in changes:
        print(change.told)
    if not changes:
        print(f"version {version.number} of {given.model} breaks no caller of version {given.against}")
    return not changes


def _open(model: str, settings: Settings) -> "Tracker":
    """Return the registry, after a check that ``model`` is a name and that there can be such a model."""
    if not model or set(model) & set("'@:/"):
        raise ConfigError(f"model is {model!r}: give a registered model's name; --version names a version")
    return open_registry(settings, model)


def _usual(tracker: "Tracker", model: str) -> str:
    """Return the number of what serves, else of the candidate, else of the newest version; "" where there is none."""
    from toolchain.lifecycle.registry import CANDIDATE, CHAMPION

    numbers = [version.number for version in tracker.versions(model)]
    aliases = tracker.aliases(model) if numbers else {}
    return aliases.get(CHAMPION) or aliases.get(CANDIDATE) or (numbers[-1] if numbers else "")


def _document(tracker: "Tracker", version: "Version", settings: Settings) -> dict[str, Any]:
    from toolchain.lifecycle import trial_server
    from toolchain.lifecycle.openapi_store import kept

    document = kept(tracker, version)
    if document is not None:
        return document
    chosen = choose(f"{version.model}:{version.number}", "", settings)
    folder = repository_path(version.model, settings) / chosen.digest
    try:
        with trial_server.started(folder, version.model, version.number, unready=True) as address:
            found: dict[str, Any] = trial_server.ask(f"{address}/openapi.json")
            return found
    except ServiceError as error:
        raise ServiceError(
            f"no server tells the API of version {version.number} of {version.model}: {error}"
        ) from error
