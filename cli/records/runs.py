"""Records of runs: what was run, how each step went, where its results are."""

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from cli.compiled.catalog import suggestion
from cli.state_files import read_record, warn_damaged
from toolchain.artifacts.folder import write_json, write_reported
from toolchain.errors import ConfigError, ToolchainError
from toolchain.redaction import redacted

RECORD = "run.json"
LOCK = ".lock"
ATTEMPTS, SECONDS_OF_A_LOOK = 4, 0.02  # ``is_locked`` holds a lock for an instant, which must refuse nobody
UNREADABLE = "that run is not listed; its artifacts and logs are beside it"
LOCAL, CLUSTER = "local", "cluster"  # where a run is at work
WAITING, RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "waiting", "running", "succeeded", "failed", "interrupted"
NOT_PROMOTABLE = "not promotable"  # the verdict where no variant is better than a baseline that has learned nothing


@dataclass
class StepRecord:
    """How one step of a run went."""

    task: str  # KFP's name of it
    step: str  # "stage.step"
    key: str  # its cache key
    state: str = WAITING
    cached: bool = False
    seconds: float = 0.0  # wall clock; of this run, so about 0 when cached
    outputs: dict[str, str] = field(default_factory=dict)  # path by output name
    error: str = ""
    pods: list[dict[str, Any]] = field(default_factory=list)  # on a cluster: each attempt's name, node, needs and times


@dataclass
class Run:
    """One run of a pipeline, on this machine or sent from it."""

    id: str
    pipeline: str
    folder: Path
    parameters: dict[str, Any]
    steps: list[StepRecord]
    state: str = WAITING
    started: str = ""  # UTC, ISO 8601
    seconds: float = 0.0
    verdict: str = ""  # the winning variant, once known, or NOT_PROMOTABLE
    engine: str = LOCAL
    kfp: str = ""  # on a cluster: its id there

    def step(self, task: str) -> StepRecord:
        return next(step for step in self.steps if step.task == task)

    def output(self, step: str, name: str) -> Path | None:
        """Return the path of the output ``name`` of "stage.step", or None where the run has none (yet)."""
        paths = [record.outputs[name] for record in self.steps if record.step == step and name in record.outputs]
        return Path(paths[0]) if paths and Path(paths[0]).exists() else None

    def age(self) -> float:
        """Return the seconds since it started."""
        return round((datetime.now(UTC) - datetime.fromisoformat(self.started)).total_seconds(), 1)

    def forget(self) -> None:
        """Remove its record: nothing of it has run."""
        shutil.rmtree(self.folder)

    def save(self) -> None:
        content = {**asdict(self), "folder": "", "format": "toolchain.run"}
        write_json(self.folder / RECORD, content)


class Busy(ToolchainError):
    """Another run is under way in the same folder."""


def new_run(pipeline: str, runs: Path, parameters: dict[str, Any], steps: list[StepRecord]) -> Run:
    """Return a new run with a folder of its own."""
    now = datetime.now(UTC)
    name = f"{pipeline}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    folder = runs / name
    run = Run(name, pipeline, folder, redacted(parameters), steps, RUNNING, now.isoformat(timespec="microseconds"))
    try:
        with write_reported(folder):
            (folder / "logs").mkdir(parents=True)
        run.save()
    except ToolchainError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return run


def fresh_salt() -> str:
    """Return a word that was never used before, for keys that must match nothing."""
    return secrets.token_hex(16)


def all_runs(runs: Path) -> list[Run]:
    """Return every run kept in ``runs``, newest first."""
    found = [run for path in runs.glob(f"*/{RECORD}") if (run := read_run(path))]
    under_way = is_locked(runs / LOCK)
    newest_first = sorted(found, key=lambda run: (run.started, run.id), reverse=True)
    for position, run in enumerate(run for run in newest_first if run.engine == LOCAL):
        if run.state == RUNNING and not (under_way and position == 0):
            _mark_interrupted(run)
    return newest_first


def find_run(runs: Path, name: str | None = None) -> Run:
    """Return the run called ``name``, or the newest.

    Raises:
        ConfigError: there is none.
    """
    known = all_runs(runs)
    if not known:
        raise ConfigError(f"there are no runs in {runs} yet; start one: toolchain submit bert_finetune")
    if name is None:
        return known[0]
    matching = [run for run in known if run.id == name]
    if not matching:
        raise ConfigError(f"there is no run {name!r}{suggestion(name, [run.id for run in known])}; see: toolchain runs")
    return matching[0]


@contextmanager
def only_run(runs: Path) -> Iterator[int]:
    """Hold the lock of ``runs`` for the block, and yield its file descriptor, which a child process may hold on to.

    Raises:
        Busy: another run holds it.
    """
    with write_reported(runs):
        runs.mkdir(parents=True, exist_ok=True)
        lock = (runs / LOCK).open("a+")
    with lock as file:
        try:
            hold(file)
        except BlockingIOError as error:
            file.seek(0)
            raise Busy(
                f"{file.read().strip() or 'another run'} is under way in {runs}: wait for it, or set TOOLCHAIN_RUNS "
                "to another folder"
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


def hold(file: IO[Any]) -> None:
    """Take the lock of ``file`` until it is closed here and in every process that it was handed to.

    Raises:
        BlockingIOError: another process holds it.
    """
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if attempt == ATTEMPTS - 1:
                raise
        time.sleep(SECONDS_OF_A_LOOK)


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
    """Return the run whose record is at ``path``, None where that is damaged, which is said in one line."""
    content = read_record(path, UNREADABLE)
    if content is None:
        return None
    try:
        del content["format"]
        steps = [StepRecord(**step) for step in content.pop("steps")]
        run = Run(**{**content, "folder": path.parent, "steps": steps})
        run.age()
        return run
    except (KeyError, TypeError, ValueError):
        warn_damaged(path, UNREADABLE)
        return None
