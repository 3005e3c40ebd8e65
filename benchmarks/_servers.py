"""Start servers in child processes and send them requests, for the serving benchmarks."""

import json
import os
import re
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
START_TIMEOUT_S, STOP_TIMEOUT_S = 120, 30
POLL_INTERVAL_S = 0.02
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
JSON = {"Content-Type": "application/json"}


def text(words: int = WORDS) -> str:
    return " ".join((SENTENCE * words).split()[:words])


def body_of(texts: Sequence[str]) -> bytes:
    """Return the body of a request to /predict."""
    return json.dumps({"texts": list(texts)}).encode()


def make_model(scratch: Path) -> Path:
    """Fine-tune MiniLM and quantize it as the pipeline does; return the folder of the INT8 variant."""
    from int8 import make

    from toolchain.optimize import quantize

    variants, dataset = make(scratch)
    quantize.run(variants, dataset, scratch / "quantized", quantize.Config(methods=["int8-dynamic"]))
    return scratch / "quantized" / "int8-dynamic"


def server_command(*arguments: str) -> list[str]:
    """Return the command that starts the toolchain's server."""
    return [sys.executable, "-m", "toolchain.serve", *arguments]


@contextmanager
def running_server(command: Sequence[str], port: int, path: str = "/readyz") -> Iterator["subprocess.Popen[bytes]"]:
    """Run ``command`` within the block, which begins when ``path`` responds with 200."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_until(lambda: responds(port, path), process)
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # some servers have workers
        process.wait()


def wait_until(done: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float = START_TIMEOUT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} has ended with {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError(f"{process.args!r} is not ready after {seconds:g} s")
        time.sleep(POLL_INTERVAL_S)


def responds(port: int, path: str) -> bool:
    """Return whether ``path`` responds with 200; if it is empty, whether the port is open."""
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
    """A keep-alive connection for one request, as fast as Python allows: it competes with the server for the cores."""

    def __init__(self, port: int, path: str, body: bytes) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        self._request, self._received = head.encode() + HEAD_END + body, b""
        self._connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self) -> None:
        self.send()
        while not self.receive():
            pass

    def send(self) -> None:
        self._connection.sendall(self._request)

    def receive(self) -> bool:
        """Read the next bytes and return whether the response is complete."""
        if not (data := self._connection.recv(65_536)):
            raise RuntimeError("the server has closed the connection")
        self._received += data
        head, end, body = self._received.partition(HEAD_END)
        if not end or len(body) < int(LENGTH.search(head)[1]):  # type: ignore[index]  # all these servers send it
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the server responded with {self._received[:300]!r}")
        self._received = b""
        return True

    def fileno(self) -> int:
        return self._connection.fileno()

    def close(self) -> None:
        self._connection.close()
