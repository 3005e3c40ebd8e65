"""KFP's real client against a server that speaks just enough of KFP's API (v2beta1): a real one needs a cluster."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipelines.engine import cluster
from pipelines.engine.settings import Settings
from toolchain.errors import ServiceError

PIPELINE = """
pipelineInfo: {name: tidy}
root:
  dag: {tasks: {}}
  inputDefinitions: {parameters: {epochs: {parameterType: NUMBER_INTEGER, defaultValue: 2.0}}}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


class Server(ThreadingHTTPServer):
    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.posted: dict[str, dict] = {}
        self.tokens: set[str | None] = set()


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self._answer({"multi_user": False, "experiments": [], "experiment_id": "e1", "display_name": "tidy"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posted[self.path.partition("?")[0].rpartition("/")[2]] = body
        self._answer({"experiment_id": "e1", "run_id": "r1", "display_name": "tidy"})

    def _answer(self, content: dict) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        body = json.dumps(content).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    made = Server(getattr(request, "param", 200))
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def settings(endpoint: str, token: str = "") -> Settings:
    return Settings(Path("runs"), endpoint, "", token, "")


def test_a_run_is_started_with_the_pipeline_and_its_parameters(server: Server):
    endpoint = f"http://127.0.0.1:{server.server_port}"
    address = cluster.submit("tidy", PIPELINE, {"epochs": 3}, settings(endpoint, "secret"), cached=True)
    posted = server.posted["runs"]
    assert address == f"{endpoint}/#/runs/details/r1"
    assert posted["pipeline_spec"]["pipelineInfo"]["name"] == "tidy"
    assert posted["runtime_config"]["parameters"] == {"epochs": 3}
    assert "Bearer secret" in server.tokens


@pytest.mark.parametrize("server", [403], indirect=True)
def test_a_refusal_says_what_to_set(server: Server):
    with pytest.raises(ServiceError, match="KFP_TOKEN") as refused:
        cluster.submit("tidy", PIPELINE, {}, settings(f"http://127.0.0.1:{server.server_port}"), cached=True)
    assert "\n" not in str(refused.value)


def test_a_server_that_is_not_there_is_named_in_one_line():
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9.*--engine local") as refused:
        cluster.submit("tidy", PIPELINE, {}, settings("http://127.0.0.1:9"), cached=True)
    assert "\n" not in str(refused.value)
