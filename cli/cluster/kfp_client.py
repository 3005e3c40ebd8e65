"""Start, poll, schedule and stop runs on a Kubeflow Pipelines server, by KFP's own client."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from cli.settings import Settings
from toolchain.errors import ServiceError
from toolchain.services import http, kubernetes

Response = TypeVar("Response")
REQUEST_TIMEOUT_S = 30  # of a health check
NAMESPACE = "toolchain"  # of the chart
SERVICE, PORT = "ml-pipeline", 8888  # of KFP's API; its other components expect this name
PAGE_SIZE = 100  # KFP's maximum is 200
HEALTH = "apis/v2beta1/healthz"
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")  # final states of a run


@dataclass(frozen=True)
class TaskStatus:
    """The status of a task on the server, which is some seconds late."""

    state: str  # of KFP: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELED
    seconds: float  # wall clock from its start to its end; 0 before its end


@dataclass(frozen=True)
class RunStatus:
    """The status of a run on the server."""

    state: str  # of KFP
    error: str
    tasks: Mapping[str, TaskStatus]  # by the name of the task in KFP
    stopped: bool = False  # whether a user stopped it

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class UnavailableError(ServiceError):
    """The server does not respond; the request may be retried."""


class Server:
    """The server at the endpoint of ``settings``, or else the one in the kubeconfig's cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.namespace = settings.namespace or NAMESPACE

    @property
    def name(self) -> str:
        return self.settings.endpoint or f"service {SERVICE} of namespace {self.namespace}"

    def check(self) -> None:
        """Check that the server responds. KFP's client would retry for half a minute and print tracebacks.

        Raises:
            ServiceError: no server is known, or it does not respond, or it denies access.
        """
        if self.settings.endpoint:
            self._call(self._check_health)
        elif not kubernetes.is_configured():
            raise ServiceError("no Kubeflow Pipelines server is known: set KFP_ENDPOINT, or KUBECONFIG to its cluster")
        elif not kubernetes.has_service(self.namespace, SERVICE):
            raise ServiceError(
                f"namespace {self.namespace} has no Kubeflow Pipelines (service {SERVICE}): make deploy, or set "
                "KFP_NAMESPACE to its namespace"
            )
        else:
            kubernetes.service_response(self.namespace, f"{SERVICE}:{PORT}", HEALTH)

    def start(self, pipeline: str, name: str, compiled: str, values: Mapping[str, Any], cached: bool) -> str:
        """Start ``compiled`` under ``name``, in the experiment ``pipeline``, and return the run's ID.

        Raises:
            ServiceError: the server does not respond, or denies access.
        """
        return self._call(lambda: self._start(pipeline, name, compiled, values, cached))

    def status(self, run: str) -> RunStatus:
        """Return the status of ``run``.

        Raises:
            UnavailableError: the server does not respond.
            ServiceError: it denies access, or has no such run.
        """
        found = self._call(lambda: self._client.get_run(run))
        details = (found.run_details and found.run_details.task_details) or []
        tasks = {detail.display_name: TaskStatus(detail.state or "", _seconds(detail)) for detail in details}
        stopped = any(status.state == "CANCELING" for status in found.state_history or [])
        return RunStatus(found.state or "", (found.error and found.error.message) or "", tasks, stopped)

    def stop(self, run: str) -> None:
        """Stop ``run``; its pods end within seconds."""
        self._call(lambda: self._client.terminate_run(run))

    def runs(self) -> list[Any]:
        """Return all runs as objects of KFP's client, newest first."""
        return self._list("runs", lambda **page: self._client.list_runs(sort_by="created_at desc", **page))

    def schedules(self) -> list[Any]:
        """Return all recurring runs as objects of KFP's client."""
        return self._list("recurring_runs", lambda **page: self._client.list_recurring_runs(**page))

    def schedule(self, name: str, experiment: str, compiled: str, options: Mapping[str, Any]) -> str:
        """Create the recurring run ``name`` of ``compiled`` and return its ID.

        ``options`` of KFP's client: cron_expression, params, max_concurrency, description, enabled.
        """
        return self._call(lambda: self._schedule(name, experiment, compiled, options))

    def enable(self, schedule: str, enabled: bool) -> None:
        """Enable or disable the recurring run ``schedule``."""
        client = self._client
        self._call(lambda: (client.enable_recurring_run if enabled else client.disable_recurring_run)(schedule))

    def delete(self, run: str) -> None:
        """Delete ``run`` and its cached results from the server."""
        self._call(lambda: self._client.delete_run(run))

    def address(self, run: str) -> str:
        """Return the URL of ``run`` in the UI, or "" if it is only reachable inside the cluster."""
        return f"{self.settings.endpoint.rstrip('/')}/#/runs/details/{run}" if self.settings.endpoint else ""

    @cached_property
    def _client(self) -> Any:
        import kfp

        warnings.filterwarnings("ignore", category=FutureWarning, module="kfp")  # a warning about KFP 1
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # ``follow`` logs once that the server does not respond
        return kfp.Client(
            host=self.settings.endpoint or None,
            existing_token=self.settings.token or None,
            namespace=self.namespace,
        )

    def _start(self, pipeline: str, name: str, compiled: str, values: Mapping[str, Any], cached: bool) -> str:
        client = self._client
        profile = self.settings.namespace if client.get_kfp_healthz().multi_user else ""
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):  # it prints a link to its UI
            package = Path(folder) / f"{pipeline}.yaml"
            package.write_text(compiled, encoding="utf-8")
            run = client.create_run_from_pipeline_package(
                str(package),
                arguments=dict(values),
                run_name=name,
                experiment_name=pipeline,
                namespace=profile or None,
                enable_caching=None if cached else False,
            )
        return str(run.run_id)

    def _schedule(self, name: str, experiment: str, compiled: str, options: Mapping[str, Any]) -> str:
        client = self._client
        profile = self.settings.namespace if client.get_kfp_healthz().multi_user else ""
        with redirect_stdout(StringIO()):  # it prints a link
            created = client.create_experiment(experiment, namespace=profile or None)
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "pipeline.yaml"
            package.write_text(compiled, encoding="utf-8")
            made = client.create_recurring_run(
                created.experiment_id,
                name,
                pipeline_package_path=str(package),
                no_catchup=True,
                enable_caching=False,  # KFP's cache key covers the address of a source, not its content
                **options,
            )
        return str(made.recurring_run_id)

    def _list(self, name: str, request: Callable[..., Any]) -> list[Any]:
        """Return the items ``name`` of all pages of ``request``."""
        found: list[Any] = []
        page = {"page_size": PAGE_SIZE, "page_token": ""}
        while True:
            response = self._call(lambda: request(namespace=self.settings.namespace or None, **page))
            found += getattr(response, name) or []
            page["page_token"] = response.next_page_token or ""
            if not page["page_token"]:
                return found

    def _check_health(self) -> None:
        headers = {"Authorization": f"Bearer {self.settings.token}"} if self.settings.token else {}
        url = f"{self.settings.endpoint.rstrip('/')}/{HEALTH}"
        response = http.request(url, headers=headers, timeout_s=REQUEST_TIMEOUT_S)
        if response.is_error:
            raise self._error(response.status_code, response.reason_phrase)

    def _call(self, request: Callable[[], Response]) -> Response:
        """Return the response of ``request``; turn the exceptions of KFP's client into a ServiceError."""
        import urllib3
        from kfp_server_api.exceptions import ApiException

        try:
            return request()
        except ApiException as error:
            raise self._error(error.status, error.reason) from error
        except (http.UnreachableError, urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
            raise UnavailableError(
                f"no Kubeflow Pipelines server responds at {self.name} ({_reason(error)}); set KFP_ENDPOINT to its URL"
            ) from error

    def _error(self, status: int | None, reason: str) -> ServiceError:
        if status in (500, 502, 503, 504):  # its database or a proxy is restarting
            return UnavailableError(f"{self.name} responded {status} {reason}; try again in a minute, or see its log")
        denied = "set KFP_TOKEN to a token that may create runs, and KFP_NAMESPACE to your profile"
        hint = denied if status in (401, 403) else "see its log"
        return ServiceError(f"{self.name} responded {status} {reason}; {hint}")


def _reason(error: Exception) -> str:
    """Return the innermost message of an error of urllib3, which is the end of its first line."""
    line = (str(error).partition("\n")[0] or type(error).__name__).rstrip(")'\"")
    return line.rpartition("] ")[2]


def _seconds(detail: Any) -> float:
    began, ended = detail.start_time, detail.end_time
    return max(0.0, (ended - began).total_seconds()) if isinstance(began, datetime) and ended else 0.0
