"""Schedules on one machine: a process that submits what is due, one run after another, each in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cli.records import runs
from cli.schedules.cron import next_time
from cli.schedules.files import Schedule, read_schedules
from cli.settings import Settings, step_environment
from cli.state_files import read_record, warn_damaged
from toolchain.artifacts.folder import write_json
from toolchain.errors import ConfigError
from toolchain.progress import log_info

SECONDS_BETWEEN_LOOKS = 1.0
GRACE = timedelta(seconds=90)  # a time that is longer past was missed: the machine slept, or the process was away
STATE = "schedules.json"
RUNNING = "running"
FORGOTTEN = "no schedule counts as paused, and what was due is forgotten"


@dataclass(frozen=True)
class State:
    """What is remembered of a schedule over restarts."""

    paused: bool = False
    due: str = ""  # the last time that started a run or was missed: UTC, ISO 8601
    result: str = ""  # of the last run: RUNNING, "exit status 0", "missed"


@dataclass
class Memory:
    """The states of all schedules, in a file of the runs' folder; written whole or not at all."""

    path: Path
    states: dict[str, State] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Settings) -> "Memory":
        memory = cls(settings.runs / STATE)
        memory.read()
        return memory

    def read(self) -> None:
        content = read_record(self.path, FORGOTTEN)
        try:
            self.states = {name: State(**state) for name, state in (content or {}).get("schedules", {}).items()}
        except (AttributeError, TypeError):
            warn_damaged(self.path, FORGOTTEN)
            self.states = {}

    def of_schedule(self, name: str) -> State:
        return self.states.get(name, State())

    def change(self, name: str, **new: Any) -> None:
        """Note ``new`` of schedule ``name``; what another process wrote meanwhile stays."""
        self.read()
        self.states[name] = replace(self.of_schedule(name), **new)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            self.path, {"format": "toolchain.schedules", "schedules": {k: asdict(v) for k, v in self.states.items()}}
        )


def submit(schedule: Schedule, settings: Settings) -> "subprocess.Popen[bytes]":
    """Start a run of ``schedule`` on this machine, in a process of its own; its words go to a file beside the runs."""
    words = [f"{name}={_word(value)}" for name, value in schedule.parameters.items()]
    given = [word for pair in words for word in ("-p", pair)]
    settings.runs.mkdir(parents=True, exist_ok=True)
    file = settings.runs / f"schedule-{schedule.name}.log"
    with file.open("ab") as log, _lock(schedule.name, settings).open("a") as lock:
        try:
            runs.hold(lock)
        except BlockingIOError as error:
            raise runs.Busy(f"a run of {schedule.name} is under way; its log is {file}") from error
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "submit", schedule.pipeline, "--engine", "local", *given],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it goes on when the scheduler is ended
            pass_fds=[lock.fileno()],  # held for as long as it lives, and not a moment longer
            env={**step_environment(settings), "TOOLCHAIN_RUNS": str(settings.runs)},
        )


def is_under_way(name: str, settings: Settings) -> bool:
    """Return whether a run of the schedule ``name`` is alive, whoever started it."""
    return runs.is_locked(_lock(name, settings))


def _lock(name: str, settings: Settings) -> Path:
    return settings.runs / f"schedule-{name}.lock"


