"""Readiness and metrics of model servers; unreachable servers, errors and other services are told apart."""

from collections.abc import Callable

import pytest

from toolchain.errors import ServiceError
from toolchain.lifecycle import server_client

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
Start = Callable[..., str]


def test_the_metrics_of_all_servers_come_by_their_addresses(answering: Start):
    one, other = answering(200, "a 1\n"), answering(200, "a 2\n")
    assert server_client.fetch_metrics([one, f"{other}/"]) == {one: "a 1\n", f"{other}/": "a 2\n"}


def test_one_server_that_is_silent_is_reported(answering: Start):
    with pytest.raises(ServiceError, match=f"{NOWHERE}/metrics does not respond"):
        server_client.fetch_metrics([answering(200, "a 1\n"), NOWHERE])


def test_metrics_that_are_rejected_are_none(answering: Start):
    with pytest.raises(ServiceError, match="/metrics returned 404 Not Found"):
        server_client.fetch_metrics([answering(404, "")])


@pytest.mark.parametrize("status", [200, 503])
def test_a_server_shows_what_it_serves_ready_or_not(status: int, answering: Start):
    assert server_client.readiness(answering(status, '{"digest": "abc"}')) == {"digest": "abc"}


@pytest.mark.parametrize("content", ["hello", "[1]", '"ready"', "3"])
def test_a_stranger_is_reported(content: str, answering: Start):
    with pytest.raises(ServiceError, match="is not a model server"):
        server_client.readiness(answering(200, content))


def test_a_server_that_does_not_respond_is_reported():
    with pytest.raises(ServiceError, match="does not respond"):
        server_client.readiness(NOWHERE)
