"""A registered classifier is exported for TorchServe by the command line, from a real registry."""

import zipfile
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.support.models import one_box, word_counter, write_model
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import open_model
from toolchain.services.mlflow import Tracker


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs with a registry: "words" has two versions, the first the champion; "boxes" is a detector."""
    folder = tmp_path_factory.mktemp("exported") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        tracker = Tracker()
        models = [
            ("words", write_model(folder.with_name("one"), "text-classification", word_counter)),
            ("words", write_model(folder.with_name("two"), "text-classification", word_counter, ("bad", "good"))),
            ("boxes", write_model(folder.with_name("box"), "object-detection", one_box, ("thing", "whole"))),
        ]
        for name, model in models:
            run = tracker.create_run("any", "any", {})
            tracker.upload(run, model, "variants/fp32")
            tracker.add_version(name, run, "variants/fp32", {"digest": open_model(model).digest}, "")
        tracker.set_alias("words", "champion", "1")
        tracker.set_alias("boxes", "candidate", "1")
    return folder


@pytest.fixture(autouse=True)
def runs(registered: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(registered))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return registered


def digest_in(folder: Path) -> str:
    """Return the digest of the model that the archive in ``folder`` was made from."""
    return open_measurement(folder, "torchserve").lineage[-1].parents["model"]


def test_the_champion_is_exported_by_its_name_and_any_version_by_its_number(
    registered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["export-torchserve", "words", "-o", str(tmp_path / "champion")]) == 0
    assert f"version 1 of words: {tmp_path}/champion/model-store/words-1.mar" in capsys.readouterr().out
    assert digest_in(tmp_path / "champion") == open_model(registered.with_name("one")).digest
    assert main(["export-torchserve", "words:2", "-o", str(tmp_path / "second"), "--name", "w", "--workers", "3"]) == 0
    assert digest_in(tmp_path / "second") == open_model(registered.with_name("two")).digest
    with zipfile.ZipFile(tmp_path / "second" / "model-store" / "w-2.mar") as file:
        assert b"minWorkers: 3\n" in file.read("model-config.yaml")


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nothing"], 2, "no model 'nothing' is registered"),
        (["words:9"], 2, "words has no version 9; it has 1, 2"),
        (["words", "--alias", "best"], 2, "words has no alias 'best'"),
        (["words", "--name", "a/b"], 2, "TorchServe takes letters"),
        (["words", "--workers", "0"], 2, "workers is 0"),
        (["boxes"], 1, "is a model for object-detection"),
    ],
)
def test_what_cannot_be_exported_is_rejected_in_one_line(
    words: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["export-torchserve", *words, "-o", str(tmp_path / "refused")]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "refused").exists()


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "mine").touch()
    assert main(["export-torchserve", "words", "-o", str(tmp_path)]) == 1
    assert "exists already" in capsys.readouterr().err
