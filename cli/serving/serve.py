"""Serve a registered model on this machine, from a local model repository, by the server of the serving images.

A model's name alone follows promotions: the server polls the model repository. An alias or a version is fixed. When the
registry does not respond, the version that was served before is served again, with a warning.
"""

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
    "chosen.json"  # in a model repository: the versions of aliases and numbers when the registry was last reachable
)


@dataclass(frozen=True)
class Chosen:
    """A version of a registered model."""

    name: str
    number: str
    alias: str  # that it was selected by, "" for a version selected by number
    digest: str


@dataclass(frozen=True)
class ServerOptions:
    """Options of the model server."""

    host: str = "127.0.0.1"
    port: int = 8080  # 0 for any free one
    grpc_port: int | None = None  # 0 for any free one; None for no gRPC
    workers: int = 0  # parallel inferences; 0 for one per core
    require_tokens: bool = False
    samples: str = ""  # folder or s3://BUCKET/PREFIX; "" for no samples
    sample_percent: float = 10.0  # of requests
    sample_rows: bool = False  # whether texts and images are stored as well

    @property
    def argv(self) -> list[str]:
        found = ["--port", str(self.port), "--host", self.host]
        if self.grpc_port is not None:
            found += ["--grpc-port", str(self.grpc_port)]
        if self.workers:
            found += ["--workers", str(self.workers)]
        found += ["--require-tokens"] if self.require_tokens else []
        if self.samples:
            found += ["--samples", self.samples, "--sample-percent", str(self.sample_percent)]
            found += ["--sample-rows"] if self.sample_rows else []
        return found


def serve(model: str, alias: str, options: ServerOptions, engine: str | None, settings: Settings) -> None:
    """Serve ``model`` until the process is ended; this process becomes the server.

    Raises:
        ArtifactError: the registry's files are not those that were registered.
        ConfigError: there is no such model, alias or version.
        ServiceError: the registry does not respond, and the model was not served on this machine before.
    """
    name, selector = _split(model, alias)
    with registry_of(engine, settings) as found:
        argv = _one_version(model, alias, found) if selector else _live_versions(name, found)
        if found.registry and not selector:
            print("later promotions on the cluster are not followed; restart to pick them up", flush=True)
    command = [sys.executable, "-m", "toolchain.serve", *argv, *options.argv]
    os.execve(sys.executable, command, step_environment(settings))


def choose(model: str, alias: str, settings: Settings) -> Chosen:
    """Return the version of ``model`` (name, name@alias or name:version) or its ``alias``; its files are local then."""
    name, selector = _split(model, alias)
    try:
        chosen = _select(_registry(name, settings), name, selector, settings)
    except ServiceError as error:
        chosen = _remembered(name, selector, settings, error)
        print(f"{error}; serving version {chosen.number} from the local model repository", file=sys.stderr, flush=True)
    return chosen


def follow(name: str, settings: Settings) -> RoutingConfig:
    """Return the routing config of ``name`` by its ledger, its files fetched; before any promotion, its candidate's."""
    from toolchain.lifecycle.model_repository import Folder, publish

    repository = repository_path(name, settings)
    try:
        tracker = _registry(name, settings)
        config = publish(tracker, name, str(repository))
        if config is None:
            chosen = _select(tracker, name, "", settings)
            variant = open_model(repository / chosen.digest).variant
            target = Target(version=chosen.number, digest=chosen.digest, variant=variant)
            config = RoutingConfig(model=name, stable=target)
            Folder(repository).write_routing(as_bytes(config))
    except ServiceError as error:
        config = _published_before(name, settings, error)
        message = f"serving version {config.stable.version} from the local model repository"
        print(f"{error}; {message}", file=sys.stderr, flush=True)
    return config


def repository_path(name: str, settings: Settings) -> Path:
    """Return the local model repository of the model ``name``."""
    served = settings.runs / "served"
    return served / f".{settings.registry}" / name if settings.registry else served / name  # no model begins with "."


def _split(model: str, alias: str) -> tuple[str, str]:
    """Return a model's name and the selected alias or number, "" for what is promoted."""
    from toolchain.lifecycle.registry import split_name

    name, number, own = split_name(model)
    if (
        not name
        or "'" in model
        or "/" in name
        or name.startswith(".")
        or (number and not (number.isascii() and number.isdigit()))
    ):
        raise ConfigError(f"model is {model!r}: expected a registered model as name, name@alias or name:version")
    if sum(map(bool, (number, own, alias))) > 1:
        raise ConfigError(f"{model} names a version already; leave --alias, or the part after the name, out")
    return name, number or own or alias


def _one_version(model: str, alias: str, settings: Settings) -> list[str]:
    """Return the server's arguments for one fixed version."""
    chosen = choose(model, alias, settings)
    shown = f"{chosen.name}@{chosen.alias}" if chosen.alias else f"{chosen.name}:{chosen.number}"
    print(f"serving {shown}: version {chosen.number}, digest {short_digest(chosen.digest)}", flush=True)
    folder = repository_path(chosen.name, settings) / chosen.digest
    return [str(folder), "--name", chosen.name, "--version", chosen.number]


