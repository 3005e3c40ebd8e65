import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from toolchain import progress
from toolchain.progress import DIRECTION_MARKS, Progress, ReportThrottle, log_info, printable, track


@pytest.fixture(autouse=True)
def log_every_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)


def test_log_info_prints_one_line(capsys: pytest.CaptureFixture[str]):
    log_info("hello")
    assert capsys.readouterr().out == "hello\n"


def test_a_log_gets_plain_lines_with_count_percentage_and_values(capsys: pytest.CaptureFixture[str]):
    with Progress("train", total=300, unit="batches") as bar:
        bar.advance(120, loss=0.31234)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("progress: train 120/300 batches (40 %)")
    assert line.endswith("s left, loss 0.3123")


def test_an_unknown_total_is_only_counted(capsys: pytest.CaptureFixture[str]):
    with Progress("ingest", unit="rows") as bar:
        bar.advance(1234)
    assert capsys.readouterr().out.splitlines()[0] == "progress: ingest 1,234 rows"


def test_a_short_task_prints_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 60.0)
    assert list(track(range(3), "count")) == [0, 1, 2]
    assert capsys.readouterr().out == ""


def test_tracking_yields_every_item_and_counts_it(capsys: pytest.CaptureFixture[str]):
    assert list(track("abc", "letters", total=3)) == ["a", "b", "c"]
    assert "progress: letters 3/3 (100 %)" in capsys.readouterr().out


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with Progress("train", total=2) as bar:
        bar.advance(2, loss=1.0)
        assert bar._bar is not None
    assert "progress:" not in capsys.readouterr().out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_printed_text_has_no_control_characters_except_line_breaks_and_tabs(text: str):
    printed = printable(text)
    assert not [c for c in printed if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not set(printed) & set(DIRECTION_MARKS)
    if text.isprintable():
        assert printed == text


def test_terminal_codes_are_escaped():
    assert printable("red \x1b[31m\x07 and \u202etxet\r\n") == "red \\x1b[31m\\x07 and \\u202etxet\\r\n"


def test_a_loop_reports_after_its_first_step_and_then_every_few_steps():
    throttle = ReportThrottle(steps=10, seconds=1e9)
    assert [step for step in range(1, 32) if throttle.should_report()] == [1, 11, 21, 31]


def test_slow_loops_report_by_time(monkeypatch: pytest.MonkeyPatch):
    now = iter(range(0, 1000, 3))  # a step takes three seconds at least
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(now)))
    throttle = ReportThrottle(steps=10, seconds=2.0)
    assert all(throttle.should_report() for _ in range(8))
