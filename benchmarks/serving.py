"""Compare the model server with a bare session and with other servers, in turns over loopback.

The bare session tokenizes, infers and applies the softmax with one thread, in a separate process behind a socket: the
difference is the cost of serving. The other servers serve the same model: a plain FastAPI application, and with
--compare LitServe and MLServer, in environments below the temporary folder.
Anchors: requests/s with one client at least 0.95 of the bare session's; p99 with 8 clients at most 1.25 of p50.
Usage: python benchmarks/serving.py [MODEL] [--compare litserve mlserver] [--turns 9]
(MODEL: a folder of a text classifier in ONNX; default: makes INT8 MiniLM)
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from socket import IPPROTO_TCP, TCP_NODELAY, create_connection

from _bare_server import LENGTH
from _servers import ROOT, WORDS, Client, body_of, free_port, make_model, running_server, server_command, text

from toolchain.hardware.cpu import describe, usable_cores

REQUESTS, WARM = 60, 20  # per side: in a turn; before the first
CLIENTS, EACH = 8, 100  # requests of each client, in a turn
MIN_SPEED, MAX_TAIL = 0.95, 1.25
BARE, OWN, ONE = "bare session", "toolchain", "one stream"  # the last one is the toolchain with --workers 1
NEEDED = ("numpy", "onnxruntime", "orjson", "pillow", "pyyaml", "rich", "tokenizers")  # by the model, in every server
OTHERS = {"litserve": ["litserve"], "mlserver": ["mlserver", "uvloop<0.22"]}  # MLServer's workers end with a newer one


@dataclass(frozen=True)
class Side:
    """A server of the model."""

    command: list[str]
    port: int
    ready: str = "/readyz"  # responds with 200 when the model is ready; "": an open port is enough
    path: str = "/predict"
    body: bytes = body_of([text()])

    def client(self) -> "Client | BareClient":
        return Client(self.port, self.path, self.body) if self.path else BareClient(self.port)


@dataclass(frozen=True)
class Rates:
    """The results of one side."""

    rates: list[float]  # requests/s of one client
    p50s: list[float]  # of all clients, in seconds
    p99s: list[float]

    @property
    def tail(self) -> float:
        return statistics.median(p99 / p50 for p99, p50 in zip(self.p99s, self.p50s, strict=True))


def main(arguments: Sequence[str]) -> int:
    given = parse_arguments(arguments)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch, ExitStack() as stack:
        folder = (given.model or make_model(Path(scratch))).absolute()
        sides = sides_to_compare(folder, given.compare, Path(scratch))
        for side in sides.values():
            stack.enter_context(running_server(side.command, side.port, side.ready))
        found = measure_in_turns(sides, given.turns)
    return report(found, given.turns)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--compare", nargs="*", default=[], choices=list(OTHERS))
    parser.add_argument("--turns", type=int, default=9)
    return parser.parse_args(arguments)


def sides_to_compare(folder: Path, others: Sequence[str], scratch: Path) -> dict[str, Side]:
    ports = {name: free_port() for name in (BARE, OWN, ONE, "plain FastAPI", *others)}
    scripts = ROOT / "benchmarks"

    def script(python: str | Path, file: str, name: str) -> list[str]:
        return [str(python), str(scripts / file), str(folder), str(ports[name])]

    sides = {
        BARE: Side(script(sys.executable, "_bare_server.py", BARE), ports[BARE], "", ""),
        OWN: Side(server_command(str(folder), "--port", str(ports[OWN])), ports[OWN]),
        ONE: Side(server_command(str(folder), "--port", str(ports[ONE]), "--workers", "1"), ports[ONE]),
    }
    plain = script(sys.executable, "_plain_server.py", "plain FastAPI")
    sides["plain FastAPI"] = Side(plain, ports["plain FastAPI"], "/docs")
    if "litserve" in others:
        command = script(environment("litserve"), "_litserve_server.py", "litserve")
        sides["litserve"] = Side(command, ports["litserve"], "/health")
    if "mlserver" in others:
        sides["mlserver"] = mlserver(folder, ports["mlserver"], scratch / "mlserver")
    return sides


def mlserver(folder: Path, port: int, target: Path) -> Side:
    target.mkdir()
    settings = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings |= {"parallel_workers": usable_cores(), "debug": False, "metrics_dir": str(target / "metrics")}
    model = {"name": "reviews", "implementation": "_mlserver_runtime.Reviews", "parameters": {"uri": str(folder)}}
    (target / "settings.json").write_text(json.dumps(settings))
    (target / "model-settings.json").write_text(json.dumps(model))
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": [text()]}
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r}); from mlserver.cli import main; main()"
    command = [str(environment("mlserver")), "-c", program, "start", str(target)]
    path, body = "/v2/models/reviews", json.dumps({"inputs": [tensor]}).encode()
    return Side(command, port, f"{path}/ready", f"{path}/infer", body)


def environment(package: str) -> Path:
    """Return the Python of an environment with ``package`` and the model's libraries, created at the first call."""
    folder = Path(tempfile.gettempdir()) / f"benchmark-{package}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        needed = [f"{name}=={version(name)}" for name in NEEDED]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *OTHERS[package], *needed], check=True)
        done.touch()
    return python


