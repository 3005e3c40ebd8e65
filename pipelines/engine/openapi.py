"""The OpenAPI document of a registered version, and what callers of another version would lose by it."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from pipelines.engine.serve import CANDIDATE, CHAMPION, choose, shelf
from pipelines.engine.settings import Settings, name_registry, step_environment
from toolchain.compatibility import breaking_changes
from toolchain.errors import ConfigError, ServiceError

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version

READY = ("ready: ", "not ready: ")  # how the server's line begins; its document is the same either way
SECONDS_TO_ANSWER = 30.0  # of a server on this machine that is ready
SECONDS_TO_END = 20.0


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
    from toolchain.services.interfaces import kept

    document = kept(tracker, version)
    if document is not None:
        return document
    chosen = choose(f"{version.model}:{version.number}", "", settings)
    with _serving(shelf(version.model, settings) / chosen.digest, version, settings) as address:
        return _asked(f"{address}/openapi.json")


@contextmanager
def _serving(folder: Path, version: "Version", settings: Settings) -> Iterator[str]:
    """Yield the address of a server on this machine; it is ended with the block."""
    words = [str(folder), "--name", version.model, "--version", version.number, "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "toolchain.serve", *words],
        env=step_environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = "it said nothing"
    try:
        for line in process.stdout:
            if line.startswith(READY):
                yield line.partition(READY[0])[2].partition("/docs")[0]
                return
        raise ServiceError(f"no server starts with version {version.number} of {version.model}: {line.strip()}")
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does: without the wait for balancers that SIGTERM means
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _asked(url: str) -> dict[str, Any]:
    from toolchain.services.tokens import serving_tokens

    tokens = serving_tokens()
    request = Request(url, headers={"Authorization": f"Bearer {tokens[0]}"} if tokens else {})
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS_TO_ANSWER) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found
    except (URLError, OSError, ValueError) as error:
        raise ServiceError(f"the server did not say its OpenAPI document: {error}") from error
