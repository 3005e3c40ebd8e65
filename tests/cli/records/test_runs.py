import json
import math
from datetime import datetime, tzinfo
from pathlib import Path

import pytest

from cli.records import runs
from cli.records.runs import RunInProgressError, StepRecord, all_runs, find_run, new_run, run_lock
from toolchain.errors import ConfigError

pytestmark = pytest.mark.machine


class Frozen(datetime):
    """A clock that stands still, so that two runs start in one second."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Frozen":
        return cls(2026, 11, 30, tzinfo=tz)


def started(folder: Path) -> runs.Run:
    return new_run("tidy", folder, {"a": 1}, [StepRecord("clean", "data.clean", "k")])


def test_a_record_is_read_as_it_was_written(tmp_path: Path):
    run = started(tmp_path)
    run.step("clean").state = run.state = runs.SUCCEEDED
    run.save()
    assert find_run(tmp_path) == run


def test_a_run_whose_record_cannot_be_written_leaves_no_folder(tmp_path: Path):
    with pytest.raises(ValueError, match="JSON"):
        new_run("tidy", tmp_path, {"rate": math.nan}, [])
    assert list(tmp_path.iterdir()) == []


def test_the_newest_run_comes_first(tmp_path: Path):
    old, new = started(tmp_path), started(tmp_path)
    old.started, new.started = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"
    old.save()
    new.save()
    assert [run.id for run in all_runs(tmp_path)] == [new.id, old.id]


@pytest.mark.parametrize(
    ("of_step", "change"),
    [
        (False, {"seconds": None}),
        (False, {"seconds": "x"}),
        (False, {"seconds": 10**400}),
        (False, {"verdict": 3}),
        (False, {"state": "odd"}),
        (False, {"id": None}),
        (False, {"parameters": [1]}),
        (False, {"started": "yesterday"}),
        (True, {"seconds": None}),
        (True, {"state": "odd"}),
        (True, {"state": []}),
        (True, {"outputs": ["x"]}),
        (True, {"outputs": {"a": 5}}),
        (True, {"pods": ["x"]}),
    ],
    ids=str,
)
def test_a_run_with_an_odd_field_is_not_listed(tmp_path: Path, of_step: bool, change: dict[str, object], capsys):
    good, odd = started(tmp_path), started(tmp_path)
    content = json.loads((odd.folder / runs.RECORD).read_bytes())
    (content["steps"][0] if of_step else content).update(change)
    (odd.folder / runs.RECORD).write_text(json.dumps(content))
    assert [run.id for run in all_runs(tmp_path)] == [good.id]
    assert f"{odd.folder / runs.RECORD} is damaged" in capsys.readouterr().err


def test_a_run_that_no_process_runs_was_interrupted(tmp_path: Path):
    started(tmp_path)
    assert all_runs(tmp_path)[0].state == runs.INTERRUPTED


def test_a_run_under_way_is_running(tmp_path: Path):
    with run_lock(tmp_path):
        started(tmp_path)
        assert all_runs(tmp_path)[0].state == runs.RUNNING


def test_a_second_run_is_rejected_while_one_is_under_way(tmp_path: Path):
    with (
        run_lock(tmp_path),
        pytest.raises(RunInProgressError, match=r"\(process \d+\)"),
        run_lock(tmp_path),
    ):
        pass


def test_the_next_run_may_start_when_one_has_ended(tmp_path: Path):
    with run_lock(tmp_path):
        assert is_running(tmp_path)
    assert not is_running(tmp_path)
    with run_lock(tmp_path):
        assert is_running(tmp_path)


def is_running(folder: Path) -> bool:
    try:
        with run_lock(folder):
            return False
    except RunInProgressError:
        return True


def test_an_unknown_run_brings_the_nearest(tmp_path: Path):
    run = started(tmp_path)
    with pytest.raises(ConfigError, match=f"did you mean '{run.id}'"):
        find_run(tmp_path, run.id[:-1])


def test_no_runs_yet_shows_how_to_start_one(tmp_path: Path):
    with pytest.raises(ConfigError, match="submit bert_finetune"):
        find_run(tmp_path)


def test_of_two_runs_in_the_same_second_the_later_is_the_newest(tmp_path: Path):
    runs_made = [started(tmp_path) for _ in range(5)]
    assert [run.id for run in all_runs(tmp_path)] == [run.id for run in reversed(runs_made)]


def test_a_run_never_takes_the_folder_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    suffixes = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("cli.records.runs.secrets.token_hex", lambda size: next(suffixes))
    monkeypatch.setattr("cli.records.runs.datetime", Frozen)
    first, second = started(tmp_path), started(tmp_path)
    assert [run.id[-4:] for run in (first, second)] == ["aaaa", "bbbb"]
    assert (first.folder / "run.json").is_file()
