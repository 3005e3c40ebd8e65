"""The scheduler of one machine, its clock made up and its runs ended by the test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.records.runs import Busy
from cli.schedules.files import Schedule
from cli.schedules.local_scheduler import Memory, Scheduler, is_under_way, submit
from cli.settings import Settings

pytestmark = pytest.mark.machine
NIGHTLY = Schedule("nightly", "prepare", "30 2 * * *", "UTC")
HOURLY = Schedule("hourly", "prepare", "0 * * * *", "UTC")


class Process:
    status: int | None = None

    def poll(self) -> int | None:
        return self.status


class Machine:
    """A scheduler with its clock and the runs it started."""

    def __init__(self, folder: Path, now: datetime = datetime(2026, 11, 25, 2, 29, tzinfo=UTC)) -> None:
        self.folder, self.now = folder, now
        self.started: list[tuple[str, Process]] = []
        self.alive: set[str] = set()  # schedules of which a run outlived the scheduler that started it
        self.restart()

    def restart(self) -> None:
        settings = Settings(self.folder, "", "", "", "")
        self.scheduler = Scheduler(Memory.of(settings), self._start, lambda: self.now, self.alive.__contains__)

    def _start(self, schedule: Schedule) -> Process:
        self.started.append((schedule.name, Process()))
        return self.started[-1][1]

    def look(self, *schedules: Schedule, minutes: float = 0) -> list[str]:
        self.now += timedelta(minutes=minutes)
        self.scheduler.look(schedules or [NIGHTLY])
        return [name for name, _ in self.started]

    def result(self, name: str = "nightly") -> str:
        return self.scheduler.memory.of_schedule(name).result


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.look(NIGHTLY, HOURLY)
    return made


def test_a_schedule_is_submitted_once_when_it_is_due(machine: Machine):
    assert machine.look(minutes=0.5) == []
    assert machine.look(minutes=0.6) == ["nightly"]
    machine.started[0][1].status = 0
    assert machine.look(minutes=0.1) == ["nightly"]
    assert machine.result() == "exit status 0"
    machine.look(minutes=24 * 60 - 1.2)
    assert machine.look(minutes=1) == ["nightly", "nightly"]


def test_times_missed_while_the_machine_slept_are_left_out(machine: Machine):
    assert machine.look(minutes=3 * 24 * 60 + 30) == []
    assert machine.result() == "missed, the scheduler was away"


def test_times_missed_while_the_scheduler_was_away_are_left_out(machine: Machine):
    machine.restart()
    machine.now += timedelta(days=1, minutes=5)
    assert machine.look() == []
    assert machine.look(minutes=24 * 60 - 4) == ["nightly"]


def test_a_clock_that_is_set_back_repeats_no_run(machine: Machine):
    assert machine.look(minutes=1) == ["nightly"]
    machine.started[0][1].status = 0
    machine.look(minutes=-30)
    assert machine.look(minutes=30) == ["nightly"]


def test_a_restart_within_the_minute_repeats_no_run(machine: Machine):
    assert machine.look(minutes=1) == ["nightly"]
    machine.restart()
    assert machine.look() == ["nightly"]
    assert machine.look(minutes=0.5) == ["nightly"]


def test_runs_of_one_schedule_are_no_more_than_its_concurrency(machine: Machine):
    machine.look(NIGHTLY, HOURLY, minutes=31)
    machine.look(NIGHTLY, HOURLY, minutes=0.5)
    assert [name for name, _ in machine.started] == ["hourly"]
    assert machine.look(NIGHTLY, HOURLY, minutes=60) == ["hourly"]
    assert machine.result("hourly") == "missed, its last run is not over"


def test_runs_of_two_schedules_follow_one_another(machine: Machine):
    other = Schedule("other", "prepare", "30 2 * * *", "UTC")
    machine.look(NIGHTLY, other)
    assert machine.look(NIGHTLY, other, minutes=1) == ["nightly"]
    machine.started[0][1].status = 1
    assert machine.look(NIGHTLY, other, minutes=5) == ["nightly", "other"]
    assert machine.result() == "exit status 1"


def test_a_run_that_outlives_its_scheduler_counts_until_it_has_ended(machine: Machine):
    assert machine.look(HOURLY, minutes=31) == ["hourly"]
    machine.restart()
    machine.alive = {"hourly"}
    machine.restart()
    assert machine.look(HOURLY, minutes=1) == ["hourly"]
    assert machine.result("hourly") == "running"
    assert machine.look(HOURLY, minutes=60) == ["hourly"], "the first still lives"
    assert machine.result("hourly") == "missed, its last run is not over"
    machine.alive.clear()
    assert machine.look(HOURLY, minutes=60) == ["hourly", "hourly"], "the first is dead"


def test_a_run_that_died_with_its_scheduler_is_said_to_have_ended(machine: Machine):
    machine.look(HOURLY, minutes=31)
    machine.restart()
    machine.look(HOURLY)
    assert machine.result("hourly").startswith("ended while no scheduler watched")


def test_another_schedule_waits_for_the_run_of_an_earlier_scheduler(machine: Machine):
    machine.alive.add("hourly")
    assert machine.look(NIGHTLY, HOURLY, minutes=1) == []
    machine.alive.clear()
    assert machine.look(NIGHTLY, HOURLY, minutes=1) == ["nightly"]


def test_what_is_paused_or_disabled_does_not_run(machine: Machine):
    machine.scheduler.memory.change("nightly", paused=True)
    assert machine.look(minutes=1) == []
    machine.scheduler.memory.change("nightly", paused=False)
    assert machine.look(Schedule("nightly", "prepare", "30 2 * * *", "UTC", enabled=False), minutes=24 * 60) == []


def test_what_another_process_noted_is_kept(machine: Machine):
    Memory.of(Settings(machine.folder, "", "", "", "")).change("hourly", paused=True)
    machine.scheduler.memory.change("nightly", result="running")
    assert Memory.of(Settings(machine.folder, "", "", "", "")).of_schedule("hourly").paused


def test_a_killed_run_is_not_under_way_whoever_has_its_number_now(tmp_path: Path):
    settings = Settings(tmp_path, "", "", "", "")
    run = submit(Schedule("now", "prepare", "0 0 * * *", "UTC", {"source": "none"}), settings)
    assert is_under_way("now", settings)
    run.kill()
    run.wait()
    assert not is_under_way("now", settings)
    assert (tmp_path / "schedule-now.lock").is_file(), "a lock that nobody holds is none"


@pytest.mark.slow
def test_a_run_is_submitted_for_real_and_its_words_are_kept(tmp_path: Path):
    source = tmp_path / "rows.csv"
    source.write_text("text,label\n" + "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(400)))
    settings = Settings(tmp_path / "runs", "", "", "", "")
    schedule = Schedule("now", "prepare", "0 0 * * *", "UTC", {"source": str(source)})
    run = submit(schedule, settings)
    assert is_under_way("now", settings), "also for another process: the run itself holds the lock"
    with pytest.raises(Busy, match="a run of now is under way"):
        submit(schedule, settings)
    assert run.wait(120) == 0
    assert not is_under_way("now", settings)
    assert "succeeded" in (settings.runs / "schedule-now.log").read_text()
