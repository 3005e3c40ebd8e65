import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from toolchain.lifecycle.request_samples import SampledVersion, SampleStore, header, new_file_name, open_store
from toolchain.monitor.drift.window import read_window

pytestmark = pytest.mark.machine
SUBJECT = SampledVersion(model="reviews", model_version="3", variant="int8", digest="ab" * 32)
OTHER = SampledVersion(model="reviews", model_version="2", variant="fp32", digest="cd" * 32)
NOW = time.time()


def row(minutes: float, label: str = "positive", **more: Any) -> dict[str, Any]:
    """Return a row that is ``minutes`` old."""
    return {"time": NOW - 60 * minutes, "request": "r", "label": label, "numbers": {"tokens": 5.0}} | more


def write(
    storage: SampleStore, rows: list[dict[str, Any]], subject: SampledVersion = SUBJECT, minutes: float = 0
) -> str:
    at = datetime.fromtimestamp(NOW, UTC) - timedelta(minutes=minutes)
    name = new_file_name(subject, at)
    storage.put(name, header(subject) + b"".join(json.dumps(one).encode() + b"\n" for one in rows))
    return name


@pytest.fixture
def storage(tmp_path: Path) -> SampleStore:
    return open_store(str(tmp_path / "samples"))


def test_the_newest_rows_are_returned_in_order_of_time(storage: SampleStore):
    for minutes in (30, 10, 20):
        write(storage, [row(minutes + 1, f"{minutes + 1}"), row(minutes, f"{minutes}")], minutes=minutes)
    assert [row["label"] for row in read_window(storage, SUBJECT, 3).rows] == ["20", "11", "10"]
    assert len(read_window(storage, SUBJECT, 100).rows) == 6


def test_old_rows_are_excluded(storage: SampleStore):
    write(storage, [row(200, "old"), row(30, "new")], minutes=30)
    write(storage, [row(300, "older")], minutes=299)
    assert [row["label"] for row in read_window(storage, SUBJECT, 100, max_hours=2).rows] == ["new"]


def test_without_samples_the_window_is_empty(storage: SampleStore):
    window = read_window(storage, SUBJECT, 100)
    assert (window.rows, window.other_versions, window.to_json()["from"]) == ([], [], None)


def test_other_sampled_versions_are_listed(storage: SampleStore):
    write(storage, [row(1)], OTHER)
    window = read_window(storage, SUBJECT, 100)
    assert (window.rows, window.other_versions) == ([], ["cdcdcdcdcdcd"])


def test_files_of_another_version_are_skipped(storage: SampleStore):
    name = write(storage, [row(1, "own")])
    content = storage.get(write(storage, [row(2, "another's")], OTHER, minutes=2))
    storage.put(stray := name.replace(".jsonl", "0.jsonl"), content or b"")
    window = read_window(storage, SUBJECT, 100)
    assert ([row["label"] for row in window.rows], window.other_version_files) == (["own"], [stray])


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01",
        b"",
        header(SUBJECT) + b'{"time": 1',
        header(SUBJECT) + json.dumps(row(1, numbers=[1])).encode(),
        header(SUBJECT) + json.dumps(row(1, numbers={"tokens": "five"})).encode(),
        header(SUBJECT) + json.dumps(row(1, numbers={"tokens": True})).encode(),
        header(SUBJECT) + json.dumps({"label": "no time"}).encode(),
    ],
)
def test_damaged_files_are_skipped_and_listed(content: bytes, storage: SampleStore, capsys: pytest.CaptureFixture[str]):
    name = write(storage, [row(1)])
    storage.put(damaged := name.replace(".jsonl", "0.jsonl"), content)
    window = read_window(storage, SUBJECT, 100)
    assert (len(window.rows), window.damaged_files) == (1, [damaged])
    assert "skipped" in capsys.readouterr().out


def test_a_file_deleted_after_listing_is_ignored(storage: SampleStore, monkeypatch: pytest.MonkeyPatch):
    gone = write(storage, [row(1)], minutes=1)
    write(storage, [row(2, "there")], minutes=2)
    get = type(storage).get
    monkeypatch.setattr(type(storage), "get", lambda self, name: None if name == gone else get(self, name))
    assert [row["label"] for row in read_window(storage, SUBJECT, 100).rows] == ["there"]


def test_rows_from_the_future_are_kept_and_counted(storage: SampleStore):
    """A server's clock ran a day ahead and was then corrected."""
    write(storage, [row(-24 * 60, "ahead")], minutes=-24 * 60)
    write(storage, [row(1, "right")], minutes=1)
    window = read_window(storage, SUBJECT, 100, max_hours=1)
    assert [row["label"] for row in window.rows] == ["right", "ahead"]
    assert window.future_rows == 1
