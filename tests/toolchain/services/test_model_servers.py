"""Servers are asked over HTTP what they serve; silence, refusals and strangers are each told apart."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from toolchain.errors import ServiceError
from toolchain.services import model_servers

NOWHERE = "http://127.0.0.1:9"  # nothing listens there
Start = Callable[[int, str], str]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a server which answers everything alike, and gives its address."""
    started: list[HTTPServer] = []

    def begin(status: int, content: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *words: object) -> None:
                """Keep the test's output clean."""

        started.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=started[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{started[-1].server_port}"

    yield begin
    for server in started:
        server.shutdown()
        server.server_close()


def test_the_figures_of_all_servers_come_by_their_addresses(start: Start):
    one, other = start(200, "a 1\n"), start(200, "a 2\n")
    assert model_servers.figures([one, f"{other}/"]) == {one: "a 1\n", f"{other}/": "a 2\n"}


def test_one_server_that_is_silent_is_told(start: Start):
    with pytest.raises(ServiceError, match=f"{NOWHERE}/metrics does not answer"):
        model_servers.figures([start(200, "a 1\n"), NOWHERE])


def test_figures_that_are_refused_are_none(start: Start):
    with pytest.raises(ServiceError, match="/metrics answered 404 Not Found"):
        model_servers.figures([start(404, "")])


@pytest.mark.parametrize("status", [200, 503])
def test_a_server_says_what_it_serves_ready_or_not(status: int, start: Start):
    assert model_servers.readiness(start(status, '{"digest": "abc"}')) == {"digest": "abc"}


@pytest.mark.parametrize("content", ["hello", "[1]", '"ready"', "3"])
def test_a_stranger_is_told(content: str, start: Start):
    with pytest.raises(ServiceError, match="is no model server of ours"):
        model_servers.readiness(start(200, content))


def test_a_server_that_does_not_answer_is_told():
    with pytest.raises(ServiceError, match="does not answer"):
        model_servers.readiness(NOWHERE)
