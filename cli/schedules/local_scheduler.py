"""Schedules on one machine: a cron line checks every minute which runs are due and starts them, one after another."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.records import runs
from cli.schedules.cron import next_time
from cli.schedules.files import Schedule
from cli.settings import Settings, step_environment
from cli.state_files import read_record, warn_damaged
from toolchain.artifacts.folder import write_json
from toolchain.errors import ToolchainError, first_line
from toolchain.progress import log_info

GRACE = timedelta(seconds=90)  # cron checks every minute; a run that is due for longer was missed
STATE = "schedules.json"
LOCK = "schedules.lock"
RUNNING = "running"
MAX_LOOKBACK = timedelta(days=32)  # of missed times: one pass over a year of minutes would take 13 s
MAX_CLOCK_STEP = timedelta(days=1)  # a last check that lies further ahead was made with a wrong clock
POLL_INTERVAL_S = 2.0
ON_DAMAGE = "no schedule counts as paused, and runs that were due are skipped"


@dataclass(frozen=True)
class State:
    """The state of a schedule between two checks."""

    paused: bool = False
    due: str = ""  # the last time that started a run or was missed: UTC, ISO 8601
    result: str = ""  # of the last run: RUNNING, "exit status 0", "missed, …"

    def __post_init__(self) -> None:
        if not (isinstance(self.paused, bool) and isinstance(self.due, str) and isinstance(self.result, str)):
            raise TypeError(f"not the state of a schedule: {self}")


@dataclass
class Memory:
    """The states of all schedules, in a file of the runs' folder that is written whole or not at all."""

    path: Path
    checked: datetime | None = None  # until when every due run was considered: UTC; None before the first check
    states: dict[str, State] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "Memory":
        memory = cls(settings.runs / STATE)
        memory.read()
        return memory

    def read(self) -> None:
        content = read_record(self.path, ON_DAMAGE) or {}
        try:
            self.checked = datetime.fromisoformat(content["checked"]) if content.get("checked") else None
            if self.checked and self.checked.tzinfo is None:
                raise ValueError(f"{self.checked} has no time zone")
            self.states = {name: State(**state) for name, state in content.get("schedules", {}).items()}
        except (AttributeError, TypeError, ValueError):
            warn_damaged(self.path, ON_DAMAGE)
            self.checked, self.states = None, {}

    def of_schedule(self, name: str) -> State:
        return self.states.get(name, State())

    def change(self, name: str, **new: Any) -> None:
        """Change the state of the schedule ``name``; changes by other processes are kept."""
        self.read()
        self.states[name] = replace(self.of_schedule(name), **new)
        self._write()

    def note_check(self, until: datetime) -> None:
        """Record that every run due until then was considered."""
        self.read()
        self.checked = until
        self._write()

    def _write(self) -> None:
        states = {name: asdict(state) for name, state in self.states.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        checked = self.checked.isoformat() if self.checked else ""
        write_json(self.path, {"format": "toolchain.schedules", "checked": checked, "schedules": states})


def start_due(
    schedules: Sequence[Schedule],
    memory: Memory,
    start: Callable[[Schedule], int],
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Start the runs that came due since the last check, one after another, until none is due.

    Args:
        start: Runs a schedule to its end and returns the exit status.
    """
    oldest = clock() - GRACE
    _note_unobserved_ends(memory)
    since = _last_check(memory, clock())
    ran: set[str] = set()
    while True:
        until = max(since, clock())  # a clock that was set back repeats no run
        memory.note_check(until)
        due = list(_due(schedules, memory, since, until))
        if not due:
            return
        for schedule, moment in due:
            if moment < oldest:
                _skip(memory, schedule, moment, "no check was made at that time")
            elif schedule.name in ran and schedule.concurrency == 1:
                _skip(memory, schedule, moment, "its last run was not over")
            else:
                _run(memory, schedule, moment, start)
        since, ran = until, {schedule.name for schedule, _ in due}


def run_due(schedules: Sequence[Schedule], settings: Settings) -> None:
    """Start the runs that are due on this machine, unless an earlier check or one of its runs is still at work."""
    with _only_check(settings) as lock:
        if lock is not None:
            held = [lock]  # a run that outlives this process still keeps later checks away
            start_due(schedules, Memory.of(settings), lambda one: _run_alone(one, settings, held))


def _run_alone(schedule: Schedule, settings: Settings, locks: Sequence[int]) -> int:
    """Run ``schedule`` when no other run is in progress, and return the exit status."""
    if runs.is_locked(settings.runs / runs.LOCK):
        log_info(f"{schedule.name}: waiting for the run in progress")
    while runs.is_locked(settings.runs / runs.LOCK):
        time.sleep(POLL_INTERVAL_S)
    return submit(schedule, settings, locks).wait()


def submit(schedule: Schedule, settings: Settings, locks: Sequence[int] = ()) -> "subprocess.Popen[bytes]":
    """Start a run of ``schedule`` on this machine in a separate process, with a log beside the runs.

    Args:
        locks: File descriptors that the process keeps open.

    Raises:
        RunInProgressError: a run of the schedule is in progress.
    """
    values = {name: _text(value) for name, value in schedule.parameters.items()}
    parameters = [text for name, value in values.items() for text in ("-p", f"{name}={value}")]
    settings.runs.mkdir(parents=True, exist_ok=True)
    file = settings.runs / f"schedule-{schedule.name}.log"
    with file.open("ab") as log, _lock(schedule.name, settings).open("a") as lock:
        try:
            runs.acquire(lock)
        except BlockingIOError as error:
            raise runs.RunInProgressError(f"a run of {schedule.name} is in progress; its log is {file}") from error
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "submit", schedule.pipeline, "--engine", "local", *parameters],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it continues if the scheduler is interrupted
            pass_fds=[lock.fileno(), *locks],  # held until the run ends, however it ends
            env={**step_environment(settings), "TOOLCHAIN_RUNS": str(settings.runs)},
        )


def is_under_way(name: str, settings: Settings) -> bool:
    """Return whether a run of the schedule ``name`` is alive, started by any process."""
    return runs.is_locked(_lock(name, settings))


@contextmanager
def _only_check(settings: Settings) -> Iterator[int | None]:
    """Yield the file descriptor of the lock of checks, None while another process holds it."""
    settings.runs.mkdir(parents=True, exist_ok=True)
    with (settings.runs / LOCK).open("a") as lock:
        try:
            runs.acquire(lock)
        except BlockingIOError:
            yield None
        else:
            yield lock.fileno()


def _last_check(memory: Memory, now: datetime) -> datetime:
    """Return the time after which runs are due; now before the first check, and after one with a wrong clock."""
    checked = memory.checked or now
    if checked <= now + MAX_CLOCK_STEP:
        return checked
    log_info(f"the last check is recorded at {checked:%Y-%m-%d %H:%M} UTC, in the future; checking from now on")
    return now


def _due(
    schedules: Sequence[Schedule], memory: Memory, since: datetime, until: datetime
) -> Iterator[tuple[Schedule, datetime]]:
    """Yield each enabled schedule that came due after ``since``, with the latest time until ``until``; oldest first."""
    latest: Mapping[str, datetime] = {
        one.name: latest_time
        for one in schedules
        if one.enabled and not memory.of_schedule(one.name).paused and (latest_time := _latest(one, since, until))
    }
    by_name = {one.name: one for one in schedules}
    for name in sorted(latest, key=lambda name: (latest[name], name)):
        yield by_name[name], latest[name]


def _latest(schedule: Schedule, since: datetime, until: datetime) -> datetime | None:
    latest, due = None, next_time(schedule.cron, schedule.zone, max(since, until - MAX_LOOKBACK))
    while due <= until:
        latest, due = due, next_time(schedule.cron, schedule.zone, due)
    return latest


def _run(memory: Memory, schedule: Schedule, due: datetime, start: Callable[[Schedule], int]) -> None:
    log_info(f"{schedule.name}: starting {schedule.pipeline}")
    memory.change(schedule.name, due=due.isoformat(), result=RUNNING)
    try:
        result = f"exit status {start(schedule)}"
    except runs.RunInProgressError:
        result = "missed, its last run was not over"
    except (ToolchainError, OSError, ValueError, TypeError) as error:  # the other schedules still run
        result = f"could not start: {first_line(error)}"
    log_info(f"{schedule.name}: {result}; log: {memory.path.with_name(f'schedule-{schedule.name}.log')}")
    memory.change(schedule.name, result=result)


def _skip(memory: Memory, schedule: Schedule, due: datetime, reason: str) -> None:
    log_info(f"{schedule.name}: skipped {due:%Y-%m-%d %H:%M} UTC, {reason}")
    memory.change(schedule.name, due=due.isoformat(), result=f"missed, {reason}")


def _note_unobserved_ends(memory: Memory) -> None:
    """Record that runs of an interrupted check have ended; no run is alive while this process holds the lock."""
    for name in [name for name, state in memory.states.items() if state.result == RUNNING]:
        memory.change(name, result="ended unobserved; see its log")


def _lock(name: str, settings: Settings) -> Path:
    return settings.runs / f"schedule-{name}.lock"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
