"""Requests that are repeated, and those that are not."""

import pytest

from toolchain.errors import ServiceError
from toolchain.services import mlflow as door
from toolchain.services import mlflow_retry


def test_a_request_to_a_server_that_is_down_is_retried_and_then_names_it(
    nowhere: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(
        ServiceError, match=f"MLflow at {nowhere} does not respond; start it, then submit again"
    ) as caught:
        door.Tracker().experiment("any")
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out.count("does not respond, retrying") == mlflow_retry.SERVER_ATTEMPTS - 1


def test_a_password_in_the_address_is_never_shown():
    assert mlflow_retry.without_credentials("https://me:secret@mlflow.example/x") == "https://mlflow.example/x"
    assert mlflow_retry.without_credentials("sqlite:////runs/mlflow.db") == "sqlite:////runs/mlflow.db"


def test_a_rejected_request_is_not_repeated():
    calls: list[int] = []

    def rejected() -> None:
        calls.append(1)
        raise ValueError("no such run")

    with pytest.raises(ServiceError, match="rejected the request: no such run"):
        mlflow_retry.call_with_retries(rejected, "http://mlflow.example")
    assert len(calls) == 1
