"""A server that speaks just enough of KFP's API (v2beta1) for its real client: a real one needs a cluster."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.support.json_server import JsonHandler

Look = tuple[str, dict[str, str]]  # the run's state, and the state of each task


class Server(ThreadingHTTPServer):
    def __init__(self, status: int = 200, looks: list[Look] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.looks = looks or []  # what is answered in turn; the last one stays
        self.failures = 0  # how many of the next questions for a run are answered by an error
        self.failure = 503  # a proxy's, before the server answers; 500 is KFP's own while its database restarts
        self.history: list[str] = []  # states that the run went through
        self.posted: dict[str, dict] = {}
        self.tokens: set[str | None] = set()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(JsonHandler):
    server: Server

    def do_GET(self) -> None:
        if "/runs/" not in self.path:
            self._answer({"multi_user": False, "experiments": [], "experiment_id": "e1", "display_name": "tidy"})
        elif self.server.failures:
            self.server.failures -= 1
            self._answer({"message": "no healthy upstream"}, self.server.failure)
        else:
            self._answer(self._run())

    def do_POST(self) -> None:
        body = self.body()
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
        self.answer(content, status or self.server.status)


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
