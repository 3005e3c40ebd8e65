"""The cluster's registry: the environment's word, then the cluster's, for the block only."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.cluster.tracking import cluster_registry
from cli.settings import Settings
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
    with cluster_registry(named, "toolchain") as settings:
        assert settings == named


def test_what_the_cluster_shows_its_steps_holds_for_the_block_only():
    with cluster_registry(HERE, "toolchain") as settings:
        assert settings.tracking_uri == "https://mlflow.example.org"
        assert "MLFLOW_TRACKING_URI" not in os.environ
        assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "secret"
    assert not TOLD.keys() & os.environ.keys()


def test_a_missing_server_must_be_named(cluster: dict[str, str]):
    cluster.clear()
    with pytest.raises(ServiceError, match="set MLFLOW_TRACKING_URI"), cluster_registry(HERE, "toolchain"):
        pass


def test_a_server_inside_the_cluster_is_reached_by_a_port_and_so_are_the_files_of_models(
    cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    asked = []

    @contextmanager
    def forwarded(*place: object) -> Iterator[int]:
        asked.append(place)
        yield 40001

    monkeypatch.setattr(kubernetes, "forwarded", forwarded)
    cluster["MLFLOW_TRACKING_URI"] = "http://toolchain-mlflow.toolchain:5000"
    with cluster_registry(HERE, "toolchain") as settings:
        assert settings.tracking_uri == "http://127.0.0.1:40001"
        assert os.environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] == "false", "S3's address is known inside only"
    assert asked == [("toolchain", "toolchain-mlflow", 5000)]
