"""A server that keeps recurring runs as KFP's API (v2beta1) does, for its real client: a real one needs a cluster."""

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from tests.support.json_server import JsonHandler


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kept: list[dict] = []
        self.asked: list[str] = []  # what changed something: "POST recurringruns", "POST r1:disable"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, body: dict) -> dict:
        number = len(self.kept) + 1
        one = {
            **body,
            "recurring_run_id": f"r{number}",
            "created_at": f"2026-11-25T10:00:{number:02}Z",
            "status": body["mode"] + "D",
        }
        self.kept.append(one)
        return one

    def states(self) -> list[tuple[str, str]]:
        return [(one["display_name"], one["status"]) for one in self.kept]


class Handler(JsonHandler):
    server: Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/recurringruns"):
            self.answer({"recurringRuns": self.server.kept})
        else:
            self.answer({"multi_user": False, "experiment_id": "e1", "display_name": "prepare"})

    def do_POST(self) -> None:
        body = self.body()
        word = self.path.rpartition("/")[2]
        self.server.asked.append(word)
        if word == "recurringruns":
            self.answer(self.server.add(body))
            return
        name, _, action = word.partition(":")
        for one in self.server.kept:
            if one["recurring_run_id"] == name:
                one["status"] = f"{action.upper()}D"
        self.answer({"experiment_id": "e1", "display_name": "prepare"})


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()
