from pathlib import Path

import pytest

from toolchain.errors import ConfigError
from toolchain.serve.settings import Settings

MODEL = Path("model")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": None}, "--model-repository"),
        ({"model_repository": "repository"}, "--model-repository"),
        ({"threads": 0}, "threads is 0"),
        ({"request_timeout": float("inf")}, "request_timeout is inf"),
        ({"drain_seconds": -1}, "drain_seconds is -1"),
        ({"port": 65536}, "port is 65536"),
        ({"grpc_port": 8080}, "grpc_port 8080"),
        ({"max_request_rows": 300}, "max_request_rows is 300"),
        ({"certificate": Path("cert.pem")}, "its key"),
    ],
)
def test_settings_that_are_not_valid_are_named(changes: dict, reason: str):
    with pytest.raises(ConfigError, match=reason):
        Settings(**{"model": MODEL, **changes})


def test_any_free_port_may_be_requested_for_each_protocol():
    assert Settings(model=MODEL, port=0, grpc_port=0, metrics_port=0).port == 0


def test_names_of_hosts_are_separated_by_commas():
    assert Settings(model=MODEL, allowed_hosts="a.example, b.example,").host_names == ("a.example", "b.example")
    assert Settings(model=MODEL).host_names == ()


def test_workers_are_as_many_as_the_cores_allow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("toolchain.serve.settings.usable_cores", lambda: 5)
    assert Settings(model=MODEL, threads=2).worker_count == 2
    assert Settings(model=MODEL, threads=8).worker_count == 1
    assert Settings(model=MODEL, workers=3).worker_count == 3
