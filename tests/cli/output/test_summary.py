from pathlib import Path

import pytest

from cli.output import summary
from cli.records.artifacts import DRIFT
from cli.records.cost import Prices
from cli.records.runs import FAILED, SUCCEEDED, Run, StepRecord, new_run
from cli.settings import Settings
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work

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
    shown = capsys.readouterr().out.splitlines()
    assert shown == [line.rstrip() for line in shown]
    lines = [line.split() for line in shown if line.strip()]
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


def test_a_cost_is_printed_only_if_there_are_prices(run: Run, capsys: pytest.CaptureFixture[str]):
    run.steps[0].seconds = 3600
    summary.print_run(run, Prices())
    assert "cost" not in capsys.readouterr().out.lower()
    summary.print_run(run, Prices("CHF", cpu_hour=0.5))
    shown = capsys.readouterr().out
    assert shown.count(" CHF") == 3, "of each step, and of the run"
    assert "\nCost: " in shown


def test_a_run_without_a_report_has_none(run: Run):
    assert summary.read_report(run) is None
    assert summary.report_file(run) is None


def test_variants_show_the_winner_and_their_speedup():
    variant = {
        "accuracy": 0.91234, "agreement": 1, "p50_ms": 3.14159, "speedup": 1.5, "speedup_low": 1.4, "speedup_high": 1.6,
        "size_bytes": 2_500_000, "accurate": True, "faster": True,
    }  # fmt: skip
    variants = [{**variant, "name": "int8"}, {**variant, "name": "fp32", "faster": False}]
    table = summary._variants({"variants": variants, "verdict": {"winner": "int8"}})
    cells = [next(iter(column.cells)) for column in table.columns]
    assert list(table.columns[-1].cells)[1] == "reference"
    assert cells == ["int8 ◀", "0.912", "1.000", "3.1", "1.50 (1.40-1.60)", "2.5", "accurate, faster"]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({}, ["drift detected in 1 of 2 descriptors for reviews, version 3, 1,300 rows", "Drifted: tokens (0.96)\n"]),
        ({"columns": [{"name": "label", "distance": 0.1, "drift_detected": False}]}, ["no drift detected in any of 1"]),
        ({"has_verdict": False, "reason": "too few rows"}, ["no drift verdict for reviews, version 3: too few rows"]),
    ],
)
def test_a_drift_check_prints_its_verdict_and_its_page(
    change: dict, shown: list[str], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    columns = [("tokens", 0.96, True), ("label", 0.1, False)]
    report = {
        "model": "reviews", "model_version": "3", "has_verdict": True, "reason": "", "window": {"rows": 1300},
        "columns": [dict(zip(("name", "distance", "drift_detected"), one, strict=True)) for one in columns],
    }  # fmt: skip
    with new_measurement(tmp_path / "checked", DRIFT, Work("any.step", None)) as writer:
        writer.data = report | change
        (writer.folder / "drift.html").write_text("<html></html>")
    run.steps[0].outputs = {"any": str(tmp_path / "checked")}
    summary.summary(run, Settings(tmp_path, "", "", "", ""))
    printed = capsys.readouterr().out
    assert [part for part in [*shown, f"Report:  {tmp_path}/checked/drift.html"] if part not in printed] == []
