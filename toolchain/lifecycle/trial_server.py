"""Start the real model server on a free local port for the duration of a ``with`` block, and send it requests."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import toolchain
from toolchain.errors import ServiceError
from toolchain.services import http
from toolchain.services.auth import serving_tokens

START_TIMEOUT_S = 120.0  # a server is ready in 3 s; a large model on a busy machine takes longer
REQUEST_TIMEOUT_S = 30.0  # longer than the server's own deadline
STOP_TIMEOUT_S = 20.0
READY, NOT_READY = "ready: ", "not ready: "  # prefixes of the server's log line


@contextmanager
def start_server(folder: Path, name: str, number: str, *, allow_unready: bool = False) -> Iterator[str]:
    """Yield the URL of a server with the model in ``folder``, which is stopped at the end of the block.

    Args:
        allow_unready: Whether to yield a server that is not ready (its predictions differ).

    Raises:
        ServiceError: it does not start; with the last line of its output.
    """
    argv = [str(folder.absolute()), "--name", name, "--version", number, "--port", "0", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "toolchain.serve", *argv],
        cwd=Path(toolchain.__file__).parents[1],  # so that the child imports this toolchain
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield _address(process, allow_unready)
    finally:
        process.send_signal(signal.SIGINT)  # stops at once; SIGTERM would drain first
        try:
            process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def request_json(url: str, body: dict[str, Any] | None = None) -> Any:
    """Return the JSON of the response to a GET, or to a POST of ``body``; a token is sent where the server needs one.

    Raises:
        ServiceError: there is no response, or it is an error.
    """
    method = "POST" if body else "GET"
    request = f"{method} /{url.rpartition('/')[2]}"
    tokens = serving_tokens()
    headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
    try:
        response = http.request(
            url, method=method, json=body, headers=headers, timeout_s=REQUEST_TIMEOUT_S, use_proxy=False
        )
        if response.is_success:
            return response.json()
    except (http.UnreachableError, ValueError) as error:
        raise ServiceError(f"{request} got no response: {error}") from error
    raise ServiceError(f"{request} returned {response.status_code}: {_detail(response)}")


def _address(process: "subprocess.Popen[str]", allow_unready: bool) -> str:
    """Return the URL that ``process`` logs when it is ready; raise its last line as ServiceError if it does not."""
    assert process.stdout is not None
    clock = Timer(START_TIMEOUT_S, process.kill)
    clock.start()
    last = f"no output for {START_TIMEOUT_S:g} s"
    try:
        for line in process.stdout:
            last = line.strip() or last
            if line.startswith(READY) or (allow_unready and line.startswith(NOT_READY)):
                return line.partition(READY)[2].partition("/docs")[0]
            if line.startswith(NOT_READY):
                break
    finally:
        clock.cancel()
    raise ServiceError(last)


def _detail(response: "http.Response") -> str:
    """Return the detail of a problem (RFC 9457)."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
