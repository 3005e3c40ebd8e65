"""Run a pipeline on this machine, by KFP's local runner in a worker process, and record its steps."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import yaml

from cli.compiled.cache_keys import arguments
from cli.compiled.parameters import name_parameters
from cli.compiled.plan import Plan, cached_outputs
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.failures import failure_reason
from cli.run.local_worker import EVENT
from cli.settings import Settings, step_environment
from toolchain.artifacts.folder import write_reported
from toolchain.errors import ConfigError, ToolchainError
from toolchain.redaction import redact

PLACEHOLDERS = ("{{$.pipeline_job_name}}", "{{$.pipeline_job_uuid}}")  # KFP's placeholders for the name of the run
# Runs a step's command and prints its exit status: KFP's runner reports only whether it failed.
REPORT_STATUS = 'status=0; "$@" || status=$?; printf \'\\036["exited", "%d"]\\n\' "$status"; exit "$status"'
SHUTDOWN_TIMEOUT_S = 5.0  # for an interrupted step, before it is killed


class Watcher(Protocol):
    """Receives the events of a run."""

    def changed(self, step: StepRecord) -> None:
        """Receive a new state of ``step``."""

    def printed(self, step: StepRecord, line: str) -> None:
        """Receive a line that ``step`` printed."""


def begin(plan: Plan, pipeline: str, settings: Settings) -> Run:
    """Return a new run of ``plan``, which has succeeded already if every step is cached."""
    steps = [StepRecord(task.name, task.step, plan.keys[task.name]) for task in plan.spec.tasks]
    run = runs.new_run(pipeline, settings.runs, dict(plan.values), steps)
    if plan.complete:
        for step in steps:
            _finish(step, runs.SUCCEEDED, plan.results[step.task], cached=True)
        run.state = runs.SUCCEEDED
        run.save()
    return run


def execute(plan: Plan, run: Run, settings: Settings, watcher: Watcher, lock: int) -> None:
    """Run the steps of ``plan`` that are not cached, and record the result in ``run``.

    Raises:
        ConfigError: a setting of a step is not valid; no step has run.
        KeyboardInterrupt: the user interrupted it; all its processes have ended.
    """
    began = time.monotonic()
    job = _job(plan, run, settings)
    observer = Observer(plan, run, settings, watcher)
    with _worker(run, settings, lock) as worker:
        assert worker.stdout
        try:
            _send(job, worker)
            for line in worker.stdout:
                observer.handle_line(line.rstrip("\n"))
            code = worker.wait()
        finally:
            run.seconds = round(time.monotonic() - began, 1)
            observer.record_stop()
    if observer.config_error:
        run.delete()
        raise ConfigError(observer.config_error)
    run.state = runs.SUCCEEDED if code == 0 else runs.FAILED
    run.save()
    if code != 0:
        observer.record_failure(code)
        run.save()


class Observer:
    """Updates the run's record and logs from the lines that the worker prints."""

    def __init__(self, plan: Plan, run: Run, settings: Settings, watcher: Watcher) -> None:
        self.plan, self.run, self.settings, self.watcher = plan, run, settings, watcher
        self.config_error = ""  # the setting that is not valid
        self.disk_fault = ""  # of the worker itself
        self._current: StepRecord | None = None
        self._status: int | None = None  # exit status of the last step
        self._began = 0.0
        self._tasks = {task.name: task for task in plan.spec.tasks}
        self._by_component = {task.component.removeprefix("comp-"): task.name for task in plan.spec.tasks}

    def handle_line(self, line: str) -> None:
        """Handle a line of the worker: an event, or output of the current step."""
        before, is_event, event = line.partition(EVENT)
        if is_event and not self._handle_event(event):
            before = line
        text = before.removeprefix("    ")  # KFP indents the output of a step
        if text.strip() and self._current and self._current.state == runs.RUNNING:
            self._log(text)

    def record_stop(self) -> None:
        """Record that the worker has ended; a step that is still running was interrupted."""
        if self._current and self._current.state == runs.RUNNING:
            self._current.seconds = round(time.monotonic() - self._began, 2)
            self._current.state = runs.INTERRUPTED
        self.run.state = runs.INTERRUPTED
        self.run.save()

    def record_failure(self, code: int) -> None:
        """Record why the run failed, by its last step, or by the worker's exit status ``code``."""
        step = self._current
        if self.disk_fault:
            raise ToolchainError(f"the run cannot continue: {self.disk_fault}")
        if step is None or step.state == runs.SUCCEEDED:
            log = self.run.folder / "logs" / "kfp.log"
            reason = failure_reason(log.read_text(encoding="utf-8", errors="replace"), code)
            raise ToolchainError(f"Kubeflow Pipelines' local runner failed: {reason}; see {log}")
        log = self.log_file(step)
        step.state = runs.FAILED
        status = code if self._status is None else self._status
        reason = failure_reason(log.read_text(encoding="utf-8", errors="replace"), status)
        step.error = name_parameters(reason, self._tasks[step.task].parameters)
        self.watcher.changed(step)

    def log_file(self, step: StepRecord) -> Path:
        return self.run.folder / "logs" / f"{step.step}.log"

    def _handle_event(self, text: str) -> bool:
        """Handle an event of the worker; return False if ``text`` is no event, but output of a step."""
        try:
            event, *details = json.loads(text)
        except ValueError:
            return False
        self._dispatch(event, *details)
        return True

    def _dispatch(self, event: str, *details: str) -> None:
        if event == "config_error":
            self.config_error = details[0]
        elif event == "disk_fault":
            self.disk_fault = details[0]
        elif event == "cached":
            step = self.run.step(details[0])
            _finish(step, runs.SUCCEEDED, self.plan.results.get(step.task, {}), cached=True)
            self.watcher.changed(step)
        elif event == "started":
            self._start(self.run.step(self._by_component[details[0]]))
        elif event == "exited":
            self._status = int(details[0])
        elif event == "ended" and self._current:
            self._end(self._current, details[1] == "SUCCESS")

    def _start(self, step: StepRecord) -> None:
        self._current, self._began, self._status = step, time.monotonic(), None
        self.log_file(step).touch()
        step.state = runs.RUNNING
        self.run.save()
        self.watcher.changed(step)

    def _end(self, step: StepRecord, succeeded: bool) -> None:
        step.seconds = round(time.monotonic() - self._began, 2)
        step.state = runs.SUCCEEDED if succeeded else runs.FAILED
        self.run.save()
        if succeeded:
            self.watcher.changed(step)

    def _log(self, text: str) -> None:
        assert self._current
        with self.log_file(self._current).open("a", encoding="utf-8") as log:
            log.write(redact(text) + "\n")
        self.watcher.printed(self._current, text)


