"""The step as a pod runs it: its decision is a measurement, and a rejected version changes nothing."""

from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.support.models import record, word_counter, write_model
from toolchain.artifacts.expected import Row
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError, ConfigError, ConflictError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.routing import FILE, parse
from toolchain.release import promote
from toolchain.release.promote.check import Check
from toolchain.services.mlflow import Tracker

NUMBERS = count(1)  # of models: each test has its own


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('promote')}/mlflow.db"


@pytest.fixture
def tracker(database: str, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, tmp_path: Path) -> str:
    """The name of a model of two accurate versions, of one age, the second the candidate."""
    name = f"words-{next(NUMBERS)}"
    run = tracker.create_run("any", "any", {})
    for number in ("1", "2"):
        graph = partial(word_counter, opset=15 + int(number))  # what tells their files apart, and nothing else
        folder = write_model(tmp_path / number, "text-classification", graph)
        record(folder, [Row(text="good", scores=(0.2689414, 0.7310586))])  # softmax of 0 and 1
        tracker.upload(run, folder, f"variants/{number}")
        tags = {"digest": open_model(folder).digest, "variant": f"variant-{number}", "accurate": "true"}
        tracker.add_version(name, run, f"variants/{number}", tags, "")
    tracker.set_alias(name, "candidate", "2")
    return name


def test_a_promotion_is_recorded_in_a_measurement(model: str, tracker: Tracker, tmp_path: Path):
    config = promote.Config(model=model, reason="the first", user="ann")
    assert promote.run(tmp_path / "promotion", config) == promote.Result(promoted=True, changed=True)
    found = open_measurement(tmp_path / "promotion", "promotion")
    assert found.data == {
        "model": model,
        "version": "2",
        "digest": open_model(tmp_path / "2").digest,
        "variant": "variant-2",
        "verdict": "winner on an unknown processor",
        "action": "promote",
        "reason": "first version",
        "overridden": "",
        "rows": 1,
        "matching": 1,
        "openapi": tracker.versions(model)[1].tags["openapi.sha256"],
        "compared_with": "",
        "breaking": [],
        "sha256": ledger.read(tracker, model).head,
        "promoted": True,
        "trial": [],
    }
    assert (found.lineage[-1].step, found.lineage[-1].config["user"]) == ("release.promote", "ann")
    assert promote.run(tmp_path / "again", config) == promote.Result(promoted=True, changed=False)
    assert len(ledger.read(tracker, model).lines) == 1


def test_variants_of_one_run_are_not_older(model: str, tmp_path: Path):
    promote.run(tmp_path / "second", promote.Config(model=f"{model}:2"))
    assert promote.run(tmp_path / "first", promote.Config(model=f"{model}:1")).changed


def test_a_rejection_changes_nothing(model: str, tracker: Tracker, tmp_path: Path):
    tracker.tag_version(tracker.versions(model)[1], {"accurate": "false"})
    found = promote.run(tmp_path / "promotion", promote.Config(model=model))
    assert found == promote.Result(promoted=False, changed=False)
    data = open_measurement(tmp_path / "promotion", "promotion").data
    assert (data["action"], data["rows"], data["sha256"]) == ("reject", 0, ""), "no server was started for it"
    assert (tracker.aliases(model), ledger.read(tracker, model).lines) == ({"candidate": "2"}, ())


