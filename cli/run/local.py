"""Runs a pipeline on this machine: KFP's local runner in a worker process, its steps watched, timed and recorded."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from cli.compiled.cache_keys import arguments
from cli.compiled.parameters import name_parameters
from cli.compiled.plan import Plan, cached_outputs
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run.failures import reason_of
from cli.run.local_worker import EVENT
from cli.settings import Settings, step_environment
from toolchain.artifacts.folder import write_file, write_reported
from toolchain.errors import ConfigError, ToolchainError
from toolchain.redaction import redact

PLACEHOLDERS = ("{{$.pipeline_job_name}}", "{{$.pipeline_job_uuid}}")  # KFP's words for the run's own name
# Runs a step's command, then says how it ended: Kubeflow Pipelines' runner tells only whether it failed.
REPORTED = 'status=0; "$@" || status=$?; printf \'\\036["exited", "%d"]\\n\' "$status"; exit "$status"'
SECONDS_TO_CLEAR_UP = 5.0  # what an interrupted step gets before it is killed


class Watcher(Protocol):
    """What is told while a run goes on."""

    def changed(self, step: StepRecord) -> None: ...

    def said(self, step: StepRecord, line: str) -> None: ...


def begin(plan: Plan, pipeline: str, settings: Settings) -> Run:
    """Return a new run whose steps are those of ``plan``, the cached ones done already when nothing is left to run."""
    steps = [StepRecord(task.name, task.step, plan.keys[task.name]) for task in plan.spec.tasks]
    run = runs.new_run(pipeline, settings.runs, dict(plan.values), steps)
    if plan.complete:
        for step in steps:
            _finish(step, runs.SUCCEEDED, plan.results[step.task], cached=True)
        run.state = runs.SUCCEEDED
        run.save()
    return run


def execute(plan: Plan, run: Run, settings: Settings, watcher: Watcher, lock: int) -> None:
    """Run what is left of ``plan``; ``run`` says at the end how it went.

    Raises:
        ConfigError: a step refuses its settings; nothing has run.
        KeyboardInterrupt: a person stopped it; all its processes have ended.
    """
    began = time.monotonic()
    job = _write_job(plan, run, settings)
    observer = Observer(plan, run, settings, watcher)
    with _worker(job, settings, lock) as worker:
        assert worker.stdout
        try:
            for line in worker.stdout:
                observer.hear(line.rstrip("\n"))
            code = worker.wait()
        finally:
            run.seconds = round(time.monotonic() - began, 1)
            observer.stopped()
    if observer.refused:
        shutil.rmtree(run.folder)  # nothing has run, so there is nothing to keep a record of
        raise ConfigError(observer.refused)
    run.state = runs.SUCCEEDED if code == 0 else runs.FAILED
    run.save()
    if code != 0:
        observer.failed(code)
        run.save()


class Observer:
    """Follows the worker line by line and keeps the run's record and logs."""

    def __init__(self, plan: Plan, run: Run, settings: Settings, watcher: Watcher) -> None:
        self.plan, self.run, self.settings, self.watcher = plan, run, settings, watcher
        self.refused = ""
        self.broke = ""  # what kept the worker itself from going on
        self._current: StepRecord | None = None
        self._status: int | None = None  # the exit status of the step that ended last
        self._began = 0.0
        self._tasks = {task.name: task for task in plan.spec.tasks}
        self._by_component = {task.component.removeprefix("comp-"): task.name for task in plan.spec.tasks}

    def hear(self, line: str) -> None:
        """Take one line of the worker's output."""
        before, is_event, event = line.partition(EVENT)
        if is_event and not self._event(event):
            before = line
        text = before.removeprefix("    ")  # KFP indents what a step prints
        if text.strip() and self._current and self._current.state == runs.RUNNING:
            self._log(text)

    def stopped(self) -> None:
        """Record that the worker is gone; a step still at work was interrupted."""
        if self._current and self._current.state == runs.RUNNING:
            self._current.seconds = round(time.monotonic() - self._began, 2)
            self._current.state = runs.INTERRUPTED
        self.run.state = runs.INTERRUPTED
        self.run.save()

    def failed(self, code: int) -> None:
        """Record why the run failed: the step that was last at work, or the worker, which ended with ``code``."""
        step = self._current
        if self.broke:
            raise ToolchainError(f"the run cannot go on: {self.broke}")
        if step is None or step.state == runs.SUCCEEDED:
            log = self.run.folder / "logs" / "kfp.log"
            reason = reason_of(log.read_text(encoding="utf-8", errors="replace"), code)
            raise ToolchainError(f"Kubeflow Pipelines' local runner failed: {reason}; see {log}")
        log = self.log_file(step)
        step.state = runs.FAILED
        status = code if self._status is None else self._status
        reason = reason_of(log.read_text(encoding="utf-8", errors="replace"), status)
        step.error = name_parameters(reason, self._tasks[step.task].parameters)
        self.watcher.changed(step)

    def log_file(self, step: StepRecord) -> Path:
        return self.run.folder / "logs" / f"{step.step}.log"

    def _event(self, text: str) -> bool:
        """Take an event of the worker; return whether ``text`` is one, and not what a step happened to print."""
        try:
            kind, *details = json.loads(text)
        except ValueError:
            return False
        self._happened(kind, *details)
        return True

    def _happened(self, kind: str, *details: str) -> None:
        if kind == "refused":
            self.refused = details[0]
        elif kind == "broke":
            self.broke = details[0]
        elif kind == "cached":
            step = self.run.step(details[0])
            _finish(step, runs.SUCCEEDED, self.plan.results.get(step.task, {}), cached=True)
            self.watcher.changed(step)
        elif kind == "started":
            self._start(self.run.step(self._by_component[details[0]]))
        elif kind == "exited":
            self._status = int(details[0])
        elif kind == "ended" and self._current:
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
        self.watcher.said(self._current, text)


