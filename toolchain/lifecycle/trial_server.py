"""A model server that is started on this machine for a moment: the real program, on a free port, asked and ended."""

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

SECONDS_TO_START = 120.0  # a server is ready in 3 s; a large model on a busy machine takes longer
REQUEST_TIMEOUT_S = 30.0  # longer than the server's own deadline
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


def _detail(response: "http.Response") -> str:
    """Return the detail of a problem (RFC 9457)."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase
