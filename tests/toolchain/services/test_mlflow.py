import socket
from pathlib import Path

import pytest

from toolchain.errors import ConfigError, ServiceError
from toolchain.services import mlflow as door
from toolchain.services import mlflow_live, mlflow_retry


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return (
        f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/runs/mlflow.db"  # its tables are made once: that takes seconds
    )


@pytest.fixture
def uri(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    return database


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setattr(mlflow_retry, "RETRY_INTERVAL_S", 0.0)
    return address


def runs(uri: str, experiment: str):
    from mlflow import MlflowClient

    client = MlflowClient(uri, uri)
    return client, client.search_runs([client.get_experiment_by_name(experiment).experiment_id])


def test_a_live_run_without_a_server_does_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(mlflow_live, "Tracker", lambda: pytest.fail("a server was called"))
    with mlflow_live.live_run("train.torch_text", {"epochs": 2}) as live:
        live.log(1, loss=0.5)
    assert capsys.readouterr().out == ""


def test_a_live_run_arrives_with_its_parameters_and_its_whole_curve(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "curve")
    with mlflow_live.live_run("train.torch_text", {"epochs": 2, "methods": ["a", 'b"']}) as live:
        for step in range(5):
            live.log(step, loss=1 / (step + 1))
    client, (run,) = runs(uri, "curve")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"epochs": "2", "methods": '["a", "b\\""]'}
    assert run.data.tags[door.TAG_STEP] == "train.torch_text"
    assert [point.value for point in client.get_metric_history(run.info.run_id, "loss")] == [
        1,
        1 / 2,
        1 / 3,
        1 / 4,
        1 / 5,
    ]


def test_a_live_run_that_fails_says_so_and_lets_the_error_through(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "failing")
    with pytest.raises(ZeroDivisionError), mlflow_live.live_run("train.torch_text", {}) as live:
        live.log(0, loss=1 / 0)
    assert runs(uri, "failing")[1][0].info.status == "FAILED"


def test_a_live_run_that_is_interrupted_is_marked_as_killed(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "killed")
    with pytest.raises(KeyboardInterrupt), mlflow_live.live_run("train.torch_text", {}):
        raise KeyboardInterrupt
    assert runs(uri, "killed")[1][0].info.status == "KILLED"


def test_work_goes_on_when_its_live_run_cannot_be_shown(nowhere: str, capsys: pytest.CaptureFixture[str]):
    with mlflow_live.live_run("train.torch_text", {"epochs": 2}) as live:
        live.log(1, loss=0.5)
    assert f"this run is not shown live in MLflow: MLflow at {nowhere} does not respond" in capsys.readouterr().out


def test_a_server_that_is_down_is_asked_again_and_again_and_then_named(
    nowhere: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(
        ServiceError, match=f"MLflow at {nowhere} does not respond; start it, then submit again"
    ) as caught:
        door.Tracker().experiment("any")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out.count("does not respond, retrying") == mlflow_retry.SERVER_ATTEMPTS - 1


def test_no_server_at_all_is_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI is not set"):
        door.Tracker()


def test_a_place_that_is_no_database_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
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


def test_a_password_in_the_address_is_never_shown():
    assert mlflow_retry.without_credentials("https://me:secret@mlflow.example/x") == "https://mlflow.example/x"
    assert mlflow_retry.without_credentials("sqlite:////runs/mlflow.db") == "sqlite:////runs/mlflow.db"


def test_artifacts_that_are_there_are_asked_for_again_when_they_could_not_be_fetched(
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
