"""A repository holds what the ledger names: models first, the document last, and what a server may still need."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models import word_counter, write_model
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError
from toolchain.lifecycle import ledger, model_repository
from toolchain.lifecycle.ledger import CANARY, PROMOTED, Entry
from toolchain.lifecycle.routing import FILE, RoutingConfig, parse
from toolchain.services.mlflow import Tracker
from toolchain.services.storage import s3


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('repository')}/mlflow.db"


@pytest.fixture
def tracker(database: str, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    return Tracker()


@pytest.fixture
def model(tracker: Tracker, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The name of a model of three versions that this test alone has."""
    name = request.node.name[:60].partition("[")[0]
    for number in ("1", "2", "3"):
        run = tracker.create_run("any", "any", {})
        labels = (f"bad-{number}", f"good-{number}")
        folder = write_model(tmp_path / "models" / number, "text-classification", word_counter, labels)
        tracker.upload(run, folder, "variants/fp32")
        tags = {"digest": open_model(folder).digest, "variant": "fp32"}
        tracker.add_version(name, run, "variants/fp32", tags, "")
    return name


def digest(tracker: Tracker, model: str, number: str) -> str:
    return next(one.tags["digest"] for one in tracker.versions(model) if one.number == number)


def act(tracker: Tracker, model: str, number: str, action: str = PROMOTED, **said: float) -> None:
    version = next(one for one in tracker.versions(model) if one.number == number)
    head = ledger.read(tracker, model).head
    told = Entry(
        action=action, version=number, digest=version.tags["digest"], variant="fp32", verdict="accurate", previous=head
    )
    ledger.append(tracker, model, version, replace(told, **said))  # type: ignore[arg-type]


def on(place: str) -> tuple[RoutingConfig, set[str]]:
    """Return what is told at ``place``, and the digests of the models there."""
    if place.startswith("s3://"):
        names = {file.uri.removeprefix(f"{place}/").partition("/")[0] for file in s3.listing(f"{place}/")}
        return parse(s3.content(f"{place}/{FILE}"), place), names - {FILE}
    return parse((Path(place) / FILE).read_bytes(), place), {one.name for one in Path(place).iterdir()} - {FILE}


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "folder":
        return str(tmp_path / "served" / "words")
    return f"s3://{request.getfixturevalue('s3_bucket')}/served/{tmp_path.name}"


def test_before_the_first_promotion_nothing_is_published(tracker: Tracker, model: str, place: str, tmp_path: Path):
    assert model_repository.publish(tracker, model, place) is None
    assert not (tmp_path / "served").exists()


def test_what_the_ledger_names_is_there_with_its_models(tracker: Tracker, model: str, place: str, tmp_path: Path):
    act(tracker, model, "1")
    assert model_repository.publish(tracker, model, place) == on(place)[0]
    act(tracker, model, "2", CANARY, percent=10)
    model_repository.publish(tracker, model, place)
    routing, digests = on(place)
    assert routing == ledger.read(tracker, model).routing
    assert (routing.stable.version, routing.percent) == ("1", 10)
    assert digests == {digest(tracker, model, "1"), digest(tracker, model, "2")}
    if place.startswith("s3://"):
        s3_copy = tmp_path / "copy"
        for file in s3.listing(f"{place}/{digest(tracker, model, '2')}/"):
            (s3_copy / Path(file.uri).name).parent.mkdir(exist_ok=True)
            (s3_copy / Path(file.uri).name).write_bytes(s3.content(file.uri))
        assert open_model(s3_copy).digest == digest(tracker, model, "2")
    else:
        assert open_model(Path(place) / digest(tracker, model, "2")).digest == digest(tracker, model, "2")


def test_a_damaged_model_on_a_folder_is_put_there_again(tracker: Tracker, model: str, tmp_path: Path):
    act(tracker, model, "1")
    model_repository.publish(tracker, model, str(tmp_path / "served"))
    folder = tmp_path / "served" / digest(tracker, model, "1")
    (folder / "model.onnx").unlink()
    model_repository.publish(tracker, model, str(tmp_path / "served"))
    assert open_model(folder).digest == folder.name


def test_what_was_changed_in_mlflow_is_not_put_there(tracker: Tracker, model: str, place: str):
    act(tracker, model, "1")
    model_repository.publish(tracker, model, place)
    changed = next(one for one in tracker.versions(model) if one.number == "2")
    tracker.tag_version(changed, {"digest": "0" * 64})
    act(tracker, model, "2")
    with pytest.raises(ArtifactError, match=f"version 2 of {model} was changed in MLflow"):
        model_repository.publish(tracker, model, place)
    assert on(place)[0].stable.version == "1", "servers go on with what is whole"


def test_the_later_publisher_sets_right_what_it_undid(
    tracker: Tracker, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    act(tracker, model, "1")
    write = model_repository.Folder.write_routing

    def another_promotes_first(self: model_repository.Folder, routing: bytes) -> None:
        monkeypatch.setattr(model_repository.Folder, "write_routing", write)
        act(tracker, model, "2")
        model_repository.publish(tracker, model, str(self.path))
        write(self, routing)

    monkeypatch.setattr(model_repository.Folder, "write_routing", another_promotes_first)
    done = model_repository.publish(tracker, model, str(tmp_path))
    assert done is not None
    assert done.stable.version == "2"
    assert on(str(tmp_path))[0] == done


def test_what_is_unused_goes_after_an_hour_and_what_a_rollback_leads_to_stays(
    tracker: Tracker, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    place = str(tmp_path / "served")
    for number in ("1", "2", "3"):
        act(tracker, model, number)
        model_repository.publish(tracker, model, place)
    digests = {number: digest(tracker, model, number) for number in ("1", "2", "3")}
    assert on(place)[1] == set(digests.values()), "a server may be loading it still"
    for one in digests.values():
        os.utime(tmp_path / "served" / one, (0, 0))
    model_repository.publish(tracker, model, place)
    assert on(place)[1] == set(digests.values()), "it was put there long ago, but named till now"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + model_repository.RETENTION_S + 1)
    model_repository.publish(tracker, model, place)
    assert on(place)[1] == {digests["2"], digests["3"]}


def test_in_a_bucket_too(tracker: Tracker, model: str, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = f"s3://{s3_bucket}/served/{tmp_path.name}"
    for number in ("1", "2", "3"):
        act(tracker, model, number)
        model_repository.publish(tracker, model, place)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + model_repository.RETENTION_S + 60)
    model_repository.publish(tracker, model, place)
    assert on(place)[1] == {digest(tracker, model, "2"), digest(tracker, model, "3")}