def _live_versions(name: str, settings: Settings) -> list[str]:
    """Return the server's arguments for what is promoted, now and later."""
    config = follow(name, settings)
    stable, canary, shadow = config.stable, config.canary, config.shadow
    beside = f", and version {shadow.version} as its shadow" if shadow else ""
    trial = f", and version {canary.version} for {config.percent:g} % of requests" if canary else beside
    print(f"serving {name}: version {stable.version}, digest {short_digest(stable.digest)}{trial}", flush=True)
    return ["--model-repository", str(repository_path(name, settings)), "--name", name]


def _published_before(name: str, settings: Settings, error: ServiceError) -> RoutingConfig:
    """Return the last routing config of ``name``, if its files are local and whole."""
    file = repository_path(name, settings) / FILE
    if not file.is_file():
        raise ServiceError(f"{error}; and {name} was never served on this machine") from error
    config = parse(file.read_bytes(), str(file))
    if not _is_whole(file.parent / config.stable.digest, config.stable.digest):
        raise ServiceError(f"{error}; and the local files of {name} are damaged") from error
    return config


def _reachable(settings: Settings) -> bool:
    """Return whether the registry is reachable; MLflow's client would retry for two minutes."""
    uri = settings.tracking_uri
    return not uri.startswith("http") or is_reachable(f"{uri.rstrip('/')}/health")


def _shown(settings: Settings) -> str:
    from toolchain.services.mlflow_retry import without_credentials

    return without_credentials(settings.tracking_uri)


def _registry(name: str, settings: Settings) -> "Tracker":
    """Return the registry, which is reachable and may have the model ``name``."""
    if not _reachable(settings):
        raise ServiceError(f"the registry at {_shown(settings)} does not respond")
    return open_registry(settings, name)


def _select(tracker: "Tracker", name: str, wanted: str, settings: Settings) -> Chosen:
    """Return the version that the registry selects by ``wanted``; its files are fetched and it is remembered."""
    from toolchain.lifecycle.registry import CANDIDATE, CHAMPION, TAG_DIGEST, named

    which = f":{wanted}" if wanted.isascii() and wanted.isdigit() else f"@{wanted}"
    found = named(tracker, f"{name}{which if wanted else ''}", CHAMPION, CANDIDATE)
    if not wanted and found.alias == CANDIDATE:
        print(f"{name} has no champion yet: serving its candidate", flush=True)
    chosen = Chosen(name, found.version.number, found.alias, found.version.tags[TAG_DIGEST])
    _fetch(tracker, found.version, chosen, settings)
    _remember(chosen, wanted, settings)
    return chosen


def _fetch(tracker: "Tracker", version: "Version", chosen: Chosen, settings: Settings) -> None:
    """Download the files of ``version``, unless they are local and whole."""
    from toolchain.lifecycle.model_repository import Folder

    repository = Folder(repository_path(chosen.name, settings))
    if repository.has(chosen.digest):
        return
    with TemporaryDirectory(prefix="served-") as folder:
        fetched = tracker.download(version.run, version.path, Path(folder))
        if open_model(fetched).digest != chosen.digest:
            raise ArtifactError(f"version {chosen.number} of {chosen.name} was changed in MLflow; register it again")
        repository.put(fetched, chosen.digest)


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return open_model(folder).digest == digest
    except ArtifactError:
        return False


def _remember(chosen: Chosen, wanted: str, settings: Settings) -> None:
    """Store what ``wanted`` meant, for when the registry does not respond."""
    file = repository_path(chosen.name, settings) / CHOSEN
    known = _chosen_before(file)
    write_json(file, {"format": FORMAT, "version": 1, "chosen": {**known, wanted: asdict(chosen)}})


def _chosen_before(file: Path) -> dict[str, Any]:
    """Return what each alias and number meant; empty when ``file`` is missing or damaged."""
    known = (read_record(file, "it is written again") or {}).get("chosen", {})
    fields = Chosen.__dataclass_fields__.keys()
    return {wanted: one for wanted, one in known.items() if fields == one.keys()} if isinstance(known, dict) else {}


def _remembered(name: str, wanted: str, settings: Settings, error: ServiceError) -> Chosen:
    """Return the version of ``wanted`` when the registry was last reachable, if its local files are complete."""
    known = _chosen_before(repository_path(name, settings) / CHOSEN)
    if wanted not in known:
        raise ServiceError(f"{error}; and {name} was never served on this machine") from error
    chosen = Chosen(**known[wanted])
    if not _is_whole(repository_path(name, settings) / chosen.digest, chosen.digest):
        raise ServiceError(f"{error}; and the local files of {name} are damaged") from error
    return chosen
