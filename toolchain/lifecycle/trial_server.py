"""A model server that is started on this machine for a moment: the real program, on a free port, asked and ended."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import toolchain
from toolchain.errors import ServiceError
from toolchain.services.auth import serving_tokens

SECONDS_TO_START = 120.0  # a server is ready in 3 s; a large model on a busy machine takes longer
SECONDS_TO_ANSWER = 30.0  # longer than the server's own deadline
SECONDS_TO_END = 20.0
READY, NOT_READY = "ready: ", "not ready: "  # how the server's line begins


@contextmanager
def started(folder: Path, name: str, number: str, *, unready: bool = False) -> Iterator[str]:
    """Yield the address of a server with the model in ``folder``; it is ended with the block.

    Args:
        unready: Whether one will do that listens, but does not answer as was recorded.

    Raises:
        ServiceError: it does not start; with what it says.
    """
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
        yield _address(process, unready)
    finally:
        process.send_signal(signal.SIGINT)  # as Ctrl-C does: without the wait for balancers that SIGTERM means
        try:
            process.communicate(timeout=SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Return the JSON that the server answers to a GET, or to a POST of ``body``, with a token where it wants one.

    Raises:
        ServiceError: it does not answer, or refuses.
    """
    headers = {"Content-Type": "application/json"}
    if tokens := serving_tokens():
        headers["Authorization"] = f"Bearer {tokens[0]}"
    request = Request(url, json.dumps(body).encode() if body else None, headers)
    asked = "a recorded row" if body else url.rpartition("/")[2]
    try:
        with build_opener(ProxyHandler({})).open(request, timeout=SECONDS_TO_ANSWER) as answer:
            return json.loads(answer.read())
    except HTTPError as error:
        raise ServiceError(f"it answered {error.code} to {asked}: {_detail(error)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise ServiceError(f"it did not answer {asked}: {error}") from error


def _address(process: "subprocess.Popen[str]", unready: bool) -> str:
    """Return where ``process`` says that it is ready; what it says instead is raised as ServiceError."""
    assert process.stdout is not None
    clock = Timer(SECONDS_TO_START, process.kill)
    clock.start()
    last = f"it said nothing for {SECONDS_TO_START:g} s"
    try:
        for line in process.stdout:
            last = line.strip() or last
            if line.startswith(READY) or (unready and line.startswith(NOT_READY)):
                return line.partition(READY)[2].partition("/docs")[0]
            if line.startswith(NOT_READY):
                break
    finally:
        clock.cancel()
    raise ServiceError(last)


def _detail(error: HTTPError) -> str:
    """Return what the server's problem (RFC 9457) says."""
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return error.reason