class Scheduler:
    """Submits what is due. Runs follow one another: a machine's runs share its cores.

    ``alive`` says of a schedule whether a run of it lives: one that an earlier scheduler started outlives that.
    """

    def __init__(
        self,
        memory: Memory,
        start: Callable[[Schedule], Any],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        alive: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.memory, self.start, self.clock, self.alive = memory, start, clock, alive
        self.since: dict[str, tuple[Schedule, datetime]] = {}  # by name: what is due is due after this
        self.waiting: list[tuple[Schedule, datetime]] = []
        self.at_work: tuple[Schedule, Any] | None = None

    def look(self, schedules: Iterable[Schedule]) -> None:
        """Look once: queue what has become due, note what ended, start the next."""
        now, known = self.clock(), {schedule.name: schedule for schedule in schedules}
        self.memory.read()
        self.since = {name: value for name, value in self.since.items() if name in known}
        for schedule in known.values():
            self._queue(schedule, now)
        self._collect()
        self._forget_dead(known)
        if self.at_work is None and self.waiting and not any(map(self.alive, known)):
            self._begin(*self.waiting.pop(0))

    @property
    def idle(self) -> bool:
        return self.at_work is None and not self.waiting

    def _queue(self, schedule: Schedule, now: datetime) -> None:
        before, after = self.since.get(schedule.name, (None, now))
        state = self.memory.of_schedule(schedule.name)
        if before != schedule or state.paused or not schedule.enabled:
            self.since[schedule.name] = (schedule, now)  # new, changed or off: what is past is no more its affair
            return
        due, last = next_time(schedule.cron, schedule.zone, after), None
        while due <= now:
            last, due = due, next_time(schedule.cron, schedule.zone, due)
        if last is None:
            self.since[schedule.name] = (schedule, after)  # kept when the clock goes back: no time comes twice
            return
        self.since[schedule.name] = (schedule, last)
        if now - last > GRACE:
            self._missed(schedule, last, "the scheduler was away")
        elif self._under_way(schedule.name) >= schedule.concurrency:
            self._missed(schedule, last, "its last run is not over")
        else:
            self.waiting.append((schedule, last))

    def _under_way(self, name: str) -> int:
        own = self.at_work is not None and self.at_work[0].name == name
        return int(own or self.alive(name)) + sum(one.name == name for one, _ in self.waiting)

    def _missed(self, schedule: Schedule, due: datetime, why: str) -> None:
        log_info(f"{schedule.name}: {due:%Y-%m-%d %H:%M} UTC is left out, {why}")
        self.memory.change(schedule.name, due=due.isoformat(), result=f"missed, {why}")

    def _begin(self, schedule: Schedule, due: datetime) -> None:
        log_info(f"{schedule.name}: starts {schedule.pipeline}")
        self.at_work = (schedule, self.start(schedule))
        self.memory.change(schedule.name, due=due.isoformat(), result=RUNNING)

    def _forget_dead(self, known: Iterable[str]) -> None:
        """Note the end of runs that an earlier scheduler started."""
        for name in known:
            own = self.at_work is not None and self.at_work[0].name == name
            if self.memory.of_schedule(name).result == RUNNING and not own and not self.alive(name):
                log_info(f"{name}: the run of an earlier scheduler has ended")
                self.memory.change(name, result="ended while no scheduler watched; see its log")

    def _collect(self) -> None:
        if self.at_work and (status := self.at_work[1].poll()) is not None:
            name = self.at_work[0].name
            log_info(f"{name}: ended with exit status {status}")
            self.memory.change(name, result=f"exit status {status}")
            self.at_work = None


def serve(folder: Path, settings: Settings, once: bool) -> None:
    """Submit what is due until a person ends it; with ``once``, look for a minute and wait for what was started.

    A file that becomes wrong is told, and what was read before stays in force.
    """
    scheduler = Scheduler(
        Memory.of(settings),
        lambda schedule: submit(schedule, settings),
        alive=lambda name: is_under_way(name, settings),
    )
    schedules = read_schedules(folder, settings.runs / "compiled")
    seen, began = _stamps(folder), time.monotonic()
    log_info(f"serving {len(schedules)} schedules of {folder}; Ctrl-C ends it, and a run that is under way goes on")
    while not once or time.monotonic() - began < 61 or not scheduler.idle:
        if (stamps := _stamps(folder)) != seen:
            seen, schedules = stamps, _read_again(folder, settings, schedules)
        scheduler.look(schedules)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _read_again(folder: Path, settings: Settings, before: list[Schedule]) -> list[Schedule]:
    try:
        now = read_schedules(folder, settings.runs / "compiled")
    except ConfigError as error:
        log_info(f"the schedules stay as they were: {error}")
        return before
    log_info(f"the files changed: {len(now)} schedules")
    return now


def _stamps(folder: Path) -> Mapping[str, tuple[int, int]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob("*.y*ml")}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