def record_outputs(plan: Plan, run: Run, settings: Settings) -> None:
    """Write down in ``run`` where the results of its finished steps are."""
    tasks = {task.name: task for task in plan.spec.tasks}
    for step in run.steps:
        if step.state == runs.SUCCEEDED:
            step.outputs = cached_outputs(tasks[step.task], step.key, settings.cache) or {}
    run.save()


def _finish(step: StepRecord, state: str, outputs: dict[str, str], cached: bool) -> None:
    step.state, step.outputs, step.cached = state, dict(outputs), cached


def _write_job(plan: Plan, run: Run, settings: Settings) -> Path:
    content = yaml.safe_dump(_with_keys(plan), sort_keys=False)
    for placeholder in PLACEHOLDERS:
        content = content.replace(placeholder, run.id)
    job = {
        "spec": content,
        "arguments": dict(plan.values),
        "configs": [
            (t.step, arguments(t, plan.values), t.parameters)
            for t in plan.spec.tasks
            if t.ours and t.name not in plan.results
        ],
        "root": str(run.folder / "artifacts"),
        "cache": str(settings.cache),
    }
    file = run.folder / "job.json"
    write_file(file, json.dumps(job).encode())
    return file


def _with_keys(plan: Plan) -> dict[str, Any]:
    """Return the compiled pipeline with our cache keys in it, for KFP's cache to use, and without a cluster's needs."""
    content: dict[str, Any] = json.loads(json.dumps(plan.spec.content))
    for executor in content["deploymentSpec"]["executors"].values():
        executor["container"].pop("resources", None)
        executor["container"]["command"] = ["sh", "-c", REPORTED, "sh", *executor["container"]["command"]]
    taken = {task.name: {**task.constants, **task.parameters, **task.inputs} for task in plan.spec.tasks}
    for name, task in content["root"]["dag"]["tasks"].items():
        task["cachingOptions"] = {"enableCache": True, "cacheKey": plan.keys[name]}
        task.pop("retryPolicy", None)  # for lost pods; here a step's own error would be tried for minutes
        given = task.get("inputs", {}).get("parameters", {})
        for parameter in given.keys() - taken[name].keys():
            del given[parameter]
    return content


@contextmanager
def _worker(job: Path, settings: Settings, lock: int) -> Iterator[subprocess.Popen[str]]:
    """Start the worker in a process group of its own; when the block ends, however it does, the whole group is gone."""
    command = [sys.executable, "-m", "cli.run.local_worker", str(job)]
    with write_reported(settings.mlflow_database):
        settings.mlflow_database.touch()
    with (job.parent / "logs" / "kfp.log").open("w") as errors:
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
    for signal_number in (
        signal.SIGINT,
        signal.SIGKILL,
    ):  # first so that a step can clear away what it has half written
        try:
            os.killpg(worker.pid, signal_number)
            worker.wait(SECONDS_TO_CLEAR_UP)
        except ProcessLookupError:
            return  # it and all its children have ended
        except subprocess.TimeoutExpired:
            continue