def record_outputs(plan: Plan, run: Run, settings: Settings) -> None:
    """Record the output paths of the successful steps of ``run``."""
    tasks = {task.name: task for task in plan.spec.tasks}
    for step in run.steps:
        if step.state == runs.SUCCEEDED:
            step.outputs = cached_outputs(tasks[step.task], step.key, settings.cache) or {}
    run.save()


def _finish(step: StepRecord, state: str, outputs: dict[str, str], cached: bool) -> None:
    step.state, step.outputs, step.cached = state, dict(outputs), cached


def _job(plan: Plan, run: Run, settings: Settings) -> str:
    """Return the job of the worker, as one line of JSON."""
    content = yaml.safe_dump(_with_keys(plan), sort_keys=False)
    for placeholder in PLACEHOLDERS:
        content = content.replace(placeholder, run.id)
    job = {
        "spec": content,
        "arguments": dict(plan.values),
        "configs": [
            (t.step, arguments(t, plan.values), t.parameters)
            for t in plan.spec.tasks
            if t.is_step and t.name not in plan.results
        ],
        "root": str(run.folder / "artifacts"),
        "cache": str(settings.cache),
    }
    return json.dumps(job)


def _send(job: str, worker: subprocess.Popen[str]) -> None:
    """Send ``job`` through a pipe: its arguments may contain secrets in URLs, which no file may keep."""
    assert worker.stdin
    with suppress(BrokenPipeError):  # the worker has failed already: its exit status and log are reported
        worker.stdin.write(job + "\n")
        worker.stdin.flush()


def _with_keys(plan: Plan) -> dict[str, Any]:
    """Return the compiled pipeline with our cache keys, and without resources and retries, which need a cluster."""
    content: dict[str, Any] = json.loads(json.dumps(plan.spec.content))
    # If a component has the name of its pipeline, KFP runs this component only and does not use its cache, from which
    # ``record_outputs`` reads the outputs.
    content["pipelineInfo"]["name"] += "-pipeline"
    for executor in content["deploymentSpec"]["executors"].values():
        executor["container"].pop("resources", None)
        executor["container"]["command"] = ["sh", "-c", REPORT_STATUS, "sh", *executor["container"]["command"]]
    declared = {task.name: {**task.constants, **task.parameters, **task.inputs} for task in plan.spec.tasks}
    for name, task in content["root"]["dag"]["tasks"].items():
        task["cachingOptions"] = {"enableCache": True, "cacheKey": plan.keys[name]}
        task.pop(
            "retryPolicy", None
        )  # they are for lost pods; an error of the step itself would be retried for minutes
        given = task.get("inputs", {}).get("parameters", {})
        for parameter in given.keys() - declared[name].keys():
            del given[parameter]
    return content


@contextmanager
def _worker(run: Run, settings: Settings, lock: int) -> Iterator[subprocess.Popen[str]]:
    """Start the worker in a new process group, which is ended with all its processes when the block ends."""
    command = [sys.executable, "-m", "cli.run.local_worker"]
    with write_reported(settings.mlflow_database):
        settings.mlflow_database.touch()
    with (run.folder / "logs" / "kfp.log").open("w") as errors:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            env=step_environment(settings),
            start_new_session=True,
            pass_fds=[lock],
        )
        try:
            yield worker
        finally:
            _end_group(worker)


def _end_group(worker: subprocess.Popen[str]) -> None:
    for signal_number in (signal.SIGINT, signal.SIGKILL):  # the first lets a step remove incomplete files
        try:
            os.killpg(worker.pid, signal_number)
            worker.wait(SHUTDOWN_TIMEOUT_S)
        except ProcessLookupError:
            return  # all processes have ended
        except subprocess.TimeoutExpired:
            continue
