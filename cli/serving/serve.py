"""Serve a registered model on this machine: fetched once, kept in its repository, served as the serving images do.

A model's name alone means what is promoted, now and later: the server polls the repository. An alias or a version means
one version for good. With the registry away, what was served before is served again, and said to be.
"""

import argparse
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from cli.cluster.tracking import registry_of
from cli.settings import Settings, open_registry, step_environment
from cli.setup.doctor import is_reachable
from cli.state_files import read_record
from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.folder import write_json
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError, ConfigError, ServiceError
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes, parse

if TYPE_CHECKING:
    from toolchain.services.mlflow import Tracker, Version

FORMAT = "toolchain.served"
CHOSEN = (
    "chosen.json"  # beside the models in a repository: what aliases and numbers stood for when they were last asked
)


@dataclass(frozen=True)
class Chosen:
    """A version of a registered model."""

    name: str
    number: str
    alias: str  # that led to it, "" for a version asked for by number
    digest: str


def serve(given: argparse.Namespace, settings: Settings) -> None:
    """Serve ``given.model`` until it is told to end; this process becomes the server.

    Raises:
        ArtifactError: what the registry holds is not what was registered.
        ConfigError: there is no such model, alias or version.
        ServiceError: the registry is away, and nothing of the model was served here before.
    """
    name, wanted = _wanted(given.model, given.alias)
    with registry_of(given.engine, settings) as found:
        words = _one_version(given, found) if wanted else _what_is_promoted(name, found)
        if found.registry and not wanted:
            print("later promotions on the cluster are not followed here: start it again for those", flush=True)
    command = [sys.executable, "-m", "toolchain.serve", *words, "--port", str(given.port), "--host", given.host]
    if given.grpc_port is not None:
        command += ["--grpc-port", str(given.grpc_port)]
    if given.workers:
        command += ["--workers", str(given.workers)]
    command += ["--require-tokens"] if given.require_tokens else []
    if given.samples:
        command += ["--samples", given.samples, "--sample-percent", str(given.sample_percent)]
        command += ["--sample-rows"] if given.sample_rows else []
    os.execve(sys.executable, command, step_environment(settings))


def choose(model: str, alias: str, settings: Settings) -> Chosen:
    """Return the version of ``model`` (name, name@alias or name:version) or its ``alias``, with its files fetched."""
    name, wanted = _wanted(model, alias)
    try:
        chosen = _ask(_registry(name, settings), name, wanted, settings)
    except ServiceError as error:
        chosen = _remembered(name, wanted, settings, error)
        print(f"{error}; serving version {chosen.number} as it was fetched before", file=sys.stderr, flush=True)
    return chosen


def follow(name: str, settings: Settings) -> RoutingConfig:
    """Publish and return the routing config of ``name`` from its ledger; before any promotion, of its candidate."""
    from toolchain.lifecycle.model_repository import Folder, publish

    place = repository_path(name, settings)
    try:
        tracker = _registry(name, settings)
        routing = publish(tracker, name, str(place))
        if routing is None:
            chosen = _ask(tracker, name, "", settings)
            variant = open_model(place / chosen.digest).variant
            target = Target(version=chosen.number, digest=chosen.digest, variant=variant)
            routing = RoutingConfig(model=name, stable=target)
            Folder(place).tell(as_bytes(routing))
    except ServiceError as error:
        routing = _published_before(name, settings, error)
        told = f"serving version {routing.stable.version} as it was fetched before"
        print(f"{error}; {told}", file=sys.stderr, flush=True)
    return routing


def repository_path(name: str, settings: Settings) -> Path:
    """Return the folder of what is, and was, served here of the model ``name``."""
    served = settings.runs / "served"
    return served / f".{settings.registry}" / name if settings.registry else served / name  # no model begins with "."


def _wanted(model: str, alias: str) -> tuple[str, str]:
    """Return a model's name and the alias or number that is asked for, "" for what is promoted."""
    from toolchain.lifecycle.registry import split_name

    name, number, own = split_name(model)
    if (
        not name
        or "'" in model
        or "/" in name
        or name.startswith(".")
        or (number and not (number.isascii() and number.isdigit()))
    ):
        raise ConfigError(f"model is {model!r}: give a registered model as name, name@alias or name:version")
    if sum(map(bool, (number, own, alias))) > 1:
        raise ConfigError(f"{model} names a version already; leave --alias, or the part after the name, out")
    return name, number or own or alias


def _one_version(given: argparse.Namespace, settings: Settings) -> list[str]:
    """Return the server's words for one version that nothing changes."""
    chosen = choose(given.model, given.alias, settings)
    told = f"{chosen.name}@{chosen.alias}" if chosen.alias else f"{chosen.name}:{chosen.number}"
    print(f"serving {told}: version {chosen.number}, digest {short_digest(chosen.digest)}", flush=True)
    folder = repository_path(chosen.name, settings) / chosen.digest
    return [str(folder), "--name", chosen.name, "--version", chosen.number]


