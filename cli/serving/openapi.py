"""Print the OpenAPI document of a registered version, and what it breaks for clients of another."""

from typing import TYPE_CHECKING, Any

from cli.output.machine import print_json
from cli.serving.models import open_model_registry
from cli.serving.serve import choose, repository_path
from cli.settings import Settings
from toolchain.errors import ServiceError
from toolchain.lifecycle.openapi_diff import breaking_changes

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version


def print_openapi(model: str, version: str, settings: Settings) -> None:
    """Print the OpenAPI document of a ``version`` of ``model``, by default what serves.

    The document was stored when the version was promoted; for a version that never was, a server is started for it.

    Raises:
        ArtifactError: the document, or the model, was changed in MLflow.
        ConfigError: there is no such model or version.
        ServiceError: MLflow does not respond, or the server does not start.
    """
    from toolchain.lifecycle.openapi_store import as_text

    tracker = open_model_registry(model, settings)
    print(as_text(_document(tracker, _version(tracker, model, version), settings)), end="")


def print_breaking_changes(model: str, version: str, against: str, settings: Settings, as_json: bool) -> bool:
    """Print what ``version`` breaks for clients of the version ``against``; return whether nothing does.

    Raises:
        As ``print_openapi``.
    """
    tracker = open_model_registry(model, settings)
    new, old = _version(tracker, model, version), _version(tracker, model, against)
    changes = [
        change.message
        for change in breaking_changes(_document(tracker, old, settings), _document(tracker, new, settings))
    ]
    if as_json:
        print_json({"model": model, "version": new.number, "against": old.number, "breaking_changes": changes})
    elif changes:
        print(*changes, sep="\n")
    else:
        print(f"version {new.number} of {model} breaks no client of version {old.number}")
    return not changes


def _version(tracker: "Tracker", model: str, number: str) -> "Version":
    from toolchain.lifecycle.registry import named

    return named(tracker, f"{model}:{number or _default_version(tracker, model)}").version


def _default_version(tracker: "Tracker", model: str) -> str:
    """Return the number of what serves, else of the candidate, else of the newest version; "" where there is none."""
    from toolchain.lifecycle.registry import CANDIDATE, CHAMPION

    numbers = [version.number for version in tracker.versions(model)]
    aliases = tracker.aliases(model) if numbers else {}
    return aliases.get(CHAMPION) or aliases.get(CANDIDATE) or (numbers[-1] if numbers else "")


def _document(tracker: "Tracker", version: "Version", settings: Settings) -> dict[str, Any]:
    from toolchain.lifecycle import trial_server
    from toolchain.lifecycle.openapi_store import load

    document = load(tracker, version)
    if document is not None:
        return document
    chosen = choose(f"{version.model}:{version.number}", "", settings)
    folder = repository_path(version.model, settings) / chosen.digest
    try:
        with trial_server.start_server(folder, version.model, version.number, allow_unready=True) as address:
            found: dict[str, Any] = trial_server.request_json(f"{address}/openapi.json")
            return found
    except ServiceError as error:
        raise ServiceError(f"the API of version {version.number} of {version.model} is not known: {error}") from error
