"""Record runs of steps and pipelines in MLflow, and use its model registry.

``MLFLOW_TRACKING_URI`` names the server (SQLite on one machine, any server by URI). Requests are retried for two
minutes, with a log line each, before a ServiceError. MLflow is imported when needed: that takes seconds of CPU time.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from toolchain.errors import ConfigError, ServiceError
from toolchain.redaction import redact, redacted
from toolchain.services.mlflow_retry import call_with_retries, without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

Result = TypeVar("Result")
DEFAULT_EXPERIMENT = "toolchain"  # without MLFLOW_EXPERIMENT_NAME
PAGE_SIZE = 1000  # models or versions; the most that MLflow returns at once
MAX_VALUE_CHARACTERS = 500  # of a parameter; the most that every server since MLflow 1.28 accepts
TAG_STEP, TAG_LIVE, TAG_CONFIG = "toolchain.step", "toolchain.live", "toolchain.config"
TAG_PATH = "path"  # of a version: where its files are in its run's artifacts
PARENT = "mlflow.parentRunId"  # MLflow's own tag for a nested run


def tracking_uri() -> str:
    """Return the address of the MLflow server, "" without one."""
    return os.environ.get("MLFLOW_TRACKING_URI", "")


def default_experiment() -> str:
    """Return the experiment of runs that name none."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "") or DEFAULT_EXPERIMENT


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
    """A client of MLflow's runs and model registry.

    Args:
        uri: The address of the server, by default that of MLFLOW_TRACKING_URI.

    Raises:
        ConfigError: MLFLOW_TRACKING_URI is not set.
        ServiceError: from every method: the server does not respond, or rejects the request.
    """

    def __init__(self, uri: str = "") -> None:
        self.uri = uri or tracking_uri()
        if not self.uri:
            raise ConfigError(
                "MLFLOW_TRACKING_URI is not set; set it to an MLflow server (sqlite:////path/mlflow.db, https://…)"
            )
        self.shown = without_credentials(self.uri)
        self._client = self._call(lambda: _connect(self.uri))

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str], started: int | None = None) -> str:
        """Return the id of a new run ``name`` that started now, or at ``started`` (milliseconds since 1970, UTC)."""
        experiment_id = self.experiment(experiment)
        made = self._call(lambda: self._client.create_run(experiment_id, started or _now(), dict(tags), name))
        return str(made.info.run_id)

    def runs(self, tags: Mapping[str, str], experiment: str = "") -> list[Run]:
        """Return the runs that have all ``tags``, newest first, in ``experiment`` or anywhere."""
        wanted = " and ".join(f"tags.`{name}` = {_quoted(value)}" for name, value in tags.items())
        everywhere = [] if experiment else self._call(self._client.search_experiments)
        ids = [self.experiment(experiment)] if experiment else [found.experiment_id for found in everywhere]
        found = self._call(lambda: list(self._client.search_runs(ids, wanted, max_results=1000)))
        return [Run(run.info.run_id, dict(run.data.tags), int(run.info.start_time)) for run in found]

    def upload(self, run: str, folder: Path, path: str) -> None:
        """Put the files of ``folder`` below ``path`` into the artifacts of ``run``."""
        self._call(lambda: self._client.log_artifacts(run, str(folder), path))

    def download(self, run: str, path: str, folder: Path) -> Path:
        """Download the file or folder ``path`` of the artifacts of ``run`` to ``folder``; return its path there."""

        def attempt() -> str:
            from mlflow.exceptions import MlflowException

            try:
                return str(self._client.download_artifacts(run, path, str(folder)))
            except MlflowException as error:  # MLflow raises it for any failure, a lost connection too
                if error.error_code == "RESOURCE_DOES_NOT_EXIST" and self._lists(run, path):
                    raise ConnectionError(f"{path} of run {run} exists but could not be downloaded") from error
                raise

        return Path(self._call(attempt))

    def has_artifact(self, run: str, path: str) -> bool:
        """Return whether the artifacts of ``run`` hold the file ``path``."""
        return self._call(lambda: self._lists(run, path))

    def _lists(self, run: str, path: str) -> bool:
        folder = path.rpartition("/")[0]
        return any(str(one.path) == path for one in self._client.list_artifacts(run, folder or None))

    def models(self) -> list[str]:
        """Return the names of all registered models."""
        return [str(model.name) for model in self._all(self._client.search_registered_models)]

    def versions(self, model: str) -> list[Version]:
        """Return the versions of ``model``, oldest first; none when there is no such model."""
        found = self._all(self._client.search_model_versions, f"name = {_quoted(model)}")
        return sorted((_version(one) for one in found), key=lambda one: int(one.number))

    def add_version(self, model: str, run: str, path: str, tags: Mapping[str, str], description: str) -> Version:
        """Return a new version of ``model`` (created when it is missing) whose files are at ``path`` of ``run``."""
        self._create_model(model)
        source = f"{self._call(lambda: self._client.get_run(run)).info.artifact_uri}/{path}"
        marks = {**tags, TAG_PATH: path}
        return _version(
            self._call(lambda: self._client.create_model_version(model, source, run, marks, description=description))
        )

    def tag_version(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set ``tags`` of ``version``; unchanged ones send no request."""
        for name, value in tags.items():
            if version.tags.get(name) != value:
                self._call(partial(self._client.set_model_version_tag, version.model, version.number, name, value))

    def set_alias(self, model: str, alias: str, number: str) -> None:
        """Set ``alias`` of ``model`` to version ``number``."""
        self._call(lambda: self._client.set_registered_model_alias(model, alias, number))

    def version_of_alias(self, model: str, alias: str) -> str:
        """Return the number of the version that ``alias`` of ``model`` points at."""
        return str(self._call(lambda: self._client.get_model_version_by_alias(model, alias)).version)

    def aliases(self, model: str) -> dict[str, str]:
        """Return the number of the version that each alias of ``model``, which exists, points at."""
        found = self._call(lambda: self._client.get_registered_model(model))
        return {str(alias): str(number) for alias, number in found.aliases.items()}

    def experiment(self, name: str) -> str:
        """Return the id of the experiment ``name``, created when it is missing."""
        found = self._call(lambda: self._client.get_experiment_by_name(name))
        if found is None:
            try:
                location = _artifact_location(self.uri)
                return str(self._call(lambda: self._client.create_experiment(name, artifact_location=location)))
            except ServiceError:  # another process may have created it in between
                found = self._call(lambda: self._client.get_experiment_by_name(name))
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
        parameters = [Param(name, _short(redacted(value))) for name, value in (params or {}).items()]
        marks = [RunTag(name, redact(value)) for name, value in (tags or {}).items()]
        for start in range(0, max(len(numbers), len(parameters), len(marks)), 100):  # a batch holds at most 100 of each
            part = slice(start, start + 100)
            self._call(partial(self._client.log_batch, run, numbers[part], parameters[part], marks[part]))

    def end(self, run: str, status: str = "FINISHED", at: int | None = None) -> None:
        """End ``run`` now, or ``at`` (milliseconds since 1970, UTC)."""
        self._call(lambda: self._client.set_terminated(run, status, at))

    def _create_model(self, name: str) -> None:
        """Create the registered model ``name`` unless it exists."""

        def exists() -> bool:
            return bool(self._call(lambda: self._client.search_registered_models(f"name = {_quoted(name)}")))

        if exists():
            return
        try:
            self._call(lambda: self._client.create_registered_model(name))
        except ServiceError:  # another process may have created it in between
            if not exists():
                raise

    def _all(self, search: Callable[..., Any], wanted: str = "") -> list[Any]:
        """Return all results of ``search``, page by page: a missing one would count as not registered."""
        found: list[Any] = []
        page = self._call(lambda: search(wanted, max_results=PAGE_SIZE))
        while page.token:
            found += page
            page = self._call(partial(search, wanted, max_results=PAGE_SIZE, page_token=page.token))
        return [*found, *page]

    def _call(self, call: Callable[[], Result]) -> Result:
        return call_with_retries(call, self.uri)


def _version(found: "ModelVersion") -> Version:
    tags = {str(name): str(value) for name, value in found.tags.items()}
    return Version(found.name, str(found.version), str(found.run_id), tags.get(TAG_PATH, ""), tags)


def _connect(uri: str) -> "MlflowClient":
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",  # send nothing to anyone but the named server
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # call_with_retries() retries, and logs it
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",  # seconds; enough for a server that forwards a large file to S3
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # hide the creation of database tables
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # importing it sets its own
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _artifact_location(uri: str) -> str | None:
    """Return the artifact location of a new experiment: beside a SQLite database; None lets the server decide."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()


def _quoted(text: str) -> str:
    """Return ``text`` as a literal of MLflow's filters, which have two quotation marks and no escape for them."""
    if "'" not in text:
        return f"'{text}'"
    if '"' in text:
        raise ConfigError(f"{text!r} has both quotation marks, which MLflow cannot search for; use another name")
    return f'"{text}"'


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


def _now() -> int:
    return int(time.time() * 1000)
