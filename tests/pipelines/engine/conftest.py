"""A server that speaks just enough of KFP's API (v2beta1) for its real client: a real one needs a cluster."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

Look = tuple[str, dict[str, str]]  # the run's state, and the state of each task


class Server(ThreadingHTTPServer):
    def __init__(self, status: int = 200, looks: list[Look] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.looks = looks or []  # what is answered in turn; the last one stays
        self.failures = 0  # how many of the next questions for a run are answered by a proxy's error
        self.history: list[str] = []  # states that the run went through
        self.posted: dict[str, dict] = {}
        self.tokens: set[str | None] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if "/runs/" not in self.path:
            self._answer({"multi_user": False, "experiments": [], "experiment_id": "e1", "display_name": "tidy"})
        elif self.server.failures:
            self.server.failures -= 1
            self._answer({"message": "no healthy upstream"}, 503)
        else:
            self._answer(self._run())

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"] or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        self.server.posted[self.path.partition("?")[0].rpartition("/")[2]] = body
        self._answer({"experiment_id": "e1", "run_id": "r1", "display_name": "tidy"})

    def _run(self) -> dict:
        state, tasks = self.server.looks.pop(0) if len(self.server.looks) > 1 else self.server.looks[0]
        details = [
            {
                "display_name": name,
                "state": word,
                "start_time": "2026-11-25T10:00:00Z",
                "end_time": "2026-11-25T10:00:07Z" if word in ("SUCCEEDED", "FAILED") else "0001-01-01T00:00:00Z",
            }
            for name, word in tasks.items()
        ]
        history = [{"state": state} for state in self.server.history]
        return {"run_id": "r1", "state": state, "state_history": history, "run_details": {"task_details": details}}

    def _answer(self, content: dict, status: int | None = None) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        body = json.dumps(content).encode()
        self.send_response(status or self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts such a server; all end with the test."""
    made: list[Server] = []

    def start(status: int = 200, looks: list[Look] | None = None) -> Server:
        made.append(Server(status, looks))
        threading.Thread(target=made[-1].serve_forever, daemon=True).start()
        return made[-1]

    yield start
    for server in made:
        server.shutdown()
        server.server_close()
