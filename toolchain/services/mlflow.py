"""MLflow, by one door: runs that show training as it goes, the record of a pipeline, and the registry of models.

The server is the one that ``MLFLOW_TRACKING_URI`` names (SQLite on one machine, any server by URI); one that does not
answer is asked again for two minutes, with a line each, before a ServiceError says so. MLflow itself is imported when
needed: that takes seconds of CPU time.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from toolchain.artifacts.digest import sha256_of_json
from toolchain.errors import ConfigError, ServiceError
from toolchain.progress import log_info
from toolchain.redaction import redact, redacted
from toolchain.services.mlflow_retry import ask, shown

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Answer = TypeVar("Answer")
DEFAULT_EXPERIMENT = "toolchain"  # where MLFLOW_EXPERIMENT_NAME names none
SECONDS_TO_END = 120.0  # how long finished work waits for its last figures; making a new database takes half of it
FOUND_ON_A_PAGE = 1000  # models or versions; MLflow gives no more models at once
VALUE_CHARACTERS = 500  # of a parameter; the most that every server since MLflow 1.28 takes
TAG_STEP, TAG_LIVE, TAG_CONFIG = "toolchain.step", "toolchain.live", "toolchain.config"
TAG_PATH = "path"  # of a version: where its files are in its run's artifacts
PARENT = "mlflow.parentRunId"  # MLflow's own tag for a nested run


def tracking_uri() -> str:
    """Return the address of the MLflow server, "" when none is named."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def default_experiment() -> str:
    """Return the experiment that runs belong to when nothing else is said."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "") or DEFAULT_EXPERIMENT


@contextmanager
def live_run(name: str, params: Mapping[str, object]) -> Iterator["LiveRun"]:
    """Show work in MLflow as it goes on; ``name`` is the step ("train.torch_text"), ``params`` its Config as a dict.

    Registration later finds the run by the step's name and its start, and takes it as the step's nested run. Without
    ``MLFLOW_TRACKING_URI`` nothing happens. Figures are sent in the background and an MLflow that is down is only
    reported: work that takes minutes must neither wait for nor fail with its spectators.
    """
    run = LiveRun(name, params)
    sender = Thread(target=run.send, daemon=True)
    if tracking_uri():
        sender.start()
    status = "KILLED"  # what a Ctrl-C leaves
    try:
        yield run
        status = "FINISHED"
    except Exception:
        status = "FAILED"
        raise
    finally:
        run.end(status)
        if sender.is_alive():
            sender.join(SECONDS_TO_END)


class LiveRun:
    """Work in progress as MLflow shows it; made by ``live_run``."""

    def __init__(self, name: str, params: Mapping[str, object]) -> None:
        self.name, self.params, self.started = name, redacted(params), _now()
        self._queue: SimpleQueue[tuple[int, int, dict[str, float]] | str] = SimpleQueue()

    def log(self, step: int, **metrics: float) -> None:
        """Record ``metrics`` at ``step`` (batches or epochs done); returns at once."""
        self._queue.put((step, _now(), metrics))

    def end(self, status: str) -> None:
        """Say how it ended: "FINISHED", "FAILED" or "KILLED"."""
        self._queue.put(status)

    def send(self) -> None:
        """Bring everything to MLflow until the end; meant for a thread of its own."""
        try:
            tracker = Tracker()
            run = tracker.create_run(default_experiment(), self.name, self._tags(), self.started)
            tracker.log(run, params=self.params)
            while not isinstance(item := self._queue.get(), str):
                step, at, metrics = item
                tracker.log(run, metrics=metrics, step=step, at=at)
            tracker.end(run, item)
        except ServiceError as error:
            log_info(f"the work goes on without being shown live: {error}")

    def _tags(self) -> dict[str, str]:
        return {TAG_STEP: self.name, TAG_LIVE: "true", TAG_CONFIG: sha256_of_json(dict(self.params))}


@dataclass(frozen=True)
class Run:
    id: str
    tags: dict[str, str]
    started: int  # milliseconds since 1970, UTC


@dataclass(frozen=True)
class Version:
    """One version of a registered model; its files are below ``path`` in the artifacts of ``run``."""

    model: str
    number: str
    run: str
    path: str
    tags: dict[str, str]


class Tracker:
    """MLflow's runs and registry, in the few words that registering and fetching need.

    Raises:
        ConfigError: no server is named.
        ServiceError: from every method, when the server does not answer or refuses.
    """

    def __init__(self) -> None:
        self.uri = tracking_uri()
        if not self.uri:
            raise ConfigError(
                "MLFLOW_TRACKING_URI is not set; name an MLflow server (sqlite:////path/mlflow.db, https://…)"
            )
        self.shown = shown(self.uri)
        self._client = self._ask(lambda: _connect(self.uri))

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        """Return the id of a new run ``name`` that began now, or at ``started`` (milliseconds since 1970, UTC)."""
        place = self.experiment(experiment)
        made = self._ask(lambda: self._client.create_run(place, started or _now(), dict(tags), name))
        return str(made.info.run_id)

    def runs(self, tags: Mapping[str, str], experiment: str = "") -> list[Run]:
        """Return the runs that have all ``tags``, newest first, in ``experiment`` or anywhere."""
        wanted = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        everywhere = [] if experiment else self._ask(self._client.search_experiments)
        places = [self.experiment(experiment)] if experiment else [place.experiment_id for place in everywhere]
        found = self._ask(lambda: list(self._client.search_runs(places, wanted, max_results=1000)))
        return [Run(run.info.run_id, dict(run.data.tags), int(run.info.start_time)) for run in found]

    def upload(self, run: str, folder: Path, path: str) -> None:
        """Put the files of ``folder`` below ``path`` into the artifacts of ``run``."""
        self._ask(lambda: self._client.log_artifacts(run, str(folder), path))

    def download(self, run: str, path: str, folder: Path) -> Path:
        """Return where below ``folder`` the file or folder ``path`` of the artifacts of ``run`` now is."""

        def attempt() -> str:
            from mlflow.exceptions import MlflowException

            try:
                return str(self._client.download_artifacts(run, path, str(folder)))
            except MlflowException as error:  # MLflow says so of any failure, a connection that was lost too
                if error.error_code == "RESOURCE_DOES_NOT_EXIST" and self._lists(run, path):
                    raise ConnectionError(f"{path} of run {run} is there and could not be fetched") from error
                raise

        return Path(self._ask(attempt))

    def holds(self, run: str, path: str) -> bool:
        """Return whether the artifacts of ``run`` hold the file ``path``."""
        return self._ask(lambda: self._lists(run, path))

    def _lists(self, run: str, path: str) -> bool:
        folder = path.rpartition("/")[0]
        return any(str(one.path) == path for one in self._client.list_artifacts(run, folder or None))

    def models(self) -> list[str]:
        """Return the names of all registered models."""
        return [str(model.name) for model in self._all(self._client.search_registered_models)]

    def versions(self, model: str) -> list[Version]:
        """Return the versions of ``model``, oldest first; none when there is no such model."""
        found = self._all(self._client.search_model_versions, f"name = '{model}'")
        return sorted((_version(one) for one in found), key=lambda one: int(one.number))

    def add_version(self, model: str, run: str, path: str, tags: Mapping[str, str], description: str) -> Version:
        """Return a new version of ``model`` (made when there is none) whose files are at ``path`` of ``run``."""
        self._make_model(model)
        source = f"{self._ask(lambda: self._client.get_run(run)).info.artifact_uri}/{path}"
        marks = {**tags, TAG_PATH: path}
        return _version(
            self._ask(lambda: self._client.create_model_version(model, source, run, marks, description=description))
        )

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set ``tags`` of ``version``; those that it has already cost nothing."""
        for name, value in tags.items():
            if version.tags.get(name) != value:
                self._ask(partial(self._client.set_model_version_tag, version.model, version.number, name, value))

    def point(self, model: str, alias: str, number: str) -> None:
        """Let ``alias`` of ``model`` point at version ``number``."""
        self._ask(lambda: self._client.set_registered_model_alias(model, alias, number))

    def aliased(self, model: str, alias: str) -> str:
        """Return the number of the version that ``alias`` of ``model`` points at."""
        return str(self._ask(lambda: self._client.get_model_version_by_alias(model, alias)).version)

    def aliases(self, model: str) -> dict[str, str]:
        """Return the number of the version that each alias of ``model``, which is there, points at."""
        found = self._ask(lambda: self._client.get_registered_model(model))
        return {str(alias): str(number) for alias, number in found.aliases.items()}

    def experiment(self, name: str) -> str:
        """Return the id of the experiment ``name``, made when there is none."""
        found = self._ask(lambda: self._client.get_experiment_by_name(name))
        if found is None:
            try:
                place = _artifact_place(self.uri)
                return str(self._ask(lambda: self._client.create_experiment(name, artifact_location=place)))
            except ServiceError:  # another process may have made it in between
                found = self._ask(lambda: self._client.get_experiment_by_name(name))
                if found is None:
                    raise
        return str(found.experiment_id)

    def log(
        self,
        run: str,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        at: int | None = None,
    ) -> None:
        """Record values of ``run``; ``at`` in milliseconds since 1970, UTC. The same values twice change nothing."""
        from mlflow.entities import Metric, Param, RunTag

        when = _now() if at is None else at
        numbers = [Metric(name, float(value), when, step) for name, value in (metrics or {}).items()]
        words = [Param(name, _short(redacted(value))) for name, value in (params or {}).items()]
        marks = [RunTag(name, redact(value)) for name, value in (tags or {}).items()]
        for start in range(0, max(len(numbers), len(words), len(marks)), 100):  # a batch holds at most 100 of each kind
            part = slice(start, start + 100)
            self._ask(partial(self._client.log_batch, run, numbers[part], words[part], marks[part]))

    def end(self, run: str, status: str = "FINISHED", at: int | None = None) -> None:
        """End ``run`` now, or ``at`` (milliseconds since 1970, UTC)."""
        self._ask(lambda: self._client.set_terminated(run, status, at))

    def _make_model(self, name: str) -> None:
        """Make the registered model ``name`` unless it is there."""

        def is_there() -> bool:
            return bool(self._ask(lambda: self._client.search_registered_models(f"name = '{name}'")))

        if is_there():
            return
        try:
            self._ask(lambda: self._client.create_registered_model(name))
        except ServiceError:  # another process may have made it in between
            if not is_there():
                raise

    def _all(self, search: Callable[..., Any], wanted: str = "") -> list[Any]:
        """Return all that ``search`` finds, page by page: what is left out would be taken for not registered."""
        found: list[Any] = []
        page = self._ask(lambda: search(wanted, max_results=FOUND_ON_A_PAGE))
        while page.token:
            found += page
            page = self._ask(partial(search, wanted, max_results=FOUND_ON_A_PAGE, page_token=page.token))
        return [*found, *page]

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        return ask(call, self.uri)


def _version(found: "ModelVersion") -> Version:
    tags = {str(name): str(value) for name, value in found.tags.items()}
    return Version(found.name, str(found.version), str(found.run_id), tags.get(TAG_PATH, ""), tags)


def _connect(uri: str) -> "MlflowClient":
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves for anyone but the server that was named
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # ask() tries again, and says so
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds; enough for a server that hands a large file on to S3
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the making of a database's tables is nobody's news
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing it sets its own
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _artifact_place(uri: str) -> str | None:
    """Return where a new experiment keeps files: beside the database on one machine; elsewhere the server decides."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def _now() -> int:
    return int(time.time() * 1000)
