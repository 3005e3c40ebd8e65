"""Servers as processes of their own, what they serve, and those who ask them; for the benchmarks of serving."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path

ROOT = Path(__file__).parents[1]
SENTENCE = "a film that is good and long and not at all what one would think of at first "
WORDS = 40  # of a text: some 46 tokens, a usual review
SECONDS_TO_START, SECONDS_TO_END = 120, 30
SECONDS_BETWEEN_LOOKS = 0.02
JSON = {"Content-Type": "application/json"}


def text(words: int = WORDS) -> str:
    return " ".join((SENTENCE * words).split()[:words])


def body_of(texts: Sequence[str]) -> bytes:
    """Return what /predict is asked."""
    return json.dumps({"texts": list(texts)}).encode()


def made(scratch: Path) -> Path:
    """Fine-tune MiniLM and quantize it as the pipeline does; return the folder of the INT8 variant."""
    from int8 import make

    from toolchain.optimize import quantize

    variants, dataset = make(scratch)
    quantize.run(variants, dataset, scratch / "quantized", quantize.Config(methods=["int8-dynamic"]))
    return scratch / "quantized" / "int8-dynamic"


def own(*words: str) -> list[str]:
    """Return the command that starts the toolchain's server."""
    return [sys.executable, "-m", "toolchain.serve", *words]


@contextmanager
def started(command: Sequence[str], port: int, path: str = "/readyz") -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``command`` while the block runs, from when ``path`` is answered by 200."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: answers(port, path), process)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # some servers have workers
        process.wait()


def wait_until(done: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float = SECONDS_TO_START) -> None:
    end = time.monotonic() + seconds
    while not done():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended with {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError(f"{process.args!r} is not ready after {seconds:g} s")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def answers(port: int, path: str) -> bool:
    """Return whether a GET of ``path`` is answered by 200; with no path, whether anybody listens."""
    try:
        if not path:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        connection = HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Client:
    """One connection that stays open, and what is asked over it."""

    def __init__(self, port: int, path: str, body: bytes) -> None:
        self._connection, self._path, self._body = HTTPConnection("127.0.0.1", port, timeout=60), path, body

    def ask(self) -> None:
        self._connection.request("POST", self._path, self._body, JSON)
        answer = self._connection.getresponse()
        told = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self._path} answered {answer.status}: {told[:200]!r}")

    def close(self) -> None:
        self._connection.close()
