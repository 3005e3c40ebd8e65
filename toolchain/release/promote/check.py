"""Check: the real server program is started with a model on a free port of this machine and asked recorded rows."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import toolchain
from toolchain.artifacts.expected import TOLERANCE, Expected, Row, read_expected
from toolchain.artifacts.model import Model
from toolchain.errors import ServiceError
from toolchain.services.tokens import serving_tokens

SECONDS_TO_START = 120.0  # a server is ready in 3 s; a large model on a busy machine takes longer
SECONDS_TO_ANSWER = 30.0  # longer than the server's own deadline
SECONDS_TO_END = 20.0
READY, NOT_READY = "ready: ", "not ready: "  # how the server's line begins


@dataclass(frozen=True)
class Check:
    """What came out of asking a server."""

    rows: int  # asked; 0 when none were recorded
    alike: int  # of them, answered as recorded
    fault: str = ""  # why it must not serve, "" when it may
    document: dict[str, Any] | None = field(default=None, compare=False, repr=False)  # its OpenAPI, None: not taken


def ask_server(model: Model, name: str, number: str) -> Check:
    """Return how a server with ``model``, which calls itself ``name`` and ``number``, answers what was recorded."""
    expected = read_expected(model.path)
    rows = expected.rows if expected else ()
    try:
        with _serving(model.path, name, number) as address:
            found = _request(f"{address}/readyz")["digest"]
            if found != model.digest:
                return Check(len(rows), 0, f"it serves digest {found[:12]} in place of {model.digest[:12]}")
            alike = [_is_alike(_ask(address, row), row, expected, model) for row in rows] if expected else []
            document = _request(f"{address}/openapi.json")
    except ServiceError as failed:
        return Check(len(rows), 0, str(failed))
    fault = "" if all(alike) else f"{len(alike) - sum(alike)} of {len(rows)} recorded rows are answered otherwise"
    return Check(len(rows), sum(alike), fault, document)


@contextmanager
def _serving(folder: Path, name: str, number: str) -> Iterator[str]:
    """Yield the address of a server that is ready; it is ended with the block."""
    words = [str(folder.absolute()), "--name", name, "--version", number, "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "toolchain.serve", *words],
        cwd=Path(toolchain.__file__).parents[1],  # where Python finds this very toolchain
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _address(process)
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does: without the wait for balancers that SIGTERM means
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _address(process: "subprocess.Popen[str]") -> str:
    """Return where ``process`` says that it is ready; what it says instead is raised as ServiceError."""
    assert process.stdout is not None
    clock = Timer(SECONDS_TO_START, process.kill)
    clock.start()
    last = f"it said nothing for {SECONDS_TO_START:g} s"
    try:
        for line in process.stdout:
            last = line.strip() or last
            if line.startswith(READY):
                return line.removeprefix(READY).partition("/docs")[0]
            if line.startswith(NOT_READY):
                break
    finally:
        clock.cancel()
    raise ServiceError(last)


def _ask(address: str, row: Row) -> Any:
    """Return what the server answers to ``row``, asked alone as its users ask."""
    body = {"texts": [row.text]} if row.text else {"pictures": [row.picture]}
    return _request(f"{address}/predict", body)["answers"][0]


def _request(url: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if tokens := serving_tokens():
        headers["Authorization"] = f"Bearer {tokens[0]}"
    request = Request(url, json.dumps(body).encode() if body else None, headers)
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS_TO_ANSWER) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        raise ServiceError(f"it answered {error.code} to a recorded row: {_detail(error)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise ServiceError(f"it did not answer a recorded row: {error}") from error


def _detail(error: HTTPError) -> str:
    """Return what the server's problem (RFC 9457) says."""
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return error.reason


def _is_alike(answer: Any, row: Row, expected: Expected, model: Model) -> bool:
    """Return whether scores, or sure boxes, are as recorded. (Where boxes lie, the server compared when it started.)"""
    labels = model.signature.labels
    if "scores" in answer:
        due = dict(zip(labels, row.scores, strict=True))
        return all(abs(answer["scores"][label] - score) <= TOLERANCE for label, score in due.items())
    sure = [(labels[place], score) for place, score in zip(row.labels, row.scores, strict=True)]
    found = [(box["label"], box["score"]) for box in answer["boxes"]]
    return all(
        any(label == other and abs(score - near) <= TOLERANCE for other, near in found)
        for label, score in sure
        if score >= expected.threshold + TOLERANCE
    )
