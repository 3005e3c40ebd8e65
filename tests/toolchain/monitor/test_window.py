import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from toolchain.monitor.drift.window import read_window
from toolchain.services.samples import Place, Subject, head_of, new_name, open_place

pytestmark = pytest.mark.machine
SUBJECT = Subject(model="reviews", model_version="3", variant="int8", digest="ab" * 32)
OTHER = Subject(model="reviews", model_version="2", variant="fp32", digest="cd" * 32)
NOW = time.time()


def row(minutes: float, label: str = "positive", **more: Any) -> dict[str, Any]:
    """Return a row of so many minutes ago."""
    return {"time": NOW - 60 * minutes, "request": "r", "label": label, "numbers": {"tokens": 5.0}} | more


def write(place: Place, rows: list[dict[str, Any]], subject: Subject = SUBJECT, minutes: float = 0) -> str:
    at = datetime.fromtimestamp(NOW, UTC) - timedelta(minutes=minutes)
    name = new_name(subject, at)
    place.put(name, head_of(subject) + b"".join(json.dumps(one).encode() + b"\n" for one in rows))
    return name


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return open_place(str(tmp_path / "samples"))


def test_the_newest_rows_are_taken_oldest_first(place: Place):
    for minutes in (30, 10, 20):
        write(place, [row(minutes + 1, f"{minutes + 1}"), row(minutes, f"{minutes}")], minutes=minutes)
    assert [one["label"] for one in read_window(place, SUBJECT, 3).rows] == ["20", "11", "10"]
    assert len(read_window(place, SUBJECT, 100).rows) == 6


def test_rows_that_are_too_old_are_left(place: Place):
    write(place, [row(200, "old"), row(30, "new")], minutes=30)
    write(place, [row(300, "older")], minutes=299)
    assert [one["label"] for one in read_window(place, SUBJECT, 100, hours=2).rows] == ["new"]


def test_no_samples_is_an_empty_window(place: Place):
    window = read_window(place, SUBJECT, 100)
    assert (window.rows, window.others, window.to_json()["from"]) == ([], [], None)


def test_samples_of_other_versions_are_named(place: Place):
    write(place, [row(1)], OTHER)
    window = read_window(place, SUBJECT, 100)
    assert (window.rows, window.others) == ([], ["cdcdcdcdcdcd"])


def test_samples_of_another_version_in_this_ones_folder_are_passed_over(place: Place):
    name = write(place, [row(1, "own")])
    content = place.get(write(place, [row(2, "another's")], OTHER, minutes=2))
    place.put(stray := name.replace(".jsonl", "0.jsonl"), content or b"")
    window = read_window(place, SUBJECT, 100)
    assert ([one["label"] for one in window.rows], window.foreign) == (["own"], [stray])


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01",
        b"",
        head_of(SUBJECT) + b'{"time": 1',
        head_of(SUBJECT) + json.dumps(row(1, numbers=[1])).encode(),
        head_of(SUBJECT) + json.dumps(row(1, numbers={"tokens": "five"})).encode(),
        head_of(SUBJECT) + json.dumps(row(1, numbers={"tokens": True})).encode(),
        head_of(SUBJECT) + json.dumps({"label": "no time"}).encode(),
    ],
)
def test_damaged_files_are_passed_over_and_named(content: bytes, place: Place, capsys: pytest.CaptureFixture[str]):
    name = write(place, [row(1)])
    place.put(damaged := name.replace(".jsonl", "0.jsonl"), content)
    window = read_window(place, SUBJECT, 100)
    assert (len(window.rows), window.damaged) == (1, [damaged])
    assert "it is passed over" in capsys.readouterr().out


def test_a_file_that_is_deleted_meanwhile_is_not_missed(place: Place, monkeypatch: pytest.MonkeyPatch):
    gone = write(place, [row(1)], minutes=1)
    write(place, [row(2, "there")], minutes=2)
    get = type(place).get
    monkeypatch.setattr(type(place), "get", lambda self, name: None if name == gone else get(self, name))
    assert [one["label"] for one in read_window(place, SUBJECT, 100).rows] == ["there"]


def test_a_clock_that_was_set_back_loses_no_rows_and_is_told(place: Place):
    """A server's clock ran a day ahead, then was set right: what it wrote before is dated later than now."""
    write(place, [row(-24 * 60, "ahead")], minutes=-24 * 60)
    write(place, [row(1, "right")], minutes=1)
    window = read_window(place, SUBJECT, 100, hours=1)
    assert [one["label"] for one in window.rows] == ["right", "ahead"]
    assert window.ahead == 1
