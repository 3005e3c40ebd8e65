"""A registry of MLflow in a file, and an address without one."""

import socket

import pytest

from toolchain.services import mlflow_retry


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