def _what_is_promoted(name: str, settings: Settings) -> list[str]:
    """Return the server's words for what is promoted, now and later."""
    routing = follow(name, settings)
    stable, canary, shadow = routing.stable, routing.canary, routing.shadow
    beside = f", and version {shadow.version} in its shadow" if shadow else ""
    trial = f", and version {canary.version} for {routing.percent:g} % of requests" if canary else beside
    print(f"serving {name}: version {stable.version}, digest {short_digest(stable.digest)}{trial}", flush=True)
    return ["--model-repository", str(repository_path(name, settings)), "--name", name]


def _published_before(name: str, settings: Settings, error: ServiceError) -> RoutingConfig:
    """Return who answered for ``name`` when the registry was last asked, if the files are here and whole."""
    file = repository_path(name, settings) / FILE
    if not file.is_file():
        raise ServiceError(f"{error}; and nothing of {name} was served here before") from error
    routing = parse(file.read_bytes(), str(file))
    if not _is_whole(file.parent / routing.stable.digest, routing.stable.digest):
        raise ServiceError(f"{error}; and what was served of {name} before is damaged") from error
    return routing


def _reachable(settings: Settings) -> bool:
    """Return whether it is worth asking: the door to MLflow would wait two minutes for a server that is away."""
    uri = settings.tracking_uri
    return not uri.startswith("http") or is_reachable(f"{uri.rstrip('/')}/health")


def _shown(settings: Settings) -> str:
    from toolchain.services.mlflow_retry import without_credentials

    return without_credentials(settings.tracking_uri)


def _registry(name: str, settings: Settings) -> "Tracker":
    """Return the door to a registry that answers and may know the model ``name``."""
    if not _reachable(settings):
        raise ServiceError(f"the registry at {_shown(settings)} does not answer")
    return open_registry(settings, name)


def _ask(tracker: "Tracker", name: str, wanted: str, settings: Settings) -> Chosen:
    """Return what the registry says stands for ``wanted``, after its files were fetched and remembered."""
    from toolchain.lifecycle.registry import CANDIDATE, CHAMPION, TAG_DIGEST, named

    which = f":{wanted}" if wanted.isascii() and wanted.isdigit() else f"@{wanted}"
    found = named(tracker, f"{name}{which if wanted else ''}", CHAMPION, CANDIDATE)
    if not wanted and found.alias == CANDIDATE:
        print(f"{name} has no champion yet: its candidate is served", flush=True)
    chosen = Chosen(name, found.version.number, found.alias, found.version.tags[TAG_DIGEST])
    _fetch(tracker, found.version, chosen, settings)
    _remember(chosen, wanted, settings)
    return chosen


def _fetch(tracker: "Tracker", version: "Version", chosen: Chosen, settings: Settings) -> None:
    """Put the files of ``version`` in the repository, unless they are there and whole."""
    from toolchain.lifecycle.model_repository import Folder

    place = Folder(repository_path(chosen.name, settings))
    if place.has(chosen.digest):
        return
    with TemporaryDirectory(prefix="served-") as folder:
        fetched = tracker.download(version.run, version.path, Path(folder))
        if open_model(fetched).digest != chosen.digest:
            raise ArtifactError(f"version {chosen.number} of {chosen.name} was changed in MLflow; register it again")
        place.put(fetched, chosen.digest)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return open_model(folder).digest == digest
    except ArtifactError:
        return False


def _remember(chosen: Chosen, wanted: str, settings: Settings) -> None:
    """Note what stood for ``wanted``, for when the registry is away."""
    file = repository_path(chosen.name, settings) / CHOSEN
    known = _chosen_before(file)
    write_json(file, {"format": FORMAT, "version": 1, "chosen": {**known, wanted: asdict(chosen)}})


def _chosen_before(file: Path) -> dict[str, Any]:
    """Return what stood for each alias and number, nothing where ``file`` is missing or damaged."""
    known = (read_record(file, "it is written anew") or {}).get("chosen", {})
    fields = Chosen.__dataclass_fields__.keys()
    return {wanted: one for wanted, one in known.items() if fields == one.keys()} if isinstance(known, dict) else {}


def _remembered(name: str, wanted: str, settings: Settings, error: ServiceError) -> Chosen:
    """Return what stood for ``wanted`` when the registry was last asked, if its files are here and whole."""
    known = _chosen_before(repository_path(name, settings) / CHOSEN)
    if wanted not in known:
        raise ServiceError(f"{error}; and nothing of {name} was served here before") from error
    chosen = Chosen(**known[wanted])
    if not _is_whole(repository_path(name, settings) / chosen.digest, chosen.digest):
        raise ServiceError(f"{error}; and what was served of {name} before is damaged") from error
    return chosen
