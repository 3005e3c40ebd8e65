"""Commands that read a registry, where runs go to a cluster: they read the cluster's, or with --engine local ours."""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cli.__main__ import main
from cli.cleanup import cluster
from cli.records.runs import SUCCEEDED, Run
from cli.run import submit
from cli.settings import Settings
from tests.support.models import RECORDED, record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.lifecycle.registry import complete
from toolchain.services import kubernetes
from toolchain.services.mlflow import Tracker


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the address of a registry that holds "words", and the digest of its one version, the candidate."""
    folder = tmp_path_factory.mktemp("theirs")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        tracker = Tracker()
        model = write_model(folder / "model", "text-classification", word_counter)
        record(model, [Row(text=RECORDED[3], scores=(0.7310586, 0.2689414))])
        run, digest = tracker.create_run("any", "any", {}), open_model(model).digest
        tracker.upload(run, model, "variants/fp32")
        version = tracker.add_version("words", run, "variants/fp32", {"digest": digest, "variant": "fp32"}, "")
        complete(tracker, run, "words", {"fp32": version}, "")
        tracker.set_alias("words", "candidate", "1")
    return uri, digest


@pytest.fixture(autouse=True)
def _cluster(theirs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the environment name a cluster, which tells of that registry; this machine has none."""
    monkeypatch.setattr(kubernetes, "is_configured", lambda: True)
    monkeypatch.setattr(kubernetes, "settings_of", lambda namespace, name: {"MLFLOW_TRACKING_URI": theirs[0]})
    monkeypatch.setenv("KFP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    for name in ("MLFLOW_TRACKING_URI", "TOOLCHAIN_BUCKET"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (["ledger", "words"], "no version of words was promoted yet"),
        (["lineage", "words"], "{digest:.12}"),
        (["lineage", "{url}"], "serves version 1 of words, digest {digest:.12}"),
        (["openapi", "words"], '"openapi": "3.1'),
        (["export-torchserve", "words", "-o", "{folder}/mar"], "version 1 of words: {folder}/mar/model-store"),
    ],
)
def test_what_reads_a_registry_reads_the_clusters(
    command: list[str],
    output: str,
    theirs: tuple[str, str],
    tmp_path: Path,
    answering: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
):
    url = answering(200, json.dumps({"digest": theirs[1], "name": "words"}))
    assert main([word.format(url=url, folder=tmp_path) for word in command]) == 0
    assert output.format(digest=theirs[1], folder=tmp_path) in capsys.readouterr().out
    assert "MLFLOW_TRACKING_URI" not in os.environ, "the cluster's registry is reached while a command needs it"
    local = [*(word.format(url=url, folder=tmp_path / "local") for word in command), "--engine", "local"]
    assert main(local) == 2, "this machine has no such model"


def test_what_a_cluster_promotes_is_served_here_from_its_own_model_repository(
    theirs: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    began: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environment: began.append(command))
    assert main(["serve", "words"]) == 0
    own = tmp_path / "runs" / "served" / ".toolchain.cluster" / "words"
    assert str(own) in began[0]
    assert open_model(own / theirs[1]).digest == theirs[1]
    assert "later promotions on the cluster are not followed" in capsys.readouterr().out


def test_a_cleaning_of_the_clusters_bucket_keeps_what_the_clusters_models_need(monkeypatch: pytest.MonkeyPatch):
    needed: list[Any] = []

    class Nothing:
        def items(self) -> list[Any]:
            return []

    def kept(settings: Any, found: Any) -> Any:
        needed.append(found)
        return nullcontext(Nothing())

    monkeypatch.setattr(cluster, "cluster_artifacts", kept)
    assert main(["clean", "--older-than", "30d", "--dry-run"]) == 0
    assert "words" in str(needed[0])


def test_a_model_is_measured_again_from_the_clusters_registry(theirs: tuple[str, str], monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []

    def measured(submission: submit.Submission, settings: Settings) -> Run:
        seen.append(settings.tracking_uri)
        return Run("measure-1", "measure", settings.runs, {}, [], state=SUCCEEDED)

    monkeypatch.setattr(submit, "submit_local", measured)
    assert main(["measure", "words"]) == 0
    assert seen == [theirs[0]]


def test_a_cluster_without_a_named_registry_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(kubernetes, "settings_of", lambda namespace, name: {})
    assert main(["ledger", "words"]) == 1
    assert "the cluster's MLflow is not known: set MLFLOW_TRACKING_URI" in capsys.readouterr().err
