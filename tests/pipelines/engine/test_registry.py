"""The cluster's registry: the environment's word, then the cluster's, for the block only."""

import os
from pathlib import Path

import pytest

from pipelines.engine.registry import registry_reached
from pipelines.engine.settings import Settings
from toolchain.errors import ServiceError
from toolchain.services import kubernetes

HERE = Settings(runs=Path("runs"), endpoint="", namespace="", token="", tracking_uri="sqlite:///runs/mlflow.db")
TOLD = {
    "MLFLOW_TRACKING_URI": "https://mlflow.example.org",
    "MLFLOW_TRACKING_USERNAME": "steps",
    "MLFLOW_TRACKING_PASSWORD": "secret",
}


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the cluster tells, to be changed by a test."""
    told = dict(TOLD)
    monkeypatch.setattr(kubernetes, "is_configured", lambda: True)
    monkeypatch.setattr(kubernetes, "settings_of", lambda namespace, name: told)
    for name in TOLD:
        monkeypatch.delenv(name, raising=False)
    return told


def test_a_server_that_the_environment_names_comes_first():
    named = Settings(runs=Path("runs"), endpoint="", namespace="", token="", tracking_uri="http://mlflow.example.com")
    with registry_reached(named, "toolchain") as settings:
        assert settings == named


def test_what_the_cluster_tells_its_steps_holds_for_the_block_only():
    with registry_reached(HERE, "toolchain") as settings:
        assert settings.tracking_uri == os.environ["MLFLOW_TRACKING_URI"] == "https://mlflow.example.org"
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
    assert not TOLD.keys() & os.environ.keys()


def test_a_server_that_nobody_names_is_asked_for(cluster: dict[str, str]):
    cluster.clear()
    with pytest.raises(ServiceError, match="set MLFLOW_TRACKING_URI"), registry_reached(HERE, "toolchain"):
        pass
