"""Store the records of runs: pipeline, parameters, the state of each step, and the paths of its outputs."""

import fcntl
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, get_args, get_origin, get_type_hints

from cli.compiled.catalog import suggestion
from cli.state_files import read_record, warn_damaged
from toolchain.artifacts.folder import write_json, write_reported
from toolchain.errors import ConfigError, ToolchainError
from toolchain.redaction import redacted

RECORD = "run.json"
LOCK = ".lock"
LOCK_ATTEMPTS, LOCK_RETRY_S = 4, 0.02  # ``is_locked`` holds a lock for an instant, which must not fail a run
CONSEQUENCE = "that run is not listed; its artifacts and logs are in the same folder"  # of a damaged record
LOCAL, CLUSTER = "local", "cluster"  # engines
WAITING, RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "waiting", "running", "succeeded", "failed", "interrupted"
STATES = {WAITING, RUNNING, SUCCEEDED, FAILED, INTERRUPTED}
NOT_PROMOTABLE = "not promotable"  # the verdict if no variant is better than a trivial baseline


@dataclass
class StepRecord:
    """The state and the outputs of one step of a run."""

    task: str  # name in KFP
    step: str  # "stage.step"
    key: str  # cache key
    state: str = WAITING
    cached: bool = False
    seconds: float = 0.0  # wall clock, in this run: 0 if cached
    outputs: dict[str, str] = field(default_factory=dict)  # path or S3 URI by output name
    error: str = ""
    pods: list[dict[str, Any]] = field(
        default_factory=list
    )  # on a cluster: name, node, resources and times of each attempt


@dataclass
class Run:
    """One run of a pipeline, on this machine or submitted from it."""

    id: str
    pipeline: str
    folder: Path
    parameters: dict[str, Any]
    steps: list[StepRecord]
    state: str = WAITING
    started: str = ""  # UTC, ISO 8601
    seconds: float = 0.0
    verdict: str = ""  # the selected variant, once known, or NOT_PROMOTABLE
    engine: str = LOCAL
    kfp_run_id: str = ""  # on a cluster: the ID in Kubeflow Pipelines

    def step(self, task: str) -> StepRecord:
        return next(step for step in self.steps if step.task == task)

    def age(self) -> float:
        """Return the seconds since the run started."""
        return round((datetime.now(UTC) - datetime.fromisoformat(self.started)).total_seconds(), 1)

    def delete(self) -> None:
        """Remove the folder of a run that never started."""
        shutil.rmtree(self.folder)

    def save(self) -> None:
        content = {**asdict(self), "folder": "", "format": "toolchain.run"}
        write_json(self.folder / RECORD, content)


class RunInProgressError(ToolchainError):
    """Another run is in progress in the same folder."""


def new_run(pipeline: str, runs: Path, parameters: dict[str, Any], steps: list[StepRecord]) -> Run:
    """Return a new run, with a new folder."""
    now = datetime.now(UTC)
    folder = _new_folder(runs, f"{pipeline}-{now:%Y%m%d-%H%M%S}")
    started = now.isoformat(timespec="microseconds")
    run = Run(folder.name, pipeline, folder, redacted(parameters), steps, RUNNING, started)
    try:
        with write_reported(folder):
            (folder / "logs").mkdir()
        run.save()
    except BaseException:  # also an interruption
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


def _new_folder(runs: Path, prefix: str) -> Path:
    """Make a folder whose name no other run has; a short random suffix may occur twice in a second."""
    with write_reported(runs):
        while True:
            folder = runs / f"{prefix}-{secrets.token_hex(2)}"
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                continue
            return folder


def new_salt() -> str:
    """Return a unique text, for cache keys that must not match an earlier one."""
    return secrets.token_hex(16)


def all_runs(runs: Path) -> list[Run]:
    """Return every run in the folder ``runs``, newest first."""
    found = [run for path in runs.glob(f"*/{RECORD}") if (run := read_run(path))]
    in_progress = is_locked(runs / LOCK)
    newest_first = sorted(found, key=lambda run: (run.started, run.id), reverse=True)
    for position, run in enumerate(run for run in newest_first if run.engine == LOCAL):
        if run.state == RUNNING and not (in_progress and position == 0):
            _mark_interrupted(run)
    return newest_first


def find_run(runs: Path, name: str | None = None) -> Run:
    """Return the run ``name``, by default the newest.

    Raises:
        ConfigError: there is no such run.
    """
    known = all_runs(runs)
    if not known:
        raise ConfigError(f"there are no runs in {runs} yet; start one: toolchain submit bert_finetune")
    if name is None:
        return known[0]
    matching = [run for run in known if run.id == name]
    if not matching:
        raise ConfigError(
            f"there is no run {name!r}{suggestion(name, [run.id for run in known])}; toolchain runs lists all runs"
        )
    return matching[0]


@contextmanager
def run_lock(runs: Path) -> Iterator[int]:
    """Lock the folder ``runs`` during the block, and yield the file descriptor, which child processes may inherit.

    Raises:
        RunInProgressError: another run holds the lock.
    """
    with write_reported(runs):
        runs.mkdir(parents=True, exist_ok=True)
        lock = (runs / LOCK).open("a+")
    with lock as file:
        try:
            acquire(file)
        except BlockingIOError as error:
            file.seek(0)
            raise RunInProgressError(
                f"a run is in progress in {runs} ({file.read().strip() or 'process unknown'}): wait until it ends, or "
                "set TOOLCHAIN_RUNS to another folder"
            ) from error
        with write_reported(runs):
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
        yield file.fileno()


def _mark_interrupted(run: Run) -> None:
    run.state = INTERRUPTED
    for step in run.steps:
        step.state = INTERRUPTED if step.state == RUNNING else step.state


def acquire(file: IO[Any]) -> None:
    """Lock ``file`` until it is closed in this process and in every process that inherits it.

    Raises:
        BlockingIOError: another process holds it.
    """
    for attempt in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == LOCK_ATTEMPTS - 1:
                raise
        time.sleep(LOCK_RETRY_S)


def is_locked(lock: Path) -> bool:
    """Return whether a process holds ``lock``."""
    if not lock.is_file():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def read_run(path: Path) -> Run | None:
    """Return the run whose record is at ``path``; None, with a warning, if the record is damaged."""
    content = read_record(path, CONSEQUENCE)
    if content is None:
        return None
    run = _parsed(content, path.parent)
    if run is None:
        warn_damaged(path, CONSEQUENCE)
    return run


def _parsed(content: dict[str, Any], folder: Path) -> Run | None:
    """Return the run that ``content`` describes; None if a field is missing, unknown or of another type."""
    try:
        del content["format"]
        steps = [StepRecord(**step) for step in content.pop("steps")]
        run = Run(**{**content, "folder": folder, "steps": steps})
        run.age()
        return run if _is_valid(run) and all(map(_is_valid, steps)) else None
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return None


def _is_valid(record: Run | StepRecord) -> bool:
    """Return whether every field of ``record``, which was read from a file, has its type, and the state is known."""
    hints = get_type_hints(type(record))
    return record.state in STATES and all(_has_type(getattr(record, name), hint) for name, hint in hints.items())


def _has_type(value: Any, hint: Any) -> bool:
    """Return whether ``value`` has the type ``hint``, which is Any, a class, or a list or a dict of such types."""
    container, inner = get_origin(hint), get_args(hint)
    if container is list:
        return isinstance(value, list) and all(_has_type(item, inner[0]) for item in value)
    if container is dict:
        return isinstance(value, dict) and all(_has_type(item, inner[1]) for item in value.values())
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return hint is Any or isinstance(value, hint)