def measure_in_turns(sides: dict[str, Side], turns: int) -> dict[str, Rates]:
    """Return the results of each side in each turn; turns begin with different sides."""
    for side in sides.values():
        rate(side, WARM)
    found = {name: Rates([], [], []) for name in sides}
    for turn in range(turns):
        names = list(sides)[turn % len(sides) :] + list(sides)[: turn % len(sides)]
        for name in names:
            found[name].rates.append(rate(sides[name], REQUESTS))
        for name in names:
            if name != BARE:  # it accepts one connection
                p50, p99 = percentiles(sides[name])
                found[name].p50s.append(p50)
                found[name].p99s.append(p99)
    return found


def rate(side: Side, requests: int) -> float:
    """Return the requests/s of one client."""
    with closing(side.client()) as client:
        client.request()
        began = time.perf_counter()
        for _ in range(requests):
            client.request()
        return requests / (time.perf_counter() - began)


def percentiles(side: Side) -> tuple[float, float]:
    """Return p50 and p99 in seconds with CLIENTS concurrent clients."""
    seconds: list[float] = []
    with DefaultSelector() as selector, ExitStack() as stack:
        for _ in range(CLIENTS):
            client = stack.enter_context(closing(side.client()))
            client.send()
            selector.register(client, EVENT_READ, time.perf_counter())
        while len(seconds) < CLIENTS * EACH:
            for key, _ in selector.select():
                if key.fileobj.receive():
                    seconds.append(time.perf_counter() - key.data)
                    key.fileobj.send()
                    selector.modify(key.fileobj, EVENT_READ, time.perf_counter())
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


class BareClient:
    """One connection to the bare session."""

    def __init__(self, port: int) -> None:
        content = text().encode()
        self._request = LENGTH.pack(len(content)) + content
        self._connection = create_connection(("127.0.0.1", port))
        self._connection.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def request(self) -> None:
        self._connection.sendall(self._request)
        if not self._connection.recv(65_536):
            raise RuntimeError("the bare session has closed its connection")

    def close(self) -> None:
        self._connection.close()


def report(found: dict[str, Rates], turns: int) -> int:
    """Print the results and return 1 if an anchor was missed."""
    print(f"\n{describe().name}, {usable_cores()} cores; {WORDS} words, medians of {turns} turns")
    print(f"{'':14}{'requests/s':>11}{'of bare':>9}   {CLIENTS} clients: {'p50':>7}{'p99':>9}{'p99/p50':>9}")
    shares = {name: share(one.rates, found[BARE].rates) for name, one in found.items()}
    for name, one in found.items():
        line = f"{name:14}{statistics.median(one.rates):11.1f}{shares[name]:9.3f}"
        if one.p50s:
            p50, p99 = (1e3 * statistics.median(times) for times in (one.p50s, one.p99s))
            line += f"{'':14}{p50:8.2f}{p99:9.2f}{one.tail:9.2f}"
        print(line)
    speed, tail = shares[OWN], found[OWN].tail
    print(f"speed: {speed:.3f}, anchor {MIN_SPEED}: {'reached' if speed >= MIN_SPEED else 'MISSED'}")
    print(f"tail:  {tail:.2f}, anchor {MAX_TAIL}: {'reached' if tail <= MAX_TAIL else 'MISSED'}")
    return int(speed < MIN_SPEED or tail > MAX_TAIL)


def share(rates: Sequence[float], expected: Sequence[float]) -> float:
    """Return the median, over the turns, of one side's rate divided by another's."""
    return statistics.median(one / other for one, other in zip(rates, expected, strict=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
