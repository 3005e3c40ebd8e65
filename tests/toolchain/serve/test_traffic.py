"""Test the real server under constant traffic while its versions change: no failures, correct shares."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.support.models import slow_counter, write_model
from tests.support.versions import publish_versions, routing_of
from toolchain.artifacts.model import open_model
from toolchain.lifecycle.routing import RoutingConfig, Target
from toolchain.serve.telemetry.exposition import REJECTION_REASONS

ROOT = Path(__file__).parents[3]
CLIENTS = 3
LONGEST_WAIT = 30.0  # seconds, for a change that is seen within 2 s on a quiet machine


class Program:
    """A server that follows a repository, and clients that ask it all the time."""

    def __init__(self, repository: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "toolchain.serve", "--model-repository", str(repository), "--port", "0",
                "--poll-interval", "0.2", "--drain-seconds", "1"],
            cwd=ROOT, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        assert self.line.startswith("ready: "), self.process.communicate(timeout=20)
        self.port = int(self.line.split("/docs")[0].rsplit(":", 1)[1])
        self.responses: list[tuple[str, int, str]] = []  # request id, status, version
        self.lost: list[str] = []
        self.over = threading.Event()
        self.clients = [threading.Thread(target=self._keep_asking, args=(place,)) for place in range(CLIENTS)]
        for client in self.clients:
            client.start()

    def _keep_asking(self, place: int) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        count = 0
        while not self.over.is_set():
            count += 1
            request_id = f"client-{place}-{count}"
            try:
                headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
                connection.request("POST", "/predict", json.dumps({"texts": ["good film"] * (1 + count % 3)}), headers)
                response = connection.getresponse()
                content = json.loads(response.read())
                assert response.headers["X-Request-Id"] == request_id
                self.responses.append((request_id, response.status, content.get("model", {}).get("version", "")))
            except (OSError, ValueError, AssertionError) as error:
                self.lost.append(f"{request_id}: {error!r}")
                return

    def see(self, true: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until ``true`` of the response of /readyz."""
        began = time.monotonic()
        while not true(content := self.ready()):
            assert time.monotonic() - began < LONGEST_WAIT, content
            time.sleep(0.05)

    def ready(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=20) as response:
            content: dict[str, Any] = json.loads(response.read())
            return content

    def next_responses(self, count: int) -> list[tuple[str, int, str]]:
        """Wait for ``count`` more responses and return them; those in progress are left out."""
        time.sleep(0.2)
        begin = len(self.responses)
        while len(self.responses) < begin + count and not self.lost:
            time.sleep(0.02)
        return self.responses[begin:]

    def exported(self, name: str) -> list[str]:
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=20) as response:
            text = response.read().decode()
        return [line for line in text.splitlines() if line.startswith(f"toolchain_serving_{name}")]

    def end(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        self.over.set()
        out, error = self.process.communicate(timeout=30)
        assert (self.process.returncode, error) == (0, "")
        return out


@pytest.fixture
def program(tmp_path: Path, versions: dict[str, Path]) -> Iterator[Program]:
    repository = tmp_path / "reviews"
    publish_versions(repository, routing_of(versions, "1"), versions)
    running = Program(repository)
    yield running
    running.over.set()
    for client in running.clients:
        client.join()
    running.process.kill()
    running.process.communicate()


def test_no_request_fails_while_versions_change_and_the_canary_gets_its_share(
    program: Program, versions: dict[str, Path], tmp_path: Path
):
    repository, share, rows = tmp_path / "reviews", 0.3, 600
    assert "reviews 1, fp32; 4 of 4 recorded predictions match" in program.line
    publish_versions(repository, trial := routing_of(versions, "1", canary="2", percent=100 * share), versions)
    program.see(lambda content: "canary" in content["versions"])
    responses = program.next_responses(rows)
    canaries = sum(version == "2" for _, _, version in responses)
    assert (
        abs(canaries - share * len(responses)) < 5 * (len(responses) * share * (1 - share)) ** 0.5
    )  # binomial, 5 sigma
    assert [version for _, _, version in responses] == [
        "2" if trial.goes_to_canary(one) else "1" for one, _, _ in responses
    ]
    assert any(
        'match="yes"' in line and float(line.split()[-1]) > 10 for line in program.exported("compared_rows_total")
    )
    for number in ("2", "3", "1"):
        publish_versions(repository, routing_of(versions, number), versions)
        program.see(lambda content, number=number: content["version"] == number)  # type: ignore[misc]
        assert {version for _, _, version in program.next_responses(50)} == {number}
    out = program.end()
    for client in program.clients:
        client.join()
    assert program.lost == []
    assert {status for _, status, _ in program.responses} == {200}
    assert out.count("updated: ") == 4
    assert "shutdown complete: all requests were served" in out


def test_a_rejection_is_visible_and_serving_continues(program: Program, versions: dict[str, Path], tmp_path: Path):
    repository = tmp_path / "reviews"
    broken = routing_of(versions, "2")
    publish_versions(repository, broken, versions)
    program.see(lambda content: content["version"] == "2")
    folder = repository / routing_of(versions, "3").stable.digest
    folder.mkdir()
    publish_versions(repository, routing_of(versions, "3"), versions)
    program.see(lambda content: bool(content["rejected"]))
    assert program.ready()["rejected"] == {"3": REJECTION_REASONS["damaged"]}
    assert {version for _, _, version in program.next_responses(20)} == {"2"}
    assert any('"damaged"' in line and line.endswith(" 1.0") for line in program.exported("rejected_versions"))
    assert program.lost == []
    assert {status for _, status, _ in program.responses} == {200}


def test_sigterm_while_a_version_loads_ends_it_in_time_without_losses(
    program: Program, versions: dict[str, Path], tmp_path: Path
):
    repository = tmp_path / "reviews"
    slow = write_model(tmp_path / "slow", "text-classification", slow_counter)  # warm-up takes seconds
    target = Target(version="9", digest=open_model(slow).digest, variant="fp32")
    publish_versions(repository, RoutingConfig(model="reviews", stable=target), {**versions, "9": slow})
    time.sleep(0.4)  # it is being loaded now
    began = time.monotonic()
    program.end()
    assert time.monotonic() - began < 60
    for client in program.clients:
        client.join()
    assert program.lost == []
    assert {version for _, _, version in program.responses} == {"1"}


def test_sigterm_before_readiness_ends_it_at_once(versions: dict[str, Path], tmp_path: Path):
    slow = write_model(tmp_path / "slow", "text-classification", slow_counter)
    process = subprocess.Popen(
        [sys.executable, "-m", "toolchain.serve", str(slow), "--port", "0"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(2.0)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=30)
    if "ready: " not in out:  # on a fast machine it may be ready by then
        assert out == "signal received before the server was ready\n"
    assert (process.returncode, error) == (0, "")
