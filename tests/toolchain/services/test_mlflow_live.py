"""Runs that are shown in MLflow while they go on."""

import pytest

from toolchain.services import mlflow as door
from toolchain.services import mlflow_live


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


def test_a_live_run_that_fails_logs_it_and_lets_the_error_through(uri: str, monkeypatch: pytest.MonkeyPatch):
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
