from pathlib import Path

import pytest

from toolchain.errors import ConfigError, ServiceError
from toolchain.services import mlflow as door
from toolchain.services import mlflow_retry


def test_no_server_at_all_is_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI is not set"):
        door.Tracker()


def test_a_location_that_is_no_database_is_rejected_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mlflow.db").write_text("not a database " * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    with pytest.raises(ServiceError) as caught:
        door.Tracker().experiment("any")
    assert "\n" not in str(caught.value)


def test_all_models_and_versions_are_found_however_many_pages_they_take(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(door, "PAGE_SIZE", 2)
    tracker = door.Tracker()
    run = tracker.create_run("pages", "run", {})
    names = [f"page-{letter}" for letter in "abc"]
    for name in (*names, names[0], names[0]):
        tracker.add_version(name, run, "model", {}, "")
    assert {*names} <= {*tracker.models()}
    assert [version.number for version in tracker.versions(names[0])] == ["1", "2", "3"]


def test_a_name_with_a_quotation_mark_is_searched_for_as_it_is(uri: str):
    tracker = door.Tracker()
    run = tracker.create_run("tests", "quoted", {"of": "Ada's"})
    tracker.add_version("plain", run, "model", {}, "")
    tracker.add_version("Ada's", run, "model", {}, "")
    assert [version.model for version in tracker.versions("Ada's")] == ["Ada's"]
    assert [found.id for found in tracker.runs({"of": "Ada's"})] == [run]
    assert tracker.versions("'") == tracker.versions("x' or name = 'plain") == []
    with pytest.raises(ConfigError, match="quotation marks"):
        tracker.versions("'\"")


def test_artifacts_that_are_there_are_requested_again_when_they_could_not_be_fetched(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """MLflow hides why a download failed, and says that the path is wrong."""
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    tracker = door.Tracker()
    run = tracker.create_run("any", "any", {})
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("1 2 3")
    tracker.upload(run, tmp_path / "model", "variants/fp32")
    fetch, faults = LocalArtifactRepository.download_artifacts, [ConnectionError("the connection was lost")]

    def fail_once(*given: object, **named: object) -> str:
        if faults:
            raise faults.pop()
        return fetch(*given, **named)

    monkeypatch.setattr(LocalArtifactRepository, "download_artifacts", fail_once)
    (tmp_path / "here").mkdir()
    assert (tracker.download(run, "variants/fp32", tmp_path / "here") / "weights").read_text() == "1 2 3"
    assert capsys.readouterr().out.count("retrying") == 1
    with pytest.raises(ServiceError, match="rejected the request: Failed to download artifacts from path 'int8'"):
        tracker.download(run, "variants/int8", tmp_path / "here")
    assert "retrying" not in capsys.readouterr().out, "it is not there"
