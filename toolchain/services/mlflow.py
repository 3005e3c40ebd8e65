"""MLflow, by one door: runs that show training as it goes, the record of a pipeline, and the registry of models.

The server is the one that ``MLFLOW_TRACKING_URI`` names (SQLite on one machine, any server by URI); one that does not
answer is asked three times, with a line each, before a ServiceError says so. MLflow itself is imported when needed:
that takes seconds of CPU time.
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
from typing import TYPE_CHECKING, TypeVar

from toolchain.artifacts.digest import sha256_of_json
from toolchain.errors import ConfigError, ServiceError
from toolchain.progress import say

if TYPE_CHECKING:
    from mlflow import MlflowClient

Answer = TypeVar("Answer")
DEFAULT_EXPERIMENT = "toolchain"  # where MLFLOW_EXPERIMENT_NAME names none
TRIES = 3  # a server that restarts is back by the third; one that is down for good is reported soon
SECONDS_BETWEEN_TRIES = 2.0
SECONDS_TO_END = 120.0  # how long finished work waits for its last figures; making a new database takes half of it
VALUE_CHARACTERS = 500  # of a parameter; the most that every server since MLflow 1.28 takes
TAG_STEP, TAG_LIVE, TAG_CONFIG = "toolchain.step", "toolchain.live", "toolchain.config"
PARENT = "mlflow.parentRunId"  # MLflow's own tag for a nested run
PERMANENT = {  # answers that asking again does not change
    "ALREADY_EXISTS",
    "BAD_REQUEST",
    "CUSTOMER_UNAUTHORIZED",
    "ENDPOINT_NOT_FOUND",
    "INVALID_PARAMETER_VALUE",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
    "UNAUTHENTICATED",
}


def tracking_uri() -> str:
    """Return the address of the MLflow server, "" when none is named."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def default_experiment() -> str:
    """Return the experiment that runs belong to when nothing else is said."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "") or DEFAULT_EXPERIMENT


@contextmanager
def live_run(name: str, params: Mapping[str, object]) -> Iterator["LiveRun"]:
    """Show work in MLflow as it goes on; ``name`` is the step ("train.transformers"), ``params`` its Config as a dict.

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
        self.name, self.params, self.started = name, params, _now()
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
            say(f"the work goes on without being shown live: {error}")

    def _tags(self) -> dict[str, str]:
        return {TAG_STEP: self.name, TAG_LIVE: "true", TAG_CONFIG: sha256_of_json(dict(self.params))}


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    model: str
    version: str
    run: str  # the id of the run that holds its files
    source: str  # where its files are, by a URI that MLflow can read
    tags: dict[str, str]


class Tracker:
    """MLflow's runs and registry, in the few words that registration and fetching need.

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
        self._client = self._ask(lambda: _connect(self.uri))

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], started: int) -> str:
        """Return the id of a new run ``name`` that began at ``started`` (milliseconds since 1970, UTC)."""
        place = self.experiment(experiment)
        made = self._ask(lambda: self._client.create_run(place, started, dict(tags), name))
        return str(made.info.run_id)

    def experiment(self, name: str) -> str:
        """Return the id of the experiment ``name``, made when there is none."""
        found = self._ask(lambda: self._client.get_experiment_by_name(name))
        if found is not None:
            return str(found.experiment_id)
        place = _artifact_place(self.uri)
        try:
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
        words = [Param(name, _short(value)) for name, value in (params or {}).items()]
        marks = [RunTag(name, value) for name, value in (tags or {}).items()]
        for start in range(0, max(len(numbers), len(words), len(marks)), 100):  # a batch holds at most 100 of each kind
            part = slice(start, start + 100)
            self._ask(partial(self._client.log_batch, run, numbers[part], words[part], marks[part]))

    def end(self, run: str, status: str = "FINISHED", at: int | None = None) -> None:
        """End ``run`` now, or ``at`` (milliseconds since 1970, UTC)."""
        self._ask(lambda: self._client.set_terminated(run, status, at))

    def _ask(self, call: Callable[[], Answer]) -> Answer:
        return _asked(call, self.uri)


def _connect(uri: str) -> "MlflowClient":
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves for anyone but the server that was named
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # _asked tries again, and says so
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


def _asked(call: Callable[[], Answer], uri: str) -> Answer:
    """Return what ``call`` answers, asked up to ``TRIES`` times while the server is away or ill."""
    from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_fixed

    def tell(state: RetryCallState) -> None:
        say(f"MLflow at {_shown(uri)} does not answer, asking again ({state.attempt_number}/{TRIES - 1})")

    retrying = Retrying(
        stop=stop_after_attempt(TRIES),
        wait=wait_fixed(SECONDS_BETWEEN_TRIES),
        retry=retry_if_exception(_is_passing),
        before_sleep=tell,
        reraise=True,
    )
    try:
        return retrying(call)
    except Exception as error:
        raise _explained(error, uri) from error


def _is_passing(error: BaseException) -> bool:
    code = getattr(error, "error_code", None)  # an MlflowException has one
    return isinstance(error, OSError) if code is None else code not in PERMANENT and "out-of-date" not in str(error)


def _explained(error: Exception, uri: str) -> ServiceError:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    if isinstance(error, ModuleNotFoundError):
        return ServiceError(f"{_shown(uri)} needs the whole of MLflow, and {error.name} is not installed here")
    if _is_passing(error):
        return ServiceError(f"MLflow at {_shown(uri)} does not answer; start it, then submit again ({first_line})")
    return ServiceError(f"MLflow at {_shown(uri)} refuses: {first_line}")


def _shown(uri: str) -> str:
    """Return ``uri`` without the name and password that it may hold."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rsplit('@', 1)[-1]}"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def _now() -> int:
    return int(time.time() * 1000)
