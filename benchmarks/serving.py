"""The model server beside a bare session and beside FastAPI written the plain way, over loopback, by turns.

Anchors: requests a second at one client 0.95 of a bare session's (which tokenizes, runs and takes the softmax in a
loop, with one thread too); p99 at 8 clients 1.25 of p50.
Usage: python benchmarks/serving.py [MODEL]    (a folder of a text classifier in ONNX; default: makes INT8 MiniLM)
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from int8 import make

from toolchain.answering import Answerer
from toolchain.artifacts.model import open_model
from toolchain.processor import describe, usable_cores

ROOT = Path(__file__).parents[1]
WORDS = 40  # of the text: some 46 tokens, a usual review
REQUESTS, TURNS, WARM = 60, 9, 20  # in a turn; of each side; before the first
CLIENTS, EACH = 8, 100  # requests of each client
SPEED, TAIL = 0.95, 1.25
SENTENCE = "a film that is good and long and not at all what one would think of at first "
SECONDS_TO_START = 60
Ask = Callable[[], None]


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folder = Path(arguments[0]) if arguments else made(Path(scratch))
        with servers(folder) as ports:
            rates = by_turns(folder, ports)
            tails = {name: percentiles(port) for name, port in ports.items()}
    print(f"\n{describe().name}, {usable_cores()} cores; {WORDS} words, median of {TURNS} turns of {REQUESTS} requests")
    for name, found in rates.items():
        shares = [one / bare for one, bare in zip(found, rates["bare session"], strict=True)]
        print(
            f"{name:14}{statistics.median(found):9.1f} requests/s   {statistics.median(shares):.3f} of the bare session"
        )
    for name, (middle, last) in tails.items():
        told = f"p50 {middle * 1e3:7.2f} ms  p99 {last * 1e3:7.2f} ms  ratio {last / middle:.2f}"
        print(f"{name:14}{told} at {CLIENTS} clients")
    share = statistics.median(a / b for a, b in zip(rates["toolchain"], rates["bare session"], strict=True))
    tail = tails["toolchain"][1] / tails["toolchain"][0]
    print(f"speed: {share:.3f}, anchor {SPEED}: {'reached' if share >= SPEED else 'MISSED'}")
    print(f"tail:  {tail:.2f}, anchor {TAIL}: {'reached' if tail <= TAIL else 'MISSED'}")
    return int(share < SPEED or tail > TAIL)


def made(scratch: Path) -> Path:
    from toolchain.optimize import quantize

    variants, dataset = make(scratch)
    quantize.run(variants, dataset, scratch / "quantized", quantize.Config(methods=["int8-dynamic"]))
    return scratch / "quantized" / "int8-dynamic"


def text() -> str:
    return " ".join((SENTENCE * WORDS).split()[:WORDS])


def by_turns(folder: Path, ports: dict[str, int]) -> dict[str, list[float]]:
    """Return the requests a second of each side in each turn."""
    answerer = Answerer(open_model(folder))
    asks: dict[str, Ask] = {"bare session": lambda: bare(answerer)}
    asks |= {name: Client(port).ask for name, port in ports.items()}
    for ask in asks.values():
        for _ in range(WARM):
            ask()
    found: dict[str, list[float]] = {name: [] for name in asks}
    for turn in range(TURNS):
        for name in list(asks)[turn % len(asks) :] + list(asks)[: turn % len(asks)]:
            began = time.perf_counter()
            for _ in range(REQUESTS):
                asks[name]()
            found[name].append(REQUESTS / (time.perf_counter() - began))
    return found


def bare(answerer: Answerer) -> None:
    answerer.answer(answerer.prepare([text()]))


def percentiles(port: int) -> tuple[float, float]:
    """Return the middle and the 99th percentile, in seconds, of requests of CLIENTS clients at once."""
    seconds: list[float] = []

    def ask_often() -> None:
        client = Client(port)
        for place in range(EACH + WARM):
            began = time.perf_counter()
            client.ask()
            if place >= WARM:
                seconds.append(time.perf_counter() - began)

    threads = [Thread(target=ask_often) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


class Client:
    """One connection that stays open and spends next to nothing itself."""

    def __init__(self, port: int) -> None:
        body = json.dumps({"texts": [text()]}).encode()
        lines = ["POST /predict HTTP/1.1", "Host: a", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, "", ""])
        self._request = head.encode() + body
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> None:
        self._connection.sendall(self._request)
        head, _, body = self._connection.recv(65_536).partition(b"\r\n\r\n")
        if b" 200 " not in head[:15]:
            raise RuntimeError(f"the server answered {head.splitlines()[0]!r}")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().splitlines() if line.startswith(b"content-length")
        )
        while len(body) < length:
            body += self._connection.recv(65_536)


@contextmanager
def servers(folder: Path) -> Iterator[dict[str, int]]:
    """Yield the port of each server by its name."""
    ports = {"toolchain": free_port(), "plain FastAPI": free_port()}
    own = [sys.executable, "-m", "toolchain.serve", str(folder), "--port", str(ports["toolchain"])]
    plain = [sys.executable, str(ROOT / "benchmarks" / "_plain_server.py"), str(folder), str(ports["plain FastAPI"])]
    began = time.perf_counter()
    processes = [subprocess.Popen(own, cwd=ROOT)]
    try:
        wait_for(ports["toolchain"])
        print(f"cold start to the first connection: {time.perf_counter() - began:.2f} s")
        processes.append(subprocess.Popen(plain, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}))
        wait_for(ports["plain FastAPI"])
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"no server at port {port} after {SECONDS_TO_START} s")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
