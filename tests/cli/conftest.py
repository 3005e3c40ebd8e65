"""A fake server with as much of KFP's API (v2beta1) as its real client uses: a real one needs a cluster."""

import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.support.json_server import JsonHandler

Poll = tuple[str, dict[str, str]]  # the run's state, and the state of each task


class Server(ThreadingHTTPServer):
    def __init__(self, status: int = 200, polls: list[Poll] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = status
        self.polls = polls or []  # the responses in turn; the last one is repeated
        self.failures = 0  # number of the next requests for a run that fail
        self.failure = 503  # of a proxy, before the server responds; 500: KFP's database restarts
        self.history: list[str] = []  # earlier states of the run
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
        state, tasks = self.server.polls.pop(0) if len(self.server.polls) > 1 else self.server.polls[0]
        details = [
            {
                "display_name": name,
                "state": task_state,
                "start_time": "2026-11-25T10:00:00Z",
                "end_time": "2026-11-25T10:00:07Z" if task_state in ("SUCCEEDED", "FAILED") else "0001-01-01T00:00:00Z",
            }
            for name, task_state in tasks.items()
        ]
        history = [{"state": state} for state in self.server.history]
        return {"run_id": "r1", "state": state, "state_history": history, "run_details": {"task_details": details}}

    def _answer(self, content: dict, status: int | None = None) -> None:
        self.server.tokens.add(self.headers.get("Authorization"))
        self.answer(content, status or self.server.status)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Return a function that starts a fake server; all stop after the test."""
    made: list[Server] = []

    def start(status: int = 200, polls: list[Poll] | None = None) -> Server:
        made.append(Server(status, polls))
        threading.Thread(target=made[-1].serve_forever, daemon=True).start()
        return made[-1]

    yield start
    for server in made:
        server.shutdown()
        server.server_close()
