"""The Kubeflow Pipelines server, by KFP's own client: runs started, looked at and stopped."""

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

Answer = TypeVar("Answer")
REQUEST_TIMEOUT_S = 30  # a health check that takes longer has failed
NAMESPACE = "toolchain"  # the chart's
SERVICE, PORT = "ml-pipeline", 8888  # KFP's API, under the name that its own parts expect
RUNS_OF_A_PAGE = 100  # KFP gives no more than 200
HEALTH = "apis/v2beta1/healthz"
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")  # states of a run that stay


@dataclass(frozen=True)
class Task:
    """A task of a run as the server knows it, some seconds late."""

    state: str  # KFP's word: PENDING, RUNNING, SUCCEEDED, SKIPPED, FAILED, CANCELED
    seconds: float  # wall clock from its start to its end; 0 before


@dataclass(frozen=True)
class Look:
    """What the server says of a run."""

    state: str  # KFP's word
    error: str
    tasks: Mapping[str, Task]  # by KFP's name of the task
    stopped: bool = False  # whether somebody asked for its end

    @property
    def ended(self) -> bool:
        return self.state in ENDED


class Away(ServiceError):
    """The server does not answer; it may be back in a minute."""


class Server:
    """The server that ``settings`` name, else the one of the cluster that the kubeconfig names."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.namespace = settings.namespace or NAMESPACE

    @property
    def name(self) -> str:
        return self.settings.endpoint or f"service {SERVICE} of namespace {self.namespace}"

    def check(self) -> None:
        """Ask the server how it is, once; KFP's client would ask five times, for half a minute, printing tracebacks.

        Raises:
            ServiceError: there is none, or it refuses.
        """
        if self.settings.endpoint:
            self._asked(self._ask_health)
        elif not kubernetes.is_configured():
            raise ServiceError(
                f"no Kubeflow Pipelines server is known: set KFP_ENDPOINT, or KUBECONFIG to its cluster, {HERE}"
            )
        elif not kubernetes.has_service(self.namespace, SERVICE):
            raise ServiceError(
                f"namespace {self.namespace} has no Kubeflow Pipelines (service {SERVICE}): make deploy, or set "
                f"KFP_NAMESPACE to where it is, {HERE}"
            )
        else:
            kubernetes.service_response(self.namespace, f"{SERVICE}:{PORT}", HEALTH)

    def start(self, pipeline: str, name: str, compiled: str, values: Mapping[str, Any], cached: bool) -> str:
        """Start ``compiled`` under ``name``, in the experiment ``pipeline``, and return the run's id.

        Raises:
            ServiceError: the server is not there, or refuses.
        """
        return self._asked(lambda: self._start(pipeline, name, compiled, values, cached))

    def look(self, run: str) -> Look:
        """Return how ``run`` is.

        Raises:
            Away: the server does not answer.
            ServiceError: it refuses, or knows no such run.
        """
        found = self._asked(lambda: self._client.get_run(run))
        details = (found.run_details and found.run_details.task_details) or []
        tasks = {detail.display_name: Task(detail.state or "", _seconds(detail)) for detail in details}
        stopped = any(status.state == "CANCELING" for status in found.state_history or [])
        return Look(found.state or "", (found.error and found.error.message) or "", tasks, stopped)

    def stop(self, run: str) -> None:
        """Ask the server to end ``run``; its pods go within seconds."""
        self._asked(lambda: self._client.terminate_run(run))

    def runs(self) -> list[Any]:
        """Return all runs as KFP's client describes them, newest first."""
        return self._all("runs", lambda **page: self._client.list_runs(sort_by="created_at desc", **page))

    def schedules(self) -> list[Any]:
        """Return all recurring runs as KFP's client describes them."""
        return self._all("recurring_runs", lambda **page: self._client.list_recurring_runs(**page))

    def schedule(self, name: str, experiment: str, compiled: str, asked: Mapping[str, Any]) -> str:
        """Create the recurring run ``name`` of ``compiled`` and return its id.

        ``asked`` has what KFP's client takes besides: cron_expression, params, max_concurrency, description, enabled.
        """
        return self._asked(lambda: self._schedule(name, experiment, compiled, asked))

    def enable(self, schedule: str, on: bool) -> None:
        """Let the recurring run ``schedule`` start runs, or no more."""
        client = self._client
        self._asked(lambda: (client.enable_recurring_run if on else client.disable_recurring_run)(schedule))

    def delete(self, run: str) -> None:
        """Let the server forget ``run`` and its cached results."""
        self._asked(lambda: self._client.delete_run(run))

    def address(self, run: str) -> str:
        """Return where ``run`` can be seen, or "" where only the cluster's inside reaches it."""
        return f"{self.settings.endpoint.rstrip('/')}/#/runs/details/{run}" if self.settings.endpoint else ""

    @cached_property
    def _client(self) -> Any:
        import kfp

        warnings.filterwarnings("ignore", category=FutureWarning, module="kfp")  # it says that it needs KFP 2
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # that the server is away is told once, by us
        return kfp.Client(
            host=self.settings.endpoint or None,
            existing_token=self.settings.token or None,
            namespace=self.namespace,
        )

    def _start(self, pipeline: str, name: str, compiled: str, values: Mapping[str, Any], cached: bool) -> str:
        client = self._client
        profile = self.settings.namespace if client.get_kfp_healthz().multi_user else ""
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):  # it prints where in its UI to look
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

    def _schedule(self, name: str, experiment: str, compiled: str, asked: Mapping[str, Any]) -> str:
        client = self._client
        profile = self.settings.namespace if client.get_kfp_healthz().multi_user else ""
        with redirect_stdout(StringIO()):  # it prints a link
            place = client.create_experiment(experiment, namespace=profile or None)
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / "pipeline.yaml"
            package.write_text(compiled, encoding="utf-8")
            made = client.create_recurring_run(
                place.experiment_id,
                name,
                pipeline_package_path=str(package),
                no_catchup=True,
                enable_caching=False,  # KFP's cache knows the address of a source, not that it has new rows by now
                **asked,
            )
        return str(made.recurring_run_id)

    def _all(self, name: str, ask: Callable[..., Any]) -> list[Any]:
        found: list[Any] = []
        page = {"page_size": RUNS_OF_A_PAGE, "page_token": ""}
        while True:
            answer = self._asked(lambda: ask(namespace=self.settings.namespace or None, **page))
            found += getattr(answer, name) or []
            page["page_token"] = answer.next_page_token or ""
            if not page["page_token"]:
                return found

    def _ask_health(self) -> None:
        headers = {"Authorization": f"Bearer {self.settings.token}"} if self.settings.token else {}
        url = f"{self.settings.endpoint.rstrip('/')}/{HEALTH}"
        response = http.request(url, headers=headers, timeout_s=REQUEST_TIMEOUT_S)
        if response.is_error:
            raise self._refusal(response.status_code, response.reason_phrase)

    def _asked(self, call: Callable[[], Answer]) -> Answer:
        """Return what ``call`` answers; what KFP's client raises becomes one line that says what to do."""
        import urllib3
        from kfp_server_api.exceptions import ApiException

        try:
            return call()
        except ApiException as error:
            raise self._refusal(error.status, error.reason) from error
        except (http.UnreachableError, urllib3.exceptions.HTTPError, OSError, ValueError, RuntimeError) as error:
            advice = f"set KFP_ENDPOINT to its URL, {HERE}"
            raise Away(f"no Kubeflow Pipelines server answers at {self.name} ({_reason(error)}); {advice}") from error

    def _refusal(self, status: int | None, reason: str) -> ServiceError:
        if status in (500, 502, 503, 504):  # its database restarts, or a proxy before it answers
            return Away(f"{self.name} is away: {status} {reason}; try again in a minute, or see its log")
        denied = "set KFP_TOKEN to a token that may create runs, and KFP_NAMESPACE to your profile"
        advice = denied if status in (401, 403) else "see its log"
        return ServiceError(f"{self.name} refuses: {status} {reason}; {advice}")


HERE = "or submit with --engine local"


def _reason(error: Exception) -> str:
    """Return the innermost words of what urllib3 raises, which tells them at the end of a long line."""
    words = (str(error).partition("\n")[0] or type(error).__name__).rstrip(")'\"")
    return words.rpartition("] ")[2] if "] " in words else words


def _seconds(detail: Any) -> float:
    began, ended = detail.start_time, detail.end_time
    return max(0.0, (ended - began).total_seconds()) if isinstance(began, datetime) and ended else 0.0
