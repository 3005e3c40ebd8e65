import json
from pathlib import Path

import pytest

from cli.output import summary
from cli.records.cost import Prices
from cli.records.runs import FAILED, SUCCEEDED, Run, StepRecord, new_run

REPORT = {
    "rows": {"train": 1200, "test": 30},
    "labels": ["[bold]", "dog"],
    "class_counts": {"train": {"[bold]": 1000, "dog": 200}, "test": {"dog": 30}},
    "dropped": [
        {"rows": 4, "rule": "duplicates", "step": "data.clean"},
        {"rows": 0, "rule": "empty", "step": "data.clean"},
    ],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = new_run(
        "tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", "k"), StepRecord("split", "data.split", "")]
    )
    made.steps[0].state, made.steps[1].state = SUCCEEDED, FAILED
    made.steps[1].error = "test_fraction is 2"
    return made


def test_rows_are_counted_by_class_and_split(capsys: pytest.CaptureFixture[str]):
    summary.print_data(REPORT)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ["[bold]", "1,000", "0"] in lines, "a label is not Rich's markup"
    assert ["all", "1,200", "30"] in lines
    assert ["4", "duplicates", "data.clean"] in lines
    assert not [line for line in lines if "empty" in line]


def test_no_dropped_rows_are_one_line(capsys: pytest.CaptureFixture[str]):
    summary.print_data({**REPORT, "dropped": []})
    assert "no rows were dropped" in capsys.readouterr().out


def test_a_failure_is_printed_with_the_path_of_its_log(run: Run, capsys: pytest.CaptureFixture[str]):
    log = run.folder / "logs" / "data.split.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("...")
    summary.print_run(run, Prices())
    shown = capsys.readouterr().out
    assert "data.split failed: test_fraction is 2" in shown
    assert str(log) in shown


def test_a_run_without_a_report_has_none(run: Run):
    assert summary.read_report(run) is None
    assert summary.report_file(run) is None


def test_variants_show_the_winner_and_their_speedup():
    variant = {
        "accuracy": 0.91234, "agreement": 1, "p50_ms": 3.14159, "speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6,
        "size_bytes": 2_500_000, "accurate": True, "faster": True,
    }  # fmt: skip
    report = {"variants": [{**variant, "name": "int8"}], "verdict": {"winner": "int8"}}
    cells = [next(iter(column.cells)) for column in summary._variants(json.loads(json.dumps(report))).columns]
    assert cells == ["int8 ◀", "0.912", "1.000", "3.1", "1.50 (1.40-1.60)", "2.5", "accurate, faster"]
