"""KFP's real client against a server with as much of KFP's API as it uses (tests/cli/conftest.py)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.cluster.kfp_client import Server, TaskStatus, UnavailableError
from cli.settings import Settings
from toolchain.errors import ServiceError
from toolchain.services import kubernetes

Start = Callable[..., Any]


def server_at(endpoint: str, folder: Path) -> Server:
    return Server(Settings(folder, endpoint, namespace="", token="", tracking_uri=""))


def test_the_status_of_a_run_has_its_tasks_with_their_duration(serve: Start, tmp_path: Path):
    fake = serve(polls=[("RUNNING", {"ingest": "SUCCEEDED", "train": "RUNNING"})])
    status = server_at(fake.endpoint, tmp_path).status("r1")
    assert (status.state, status.ended, status.stopped) == ("RUNNING", False, False)
    assert status.tasks == {"ingest": TaskStatus("SUCCEEDED", 7.0), "train": TaskStatus("RUNNING", 0.0)}


def test_a_run_that_a_user_stopped_is_known_by_its_history(serve: Start, tmp_path: Path):
    fake = serve(polls=[("CANCELED", {})])
    fake.history = ["RUNNING", "CANCELING"]
    status = server_at(fake.endpoint, tmp_path).status("r1")
    assert (status.ended, status.stopped) == (True, True)


@pytest.mark.parametrize("status", [500, 503])
def test_a_request_to_a_restarting_server_may_be_retried(status: int, serve: Start, tmp_path: Path):
    with pytest.raises(UnavailableError, match=str(status)):
        server_at(serve(status).endpoint, tmp_path).check()


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejected_request_names_the_token(status: int, serve: Start, tmp_path: Path):
    with pytest.raises(ServiceError, match="KFP_TOKEN") as caught:
        server_at(serve(status).endpoint, tmp_path).check()
    assert not isinstance(caught.value, UnavailableError)


def test_a_missing_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        server_at("http://127.0.0.1:9", tmp_path).check()
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)
    with pytest.raises(ServiceError, match="KFP_ENDPOINT") as caught:
        server_at("", tmp_path).check()
    assert "--engine" not in str(caught.value), "not every command that needs a cluster has the option"


def test_a_run_has_an_address_only_outside_of_the_cluster(tmp_path: Path):
    assert server_at("http://kfp.example/", tmp_path).address("r1") == "http://kfp.example/#/runs/details/r1"
    assert server_at("", tmp_path).address("r1") == ""
