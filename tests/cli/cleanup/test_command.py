"""Cleaning on this machine: what is removed, what is kept, and what is printed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.cleanup.command import clean
from cli.cleanup.local import TRASH, LocalArtifacts
from cli.records import runs
from cli.records.runs import Run, RunInProgressError, StepRecord
from cli.serving import serve
from cli.settings import Settings, read_settings
from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.folder import link_or_copy
from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in ("KFP_ENDPOINT", "MLFLOW_TRACKING_URI", "TOOLCHAIN_SCRATCH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    return read_settings()


@pytest.fixture
def left(settings: Settings, reviews: Path) -> Callable[..., Run]:
    """Return a function that leaves a run of some days ago, which made a dataset or took one from another run."""

    def leave(days: float, pipeline: str = "prepare", takes: Run | None = None, state: str = runs.SUCCEEDED) -> Run:
        run = runs.new_run(pipeline, settings.runs, {}, [StepRecord("split", "data.split", "key")])
        made = (takes or run).folder / "artifacts" / "split" / "splits"
        if takes is None:
            link_or_copy(reviews, made)
        run.steps[0].outputs, run.steps[0].state = {"splits": str(made)}, runs.SUCCEEDED
        run.state, run.started = state, (NOW - timedelta(days=days)).isoformat()
        run.save()
        settings.cache.mkdir(exist_ok=True)
        entry = {"splits": {"uri": str(made), "schema_title": "system.Dataset"}, "Output": 3}
        (settings.cache / f"{run.id}.json").write_text(json.dumps(entry))
        return run

    return leave


def cleaned(settings: Settings, older_than: str = "30d", dry_run: bool = False) -> None:
    clean(older_than, dry_run, "local", settings)


def kept(settings: Settings) -> set[str]:
    return {path.parent.name for path in settings.runs.glob(f"*/{runs.RECORD}")}


def test_an_old_run_goes_with_its_cached_results(settings: Settings, left: Callable[..., Run]):
    old, new = left(40), left(1)
    cleaned(settings)
    assert kept(settings) == {new.id}
    assert not old.folder.exists()
    assert [entry.stem for entry in settings.cache.iterdir()] == [new.id]
    assert not (settings.runs / TRASH).exists()


def test_a_run_whose_results_a_kept_one_took_stays(
    settings: Settings, left: Callable[..., Run], capsys: pytest.CaptureFixture[str]
):
    made = left(50)
    left(45)
    took = left(40, takes=made)
    cleaned(settings)
    assert kept(settings) == {made.id, took.id}
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("prepare-")}
    assert "the last run of prepare" in lines[took.id]
    assert f"{took.id} needs it" in lines[made.id]
    assert open_dataset(Path(took.steps[0].outputs["splits"])).digest


def test_the_last_run_of_each_pipeline_stays_and_the_last_that_succeeded(settings: Settings, left: Callable[..., Run]):
    left(90)
    good, failed, other = left(80), left(70, state=runs.FAILED), left(60, pipeline="bert_finetune")
    cleaned(settings)
    assert kept(settings) == {good.id, failed.id, other.id}


def test_what_a_registered_model_was_made_from_stays(
    settings: Settings, left: Callable[..., Run], capsys: pytest.CaptureFixture[str]
):
    made, last = left(60), left(50, state=runs.SUCCEEDED)
    shutil.rmtree(last.folder / "artifacts")  # the last run made something else
    digest = open_dataset(Path(made.steps[0].outputs["splits"])).digest
    tracker = Tracker()
    origin = tracker.create_run("reviews", "run", {})
    tracker.add_version(
        "mood", origin, "variants/fp32", {"lineage": f"data.ingest {'0' * 64}\ndata.split {digest}"}, ""
    )
    cleaned(settings)
    assert kept(settings) == {made.id, last.id}
    assert "mood:1 was made from it" in capsys.readouterr().out


def test_old_checkpoints_go(settings: Settings, left: Callable[..., Run]):
    left(1)
    for name, days in (("old", 40), ("new", 1)):
        folder = settings.runs / "scratch" / "checkpoints" / name
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"state")
        when = (NOW - timedelta(days=days)).timestamp()
        for path in (folder / "state.pt", folder):
            os.utime(path, (when, when))
    cleaned(settings)
    assert [path.name for path in (settings.runs / "scratch" / "checkpoints").iterdir()] == ["new"]


def test_what_nothing_is_known_of_stays_and_is_reported(
    settings: Settings, left: Callable[..., Run], capsys: pytest.CaptureFixture[str]
):
    left(1)
    (settings.runs / "my notes").mkdir()
    (settings.runs / "my notes" / "a.txt").write_text("mine")
    cleaned(settings, "0h")
    assert (settings.runs / "my notes" / "a.txt").is_file()
    assert "it has no run.json" in capsys.readouterr().out


def test_models_that_were_served_here_samples_and_metrics_are_no_local_artifacts(
    settings: Settings, left: Callable[..., Run], capsys: pytest.CaptureFixture[str]
):
    left(1)
    others = [
        serve.repository_path("reviews", settings) / "digest",
        settings.runs / "samples",
        settings.runs / "monitoring",
    ]
    for folder in others:
        folder.mkdir(parents=True)
    cleaned(settings, "0h")
    assert all(folder.is_dir() for folder in others)
    assert "it has no run.json" not in capsys.readouterr().out


def test_a_dry_run_shows_and_changes_nothing(
    settings: Settings, left: Callable[..., Run], capsys: pytest.CaptureFixture[str]
):
    old, new = left(40), left(1)
    before = sorted(settings.runs.rglob("*"))
    cleaned(settings, dry_run=True)
    assert sorted(settings.runs.rglob("*")) == before
    said = capsys.readouterr().out
    lines = {line.split()[0]: line.rstrip() for line in said.splitlines() if line.startswith("prepare-")}
    size = sum(path.stat().st_size for path in old.folder.rglob("*") if path.is_file())
    assert f"1 of 2 would be removed ({size / 1e6:.1f} MB)" in said
    assert lines[old.id].endswith("old, and not needed")
    assert lines[new.id].endswith("the last run of prepare")


def test_what_an_interrupted_cleaning_left_goes_with_the_next(
    settings: Settings, left: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
):
    old, new = left(40), left(1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            cleaned(settings)
    assert (settings.runs / TRASH / old.id).is_dir()
    assert [run.id for run in runs.all_runs(settings.runs)] == [new.id], "a run is there whole or not at all"
    cleaned(settings)
    assert not (settings.runs / TRASH).exists()


def interrupt(path: Path) -> None:
    raise KeyboardInterrupt


def test_a_run_in_progress_prevents_cleaning(settings: Settings, left: Callable[..., Run]):
    left(40)
    going = left(35, state=runs.RUNNING)
    with runs.run_lock(settings.runs):
        with pytest.raises(RunInProgressError, match="in progress"):
            cleaned(settings)
        (item,) = [item for item in LocalArtifacts(settings, {}).items() if item.name == going.id]
    assert item.keep_reason == "in progress"
    assert len(kept(settings)) == 2


@pytest.mark.slow
def test_real_runs_are_cleaned_and_run_again(settings: Settings, tmp_path: Path):
    rows = "\n".join(f"a {mood} film seen in {1900 + n},{mood}" for n in range(120) for mood in ("good", "bad"))
    (tmp_path / "rows.csv").write_text(f"text,label\n{rows}\n")

    def pipelines(*words: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-m", "cli", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    submit = ["submit", "prepare", "--engine", "local", "-p", f"source={tmp_path / 'rows.csv'}"]
    pipelines(*submit)
    pipelines(*submit, "-p", "seed=7")
    first, second = reversed(runs.all_runs(settings.runs))
    assert f"{second.id} needs it" in pipelines("clean", "--older-than", "0h", "--engine", "local")
    assert kept(settings) == {first.id, second.id}, "the second took its rows from the first"
    pipelines(*submit, "-p", "seed=7", "--no-cache")
    assert "2 of 3 removed" in pipelines("clean", "--older-than", "0h", "--engine", "local")
    assert "5 of them cached" in pipelines(*submit, "-p", "seed=7")
    assert "2 of them cached" in pipelines(*submit), "what is gone is made again"