def test_a_breaking_version_needs_force_and_the_ledger_records_it(
    model: str, tracker: Tracker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    promote.run(tmp_path / "first", promote.Config(model=f"{model}:1"))
    promote.run(tmp_path / "second", promote.Config(model=f"{model}:2"))
    assert "replaces version 1, API compatible" in capfd.readouterr().out
    renamed = write_model(tmp_path / "3", "text-classification", word_counter, ("negative", "good"))
    record(renamed, [Row(text="good", scores=(0.2689414, 0.7310586))])
    run = tracker.create_run("any", "any", {})
    tracker.upload(run, renamed, "variants/3")
    tags = {"digest": open_model(renamed).digest, "variant": "variant-3", "accurate": "true"}
    tracker.add_version(model, run, "variants/3", tags, "")
    refused = promote.run(tmp_path / "third", promote.Config(model=f"{model}:3"))
    assert refused == promote.Result(promoted=False, changed=False)
    data = open_measurement(tmp_path / "third", "promotion").data
    lost = 'POST /predict response 200 predictions[].label: "positive" removed'
    assert (data["compared_with"], lost in data["breaking"]) == ("2", True)
    assert f"it breaks callers of version 2: {lost}" in capfd.readouterr().out
    forced = promote.Config(model=f"{model}:3", force=True, reason="every caller was asked")
    assert promote.run(tmp_path / "forced", forced).changed
    assert lost in ledger.read(tracker, model).lines[-1].entry.overridden


def test_files_that_were_changed_in_mlflow_are_not_promoted(model: str, tracker: Tracker, tmp_path: Path):
    tracker.tag_version(tracker.versions(model)[1], {"digest": "0" * 64})
    with pytest.raises(ArtifactError, match=f"version 2 of {model} was changed in MLflow"):
        promote.run(tmp_path / "promotion", promote.Config(model=model))
    assert not (tmp_path / "promotion").exists()
    assert "champion" not in tracker.aliases(model)


def test_a_concurrent_promotion_during_the_server_check_wins(
    model: str, tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    check_with_server = promote.check_with_server

    def another_promotes_meanwhile(*words: object) -> Check:
        monkeypatch.setattr(promote, "check_with_server", check_with_server)
        promote.run(tmp_path / "theirs", promote.Config(model=f"{model}:1", user="bob"))
        return check_with_server(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(promote, "check_with_server", another_promotes_meanwhile)
    with pytest.raises(ConflictError, match=r"another user promoted version 1 \(variant-1, digest .*\) by bob"):
        promote.run(tmp_path / "ours", promote.Config(model=model, user="ann"))
    assert tracker.aliases(model)["champion"] == "1"
    assert [line.valid for line in ledger.read(tracker, model).lines] == [True, False]


def test_an_abandoned_canary_is_ended_by_the_next_promotion(model: str, tracker: Tracker, tmp_path: Path):
    promote.run(tmp_path / "first", promote.Config(model=f"{model}:1"))
    second = tracker.versions(model)[1]
    said = ledger.Entry(
        action=ledger.CANARY, version="2", digest=second.tags["digest"], variant="v", verdict="accurate"
    )
    head = ledger.read(tracker, model).head
    ledger.append(tracker, model, second, said.renewed(percent=10.0, watched_until=1, previous=head))
    assert promote.run(tmp_path / "again", promote.Config(model=f"{model}:1")).promoted
    last = ledger.read(tracker, model).lines[-1].entry
    assert (last.action, last.version, last.reason) == ("canary ended", "2", "its promote process is gone")


def test_a_promotion_is_published(model: str, tmp_path: Path):
    place = tmp_path / "served"
    promote.run(tmp_path / "promotion", promote.Config(model=model, model_repository=str(place)))
    routing = parse((place / FILE).read_bytes(), "")
    assert (routing.stable.version, open_model(place / routing.stable.digest).digest) == ("2", routing.stable.digest)


def test_a_shadow_is_published_beside_the_serving_version(
    model: str, tracker: Tracker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    place = tmp_path / "served"
    told = {"model_repository": str(place), "user": "ann"}
    beside = promote.Config(model=f"{model}:2", shadow=True, **told)
    assert not promote.run(tmp_path / "early", beside).promoted
    assert "no version is serving" in capfd.readouterr().out
    promote.run(tmp_path / "first", promote.Config(model=f"{model}:1", **told))
    assert promote.run(tmp_path / "shadow", beside) == promote.Result(promoted=False, changed=False)
    assert "started a shadow of version 2" in capfd.readouterr().out
    data = open_measurement(tmp_path / "shadow", "promotion").data
    assert (data["action"], data["rows"], data["sha256"]) == ("shadow", 1, ledger.read(tracker, model).head)
    routing = parse((place / FILE).read_bytes(), "")
    assert (routing.stable.version, routing.shadow.version) == ("1", "2")  # type: ignore[union-attr]
    for target in routing.targets.values():
        assert open_model(place / target.digest).digest == target.digest
    assert tracker.aliases(model)["champion"] == "1"
    assert promote.run(tmp_path / "second", promote.Config(model=f"{model}:2", **told)).promoted
    routing = parse((place / FILE).read_bytes(), "")
    assert (routing.stable.version, routing.shadow) == ("2", None)


CANARY = {"model": "words", "canary": 10.0, "model_repository": "/tmp/served", "servers": ["http://127.0.0.1:1"]}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (CANARY | {"canary": 120.0}, "a share is 120 %"),
        (CANARY | {"steps": [0.0]}, "a share is 0 %"),
        (CANARY | {"minutes": 0.0}, "minutes is 0: give more than 0"),
        (CANARY | {"model_repository": ""}, "canary is set, but model_repository is empty"),
        (CANARY | {"shadow": True}, "shadow is set, but canary is set too"),
        ({"model": "words", "shadow": True}, "shadow is set, but model_repository is empty"),
        (CANARY | {"servers": []}, "canary is set, but servers and namespace are empty"),
        (CANARY | {"slow": [0.1]}, r"slow is \[0.1\]: give two shares"),
        (CANARY | {"disagreement": [0.3, 0.2]}, "disagreement: good is 0.3 and bad is 0.2"),
        (CANARY | {"alpha": 0.0}, "failures: alpha is 0"),
        ({}, "give a registered model as name"),
        ({"model": "words:1@best"}, "give a registered model as name"),
        ({"model": "words:one"}, "a version is a number, as in words:3"),
        ({"model": "words.ledger"}, "words.ledger is a ledger: promote words"),
        ({"model": "words", "force": True, "reason": " "}, "force is set without a reason"),
        ({"model": "words", "reason": "x" * 501}, "reason has 501 characters: give 500 at most"),
    ],
)
def test_an_invalid_setting_is_an_error(said: dict, reason: str):
    with pytest.raises(ConfigError, match=reason):
        promote.Config(**said)
