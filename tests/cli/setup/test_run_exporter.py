"""Metrics of runs, from real records and logs, as Prometheus reads them."""

import os
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cli.records import runs
from cli.records.cost import Prices
from cli.records.runs import Run, StepRecord, new_run, run_lock
from cli.setup import run_exporter

pytestmark = pytest.mark.machine
LINE = "progress: train 1,120/4,480 batches (25 %), 35 s left, loss 0.312, tokens_per_second 2e+03, shift -0.5\n"
Read = Callable[..., dict[str, float]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that scrapes the metrics of the runs and returns the values of one by series."""

    def scrape(name: str, prices: Prices | None = None) -> dict[str, float]:
        with (
            run_exporter.serving(tmp_path, prices or Prices(), "127.0.0.1") as port,
            urlopen(f"http://127.0.0.1:{port}/metrics") as page,
        ):
            families = text_string_to_metric_families(page.read().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return {", ".join(value for _, value in sorted(one.labels.items())): one.value for one in samples}

    return scrape


def recorded(folder: Path, state: str, *steps: StepRecord, seconds: float = 60.0, pipeline: str = "films") -> Run:
    run = new_run(pipeline, folder, {}, list(steps))
    run.state, run.seconds = state, seconds
    run.save()
    return run


def step(name: str, state: str = runs.SUCCEEDED, seconds: float = 0.0, cached: bool = False) -> StepRecord:
    return StepRecord(name, name, "key", state, cached, seconds)


def test_runs_are_counted_by_state_zero_included(tmp_path: Path, read: Read):
    for state in (runs.SUCCEEDED, runs.SUCCEEDED, runs.FAILED):
        recorded(tmp_path, state)
    counted = read("toolchain_runs")
    assert counted == {
        "local, films, succeeded": 2,
        "local, films, failed": 1,
        "local, films, running": 0,
        "local, films, interrupted": 0,
    }


def test_the_latest_run_of_each_pipeline(tmp_path: Path, read: Read):
    recorded(tmp_path, runs.FAILED, seconds=1)
    newest = recorded(tmp_path, runs.SUCCEEDED, seconds=90)
    recorded(tmp_path, runs.FAILED, pipeline="digits")
    state = read("toolchain_run_state")
    assert {name for name, value in state.items() if value} == {"local, films, succeeded", "local, digits, failed"}
    assert read("toolchain_run_seconds")["local, films"] == 90
    began = read("toolchain_run_start_time_seconds")["local, films"]
    assert began == pytest.approx((newest.folder / "run.json").stat().st_mtime, abs=30)


def test_durations_of_steps_exclude_cached_ones(tmp_path: Path, read: Read):
    recorded(
        tmp_path,
        runs.FAILED,
        step("data.ingest", cached=True, seconds=0.1),
        step("train.torch_image", seconds=30),
        step("optimize.quantize", seconds=5),
        step("optimize.quantize", seconds=7),
        step("evaluate.gate", runs.FAILED, seconds=2),
        step("release.report", runs.WAITING),
    )
    seconds = read("toolchain_run_step_seconds")
    assert seconds == {
        "local, films, train.torch_image": 30,
        "local, films, optimize.quantize": 12,
        "local, films, evaluate.gate": 2,
    }
    number = {name.rpartition(", ")[2]: value for name, value in read("toolchain_run_steps").items()}
    assert number == {"cached": 1, "succeeded": 3, "failed": 1, "waiting": 1, "running": 0, "interrupted": 0}


def test_progress_and_loss_of_a_running_step(tmp_path: Path, read: Read):
    with run_lock(tmp_path):  # without the lock the run counts as interrupted
        run = recorded(tmp_path, runs.RUNNING, step("data.ingest", seconds=1), step("train.torch_text", runs.RUNNING))
        assert read("toolchain_run_step_progress") == {}
        log = run.folder / "logs" / "train.torch_text.log"
        log.write_text("x" * 9000 + "\n" + LINE + "something else\nprogress: train 2,240/4,4")  # an incomplete line
        assert read("toolchain_run_step_progress") == {"local, films, train.torch_text": 0.25}
        values = read("toolchain_run_step_value")
        assert read("toolchain_run_seconds")["local, films"] < 60  # up to now
    assert values == {
        "local, films, train.torch_text, loss": 0.312,
        "local, films, train.torch_text, tokens_per_second": 2000,
        "local, films, train.torch_text, shift": -0.5,
    }
    assert read("toolchain_run_step_progress") == {}
    assert read("toolchain_run_state")["local, films, interrupted"] == 1


def test_cost_of_all_runs_if_prices_are_known(tmp_path: Path, read: Read):
    for _ in range(2):
        recorded(tmp_path, runs.SUCCEEDED, step("train.torch_image", seconds=1800))
    hours = read("toolchain_runs_core_hours")["local, films"]
    assert hours == pytest.approx(os.cpu_count() or 1)
    assert read("toolchain_runs_money") == {}
    money = read("toolchain_runs_money", Prices(currency="EUR", cpu_hour=0.05))
    assert money == {"EUR, local, films": pytest.approx(0.05 * hours)}


def test_a_folder_without_runs_has_no_metrics_of_runs(tmp_path: Path, read: Read):
    assert read("toolchain_runs") == {}
