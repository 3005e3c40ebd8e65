"""Items of a runs folder that is made here by hand."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli.cleanup.local import TRASH, LocalArtifacts
from cli.records.runs import SUCCEEDED, StepRecord, new_run
from cli.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TOOLCHAIN_SCRATCH", str(tmp_path / "scratch"))
    return Settings(tmp_path / "runs", endpoint="", namespace="", token="", tracking_uri="")


def test_a_run_depends_on_those_whose_results_it_used(settings: Settings):
    first, second = (new_run("tidy", settings.runs, {}, [StepRecord("split", "data.split", "k")]) for _ in range(2))
    for run in (first, second):
        run.steps[0].outputs = {"splits": str(first.folder / "artifacts" / "splits")}
        run.state = SUCCEEDED
        run.save()
    items = {item.name: item for item in LocalArtifacts(settings, {}).items()}
    assert items[first.id].dependencies == frozenset()
    assert items[second.id].dependencies == {first.id}


def test_a_file_with_two_names_counts_once(settings: Settings):
    run = new_run("tidy", settings.runs, {}, [])
    before = LocalArtifacts(settings, {}).items()[0].size_bytes
    (run.folder / "one").write_bytes(b"x" * 1000)
    os.link(run.folder / "one", run.folder / "two")
    assert LocalArtifacts(settings, {}).items()[0].size_bytes == before + 1000


def test_an_unknown_folder_is_kept_and_shared_ones_are_no_items(settings: Settings):
    (settings.runs / "mine").mkdir(parents=True)
    (settings.runs / "cache").mkdir()
    (item,) = LocalArtifacts(settings, {}).items()
    assert (item.name, item.type) == ("mine", "unknown")
    assert item.keep_reason


def test_the_rest_of_an_interrupted_removal_is_removed_at_any_age(settings: Settings):
    (settings.runs / TRASH / "old").mkdir(parents=True)
    artifacts = LocalArtifacts(settings, {})
    (item,) = artifacts.items()
    assert item.changed == datetime.min.replace(tzinfo=UTC)
    artifacts.remove(item)
    assert not (settings.runs / TRASH).exists()
