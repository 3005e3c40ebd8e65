"""Test the separate metrics port of the real server."""

import re
import socket
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.model_server import Running, refused
from toolchain.errors import ConfigError
from toolchain.serve.http.metrics_listener import MAX_HEAD_BYTES
from toolchain.serve.settings import Settings


@pytest.fixture
def listening(start: Callable[..., Running], words: Path) -> tuple[Running, int]:
    """Return a server with such a port, and the port."""
    running = start(words, "--metrics-port", "0")
    assert running.process.stdout is not None
    found = re.search(r"metrics at 127\.0\.0\.1:(\d+)", running.process.stdout.readline())
    assert found
    return running, int(found[1])


def ask(port: int, method: str, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path)
    response = connection.getresponse()
    return response.status, response.read().decode()


def test_metrics_are_there_and_nothing_else_is(listening: tuple[Running, int]) -> None:
    running, port = listening
    assert running.ask("a good film")[0] == 200
    status, text = ask(port, "GET", "/metrics")
    assert status == 200
    counted = {
        sample.labels["route"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "toolchain_serving_requests_total" and sample.labels["status"] == "200"
    }
    assert counted["/predict"] == 1
    for method, path in (("GET", "/docs"), ("POST", "/predict"), ("GET", "/readyz"), ("POST", "/metrics")):
        assert ask(port, method, path)[0] == 404, path


def test_an_endless_head_is_not_buffered_and_other_clients_are_served(listening: tuple[Running, int]) -> None:
    running, port = listening
    with socket.create_connection(("127.0.0.1", port), timeout=20) as endless:
        endless.settimeout(20)
        try:
            for _ in range(100):
                endless.sendall(b"X-A: " + b"a" * MAX_HEAD_BYTES)
            closed = endless.recv(1) == b""
        except OSError:
            closed = True
        assert closed
    assert ask(port, "GET", "/metrics")[0] == 200
    assert running.end()[0] == 0


def test_a_port_in_use_and_a_port_given_twice_are_not_valid(words: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output = refused(words, "--port", "0", "--metrics-port", str(taken.getsockname()[1]))
    assert status == 2
    assert "choose another with --metrics-port" in output
    with pytest.raises(ConfigError, match="different ports"):
        Settings(model=words, port=8080, grpc_port=8081, metrics_port=8081)
