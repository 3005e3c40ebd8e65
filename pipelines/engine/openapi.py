"""The OpenAPI document of a registered version, and what callers of another version would lose by it."""

import argparse
from typing import TYPE_CHECKING, Any

from pipelines.engine.serve import CANDIDATE, CHAMPION, choose, shelf
from pipelines.engine.settings import Settings, name_registry
from toolchain.compatibility import breaking_changes
from toolchain.errors import ConfigError, ServiceError

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
    from toolchain.services.interfaces import as_text

    tracker = _open(given.model, settings)
    versions = {version.number: version for version in tracker.versions(given.model)}
    version = _version(versions, given.model, given.version or _usual(tracker, given.model, versions))
    document = _document(tracker, version, settings)
    if not given.against:
        print(as_text(document), end="")
        return True
    old = _document(tracker, _version(versions, given.model, given.against), settings)
    changes = breaking_changes(old, document)
    for change in changes:
        print(change.told)
    if not changes:
        print(f"version {version.number} of {given.model} breaks no caller of version {given.against}")
    return not changes


def _open(model: str, settings: Settings) -> "Tracker":
    """Return the registry, after a check that ``model`` is a name and that there can be such a model."""
    from toolchain.services.mlflow import Tracker

    if not model or set(model) & set("'@:/"):
        raise ConfigError(f"model is {model!r}: give a registered model's name; --version names a version")
    if settings.tracking_uri.startswith("sqlite") and not settings.mlflow_database.is_file():
        raise ConfigError(f"no model {model!r} is registered yet; register one by a pipeline first")
    name_registry(settings)
    return Tracker()


def _usual(tracker: "Tracker", model: str, versions: dict[str, "Version"]) -> str:
    """Return the number of what serves, else of the candidate, else of the newest version; "" where there is none."""
    aliases = tracker.aliases(model) if versions else {}
    return aliases.get(CHAMPION) or aliases.get(CANDIDATE) or next(reversed(versions), "")


def _version(versions: dict[str, "Version"], model: str, number: str) -> "Version":
    if not versions:
        raise ConfigError(f"no model {model!r} is registered; register one by a pipeline first")
    if number not in versions:
        raise ConfigError(f"{model} has no version {number}; it has {', '.join(versions)}")
    return versions[number]


def _document(tracker: "Tracker", version: "Version", settings: Settings) -> dict[str, Any]:
    from toolchain.services import trial_server
    from toolchain.services.interfaces import kept

    document = kept(tracker, version)
    if document is not None:
        return document
    chosen = choose(f"{version.model}:{version.number}", "", settings)
    folder = shelf(version.model, settings) / chosen.digest
    try:
        with trial_server.started(folder, version.model, version.number, unready=True) as address:
            found: dict[str, Any] = trial_server.ask(f"{address}/openapi.json")
            return found
    except ServiceError as error:
        raise ServiceError(
            f"no server tells the API of version {version.number} of {version.model}: {error}"
        ) from error
