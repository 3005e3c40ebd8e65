"""Runs that are due on one machine, with a clock that the test sets; the last tests start real processes."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.records.runs import RunInProgressError, run_lock
from cli.schedules.files import Schedule
from cli.schedules.local_scheduler import Memory, State, is_under_way, run_due, start_due, submit
from cli.settings import Settings

pytestmark = pytest.mark.machine
NIGHTLY = Schedule("nightly", "prepare", "30 2 * * *", "UTC")
HOURLY = Schedule("hourly", "prepare", "0 * * * *", "UTC")
OTHER = Schedule("other", "prepare", "30 2 * * *", "UTC")


class Machine:
    """A machine whose cron line is called by ``check``, and the runs that it started."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder, "", "", "", "")
        self.now = datetime(2026, 11, 25, 2, 29, tzinfo=UTC)
        self.started: list[str] = []
        self.run_minutes = 1.0  # how long a run takes
        self.status = 0

    def check(self, *schedules: Schedule, minutes: float = 0) -> list[str]:
        """Check ``minutes`` later and return the schedules that have been started so far."""
        self.now += timedelta(minutes=minutes)
        start_due(schedules or [NIGHTLY], self.memory, self._start, lambda: self.now)
        return self.started

    @property
    def memory(self) -> Memory:
        return Memory.of(self.settings)

    def result(self, name: str = "nightly") -> str:
        return self.memory.of_schedule(name).result

    def _start(self, schedule: Schedule) -> int:
        assert self.result(schedule.name) == "running"
        self.started.append(schedule.name)
        self.now += timedelta(minutes=self.run_minutes)
        return self.status


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.check(NIGHTLY, HOURLY)
    return made


def test_a_schedule_is_started_once_when_it_is_due(machine: Machine):
    assert machine.check(minutes=0.5) == []
    assert machine.check(minutes=0.6) == ["nightly"]
    assert machine.result() == "exit status 0"
    assert machine.check(minutes=1) == ["nightly"]
    machine.now = datetime(2026, 11, 26, 2, 29, 30, tzinfo=UTC)
    assert machine.check() == ["nightly"]
    assert machine.check(minutes=1) == ["nightly", "nightly"]


def test_the_first_check_starts_nothing_that_was_due_before(tmp_path: Path):
    machine = Machine(tmp_path)
    assert machine.check(minutes=24 * 60 + 1) == []
    assert machine.check(minutes=24 * 60) == ["nightly"]


def test_the_exit_status_is_recorded(machine: Machine):
    machine.status = 3
    machine.check(minutes=1)
    assert machine.result() == "exit status 3"


def test_runs_that_were_due_while_the_machine_was_off_are_skipped(machine: Machine):
    assert machine.check(minutes=3 * 24 * 60 + 30) == []
    assert machine.result() == "missed, no check was made at that time"
    assert machine.check(minutes=24 * 60 - 29) == ["nightly"]


def test_a_clock_that_is_set_back_repeats_no_run(machine: Machine):
    assert machine.check(minutes=1) == ["nightly"]
    assert machine.check(minutes=-30) == ["nightly"]
    assert machine.check(minutes=30) == ["nightly"]


def test_runs_of_two_schedules_follow_one_another(machine: Machine):
    machine.run_minutes = 10
    assert machine.check(OTHER, NIGHTLY, minutes=1) == ["nightly", "other"]
    assert machine.now == datetime(2026, 11, 25, 2, 50, tzinfo=UTC)


def test_a_run_that_is_due_during_another_schedules_run_follows_it(machine: Machine):
    machine.run_minutes = 40
    assert machine.check(NIGHTLY, HOURLY, minutes=1) == ["nightly", "hourly"]
    assert machine.result("hourly") == "exit status 0"


@pytest.mark.parametrize(("concurrency", "started"), [(1, 1), (2, 2)])
def test_a_run_that_is_due_during_its_own_schedules_run_is_skipped_unless_concurrency_allows_it(
    machine: Machine, concurrency: int, started: int
):
    hourly = Schedule("hourly", "prepare", "0 * * * *", "UTC", concurrency=concurrency)
    durations = iter([70.0, 10.0])
    machine.now = datetime(2026, 11, 25, 3, 0, 10, tzinfo=UTC)

    def start(schedule: Schedule) -> int:
        machine.run_minutes = next(durations)
        return machine._start(schedule)

    start_due([hourly], machine.memory, start, lambda: machine.now)
    assert machine.started == ["hourly"] * started
    assert machine.result("hourly") == ("missed, its last run was not over" if started == 1 else "exit status 0")


def test_a_run_that_was_started_by_hand_is_not_started_a_second_time(machine: Machine):
    def start(schedule: Schedule) -> int:
        raise RunInProgressError("a run of nightly is in progress")

    machine.now += timedelta(minutes=1)
    start_due([NIGHTLY], machine.memory, start, lambda: machine.now)
    assert machine.result() == "missed, its last run was not over"


