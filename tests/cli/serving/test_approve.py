"""A run that asked for approval waits for a person, by the command line and with a real registry."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from cli.__main__ import main
from cli.settings import read_settings
from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import CANARY, Entry
from toolchain.lifecycle.routing import FILE, parse
from toolchain.services.mlflow import Tracker

RUN = "words-20261125-120000-abcd"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
NUMBERS = count(1)  # of models: each test has its own


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, made = tmp_path_factory.mktemp("models"), []
    for number in (1, 2):
        graph = partial(word_counter, opset=15 + number)
        made.append(write_model(folder / str(number), "text-classification", graph))
        record(made[-1], [Row(text="good", scores=(0.2689414, 0.7310586))])  # softmax of 0 and 1
    return made


@pytest.fixture
def tracker(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path_factory.getbasetemp() / "approval-runs"))
    monkeypatch.setenv("TOOLCHAIN_OWNER", "ann")
    for name in ("TOOLCHAIN_BUCKET", "KFP_ENDPOINT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", read_settings().tracking_uri)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, models: list[Path]) -> str:
    """The name of a model whose version 1 nobody must approve, and whose candidate, 2, waits for it."""
    name = f"words-{next(NUMBERS)}"
    for folder, run in zip(models, ("", f"{RUN}-{name}"), strict=True):
        place = tracker.create_run("any", "any", {})
        tracker.upload(place, folder, "variants/fp32")
        tags = {"digest": open_model(folder).digest, "variant": "fp32", "accurate": "true"}
        asked = {"approval": run} if run else {}
        tracker.add_version(name, place, "variants/fp32", tags | asked, "")
    tracker.set_alias(name, "candidate", "2")
    return name


Promote = Callable[..., int]


@pytest.fixture
def promote(model: str) -> Promote:
    return lambda *words: main(["promote", model, "--server", NOWHERE, *words])


def test_a_version_that_waits_is_promoted_once_a_person_has_approved_its_run(
    model: str, promote: Promote, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    for words in ([], ["--force", "--reason", "hurry"]):
        assert promote(*words) == 3
        assert f"it waits for approval: toolchain approve {RUN}-{model}" in capsys.readouterr().out
    assert "champion" not in tracker.aliases(model)
    assert main(["approve", f"{RUN}-{model}", "--reason", "read twenty answers"]) == 0
    assert f"toolchain promote {model}" in capsys.readouterr().out
    assert promote() == 0
    assert tracker.aliases(model)["champion"] == "2"
    said, promoted = (line.entry for line in ledger.read(tracker, model).lines)
    assert (said.action, said.version, said.user, said.reason) == ("approved", "2", "ann", "read twenty answers")
    assert promoted.action == "promoted"
    assert main(["ledger", model]) == 0
    assert "approved" in capsys.readouterr().out


def test_a_rejected_run_is_never_promoted_until_someone_approves_it_after_all(
    model: str, promote: Promote, capsys: pytest.CaptureFixture[str]
):
    run = f"{RUN}-{model}"
    assert main(["reject", run]) == 2
    assert "--reason" in capsys.readouterr().err
    assert main(["reject", run, "--reason", "it is rude"]) == 0
    assert f"none of its versions of {model} can be promoted" in capsys.readouterr().out
    assert promote("--force", "--reason", "hurry") == 3
    assert f"ann rejected {run}: it is rude" in capsys.readouterr().out
    assert main(["approve", run]) == 0
    assert promote() == 0


def test_rejecting_what_serves_reports_that_it_still_serves(
    model: str, promote: Promote, capsys: pytest.CaptureFixture[str]
):
    assert main(["approve", f"{RUN}-{model}"]) == 0
    assert promote("--version", "2") == 0
    capsys.readouterr()
    assert main(["reject", f"{RUN}-{model}", "--reason", "it is rude"]) == 0
    assert f"version 2 of {model} is one of them and still live: toolchain rollback" in capsys.readouterr().out


def test_what_requested_no_approval_waits_for_none(promote: Promote):
    assert promote("--version", "1") == 0


def test_a_canary_that_is_rejected_is_ended_and_servers_are_updated(
    model: str, promote: Promote, tracker: Tracker, capsys: pytest.CaptureFixture[str]
):
    assert promote("--version", "1") == 0
    second = tracker.versions(model)[1]
    said = Entry(
        action=CANARY, version="2", digest=second.tags["digest"], variant="fp32", verdict="accurate", percent=10
    )
    ledger.append(tracker, model, second, said.renewed(previous=ledger.read(tracker, model).head))
    assert main(["reject", f"{RUN}-{model}", "--reason", "it is rude"]) == 0
    actions = [line.entry.action for line in ledger.read(tracker, model).lines]
    assert actions == ["promoted", "canary", "rejected", "canary ended"]
    routing = parse((read_settings().runs / "served" / model / FILE).read_bytes(), "")
    assert (routing.stable.version, routing.canary) == ("1", None)


def test_a_run_that_requested_nothing_is_reported_with_those_that_did(model: str, capsys: pytest.CaptureFixture[str]):
    assert main(["approve", "other-20261125-120000-abcd"]) == 2
    error = capsys.readouterr().err
    assert "run 'other-20261125-120000-abcd' requires no approval" in error
    assert f"{RUN}-{model}" in error


def test_an_empty_folder_of_runs_has_nothing_to_approve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert main(["approve", RUN]) == 2
    assert "no model is registered yet" in capsys.readouterr().err