def test_a_run_whose_check_was_killed_is_recorded_as_ended(machine: Machine):
    def killed(schedule: Schedule) -> int:
        raise KeyboardInterrupt

    machine.now += timedelta(minutes=1)
    with pytest.raises(KeyboardInterrupt):
        start_due([NIGHTLY], machine.memory, killed, lambda: machine.now)
    assert machine.result() == "running"
    assert machine.check(minutes=1) == []
    assert machine.result().startswith("ended unobserved")


def test_paused_and_disabled_schedules_do_not_run(machine: Machine):
    machine.memory.change("nightly", paused=True)
    assert machine.check(minutes=1) == []
    machine.memory.change("nightly", paused=False)
    assert machine.check(minutes=1) == [], "the time that passed during the pause is not made up for"
    assert machine.check(Schedule("nightly", "prepare", "30 2 * * *", "UTC", enabled=False), minutes=24 * 60) == []


def test_changes_by_other_processes_are_kept(machine: Machine):
    early = machine.memory
    machine.memory.change("hourly", paused=True)
    early.change("nightly", result="running")
    assert machine.memory.of_schedule("hourly").paused


def test_a_schedule_that_cannot_start_does_not_stop_the_others(machine: Machine):
    def start(schedule: Schedule) -> int:
        if schedule.name == "nightly":
            raise OSError("the log is a folder")
        return machine._start(schedule)

    machine.now += timedelta(minutes=1)
    start_due([NIGHTLY, OTHER], machine.memory, start, lambda: machine.now)
    assert machine.started == ["other"]
    assert machine.result("nightly") == "could not start: the log is a folder"


def test_a_check_that_was_made_with_a_wrong_clock_does_not_stop_later_ones(machine: Machine):
    machine.memory.note_check(machine.now + timedelta(days=365))
    assert machine.check() == []
    assert machine.check(minutes=1) == ["nightly"]


def test_a_long_pause_is_passed_quickly(machine: Machine):
    minutely = Schedule("minutely", "prepare", "* * * * *", "UTC")
    machine.memory.note_check(datetime(2000, 1, 1, tzinfo=UTC))
    assert machine.check(minutely) == ["minutely"], "the latest minute is due; the 14 million before it are not"


@pytest.mark.parametrize("time", ["soon", 3, ["2026"], "2026-11-30T10:00:00"], ids=str)
def test_a_damaged_time_of_the_last_check_counts_as_none(machine: Machine, time: object):
    machine.memory.path.write_text(f'{{"checked": {time!r}, "schedules": {{}}}}'.replace("'", '"'))
    assert machine.check(minutes=24 * 60) == []


@pytest.mark.parametrize("state", [{"due": 5}, {"paused": "no"}, {"result": None}, {"new": 1}], ids=str)
def test_a_damaged_state_counts_as_none(machine: Machine, state: dict[str, object]):
    machine.memory.path.write_text(json.dumps({"schedules": {"nightly": state}}))
    assert machine.memory.of_schedule("nightly") == State()


def test_a_scheduled_run_waits_for_a_run_that_was_started_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, order = Settings(tmp_path, "", "", "", ""), []
    held = ExitStack()
    held.enter_context(run_lock(tmp_path))

    class Process:
        def wait(self) -> int:
            order.append("scheduled")
            return 0

    def release(seconds: float) -> None:
        order.append("waited")
        held.close()

    monkeypatch.setattr("cli.schedules.local_scheduler.time.sleep", release)
    monkeypatch.setattr("cli.schedules.local_scheduler.submit", lambda *rest: Process())
    Memory.of(settings).note_check(datetime.now(UTC) - timedelta(seconds=60))
    run_due([Schedule("minutely", "prepare", "* * * * *", "UTC")], settings)
    assert order == ["waited", "scheduled"]


def test_no_check_starts_anything_while_another_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings, made = Settings(tmp_path, "", "", "", ""), []

    def nested(schedules: Sequence[Schedule], *rest: object) -> None:
        made.append(schedules)
        run_due([HOURLY], settings)

    monkeypatch.setattr("cli.schedules.local_scheduler.start_due", nested)
    run_due([NIGHTLY], settings)
    assert made == [[NIGHTLY]]


def test_a_killed_run_is_not_under_way(tmp_path: Path):
    settings = Settings(tmp_path, "", "", "", "")
    run = submit(Schedule("now", "prepare", "0 0 * * *", "UTC", {"source": "none"}), settings)
    assert is_under_way("now", settings)
    run.kill()
    run.wait()
    assert not is_under_way("now", settings)
    assert (tmp_path / "schedule-now.lock").is_file(), "the file stays, but no process holds its lock"


@pytest.mark.slow
def test_a_real_run_holds_its_lock_and_keeps_a_log(tmp_path: Path):
    source = tmp_path / "rows.csv"
    source.write_text("text,label\n" + "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(400)))
    settings = Settings(tmp_path / "runs", "", "", "", "")
    schedule = Schedule("now", "prepare", "0 0 * * *", "UTC", {"source": str(source)})
    run = submit(schedule, settings)
    assert is_under_way("now", settings), "also for another process: the run itself holds the lock"
    with pytest.raises(RunInProgressError, match="a run of now is in progress"):
        submit(schedule, settings)
    assert run.wait(120) == 0
    assert not is_under_way("now", settings)
    assert "succeeded" in (settings.runs / "schedule-now.log").read_text()
