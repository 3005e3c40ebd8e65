"""The model server beside a bare session and beside others' servers, over loopback, by turns.

The bare session tokenizes, runs and takes the softmax with one thread, in a process of its own that a socket feeds:
what is missing to it is what serving costs. The others answer the same model: FastAPI written the plain way, always;
LitServe and MLServer where --beside names them, in environments that are made under the temporary folder.
Anchors: requests a second at one client 0.95 of the bare session's; p99 at 8 clients 1.25 of p50.
Usage: python benchmarks/serving.py [MODEL] [--beside litserve mlserver] [--turns 9]
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
from _servers import ROOT, WORDS, Client, body_of, free_port, made, own, started, text

from toolchain.hardware.cpu import describe, usable_cores

REQUESTS, WARM = 60, 20  # of each side: in a turn; before the first
CLIENTS, EACH = 8, 100  # requests of each client, in a turn
SPEED, TAIL = 0.95, 1.25
BARE, OWN, ONE = "bare session", "toolchain", "one stream"  # the last is the toolchain's with --workers 1
NEEDED = ("numpy", "onnxruntime", "orjson", "pillow", "pyyaml", "rich", "tokenizers")  # by the model, in any server
OTHERS = {"litserve": ["litserve"], "mlserver": ["mlserver", "uvloop<0.22"]}  # MLServer's workers end with a newer one


@dataclass(frozen=True)
class Side:
    """A server of the model."""

    command: list[str]
    port: int
    ready: str = "/readyz"  # answers 200 once the model may be asked; "": whoever listens may be
    path: str = "/predict"
    body: bytes = body_of([text()])

    def client(self) -> "Client | BareClient":
        return Client(self.port, self.path, self.body) if self.path else BareClient(self.port)


@dataclass(frozen=True)
class Found:
    """What came out of the turns of one side."""

    rates: list[float]  # requests a second of one client
    middles: list[float]  # p50 of all clients, in seconds
    lasts: list[float]  # p99

    @property
    def tail(self) -> float:
        return statistics.median(last / middle for last, middle in zip(self.lasts, self.middles, strict=True))


def main(words: Sequence[str]) -> int:
    given = parsed(words)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch, ExitStack() as stack:
        folder = (given.model or made(Path(scratch))).absolute()
        sides = sides_of(folder, given.beside, Path(scratch))
        for side in sides.values():
            stack.enter_context(started(side.command, side.port, side.ready))
        found = by_turns(sides, given.turns)
    return tell(found, given.turns)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--beside", nargs="*", default=[], choices=list(OTHERS))
    parser.add_argument("--turns", type=int, default=9)
    return parser.parse_args(words)


def sides_of(folder: Path, beside: Sequence[str], scratch: Path) -> dict[str, Side]:
    ports = {name: free_port() for name in (BARE, OWN, ONE, "plain FastAPI", *beside)}
    scripts = ROOT / "benchmarks"

    def script(python: str | Path, file: str, name: str) -> list[str]:
        return [str(python), str(scripts / file), str(folder), str(ports[name])]

    sides = {
        BARE: Side(script(sys.executable, "_bare_server.py", BARE), ports[BARE], "", ""),
        OWN: Side(own(str(folder), "--port", str(ports[OWN])), ports[OWN]),
        ONE: Side(own(str(folder), "--port", str(ports[ONE]), "--workers", "1"), ports[ONE]),
    }
    plain = script(sys.executable, "_plain_server.py", "plain FastAPI")
    sides["plain FastAPI"] = Side(plain, ports["plain FastAPI"], "/docs")
    if "litserve" in beside:
        command = script(environment("litserve"), "_litserve_server.py", "litserve")
        sides["litserve"] = Side(command, ports["litserve"], "/health")
    if "mlserver" in beside:
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
    """Return the Python of an environment with ``package``, made once, with what the model needs as it is here."""
    folder = Path(tempfile.gettempdir()) / f"benchmark-{package}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.is_file():
        venv.create(folder, with_pip=True, clear=True)
        needed = [f"{name}=={version(name)}" for name in NEEDED]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *OTHERS[package], *needed], check=True)
        done.touch()
    return python


def by_turns(sides: dict[str, Side], turns: int) -> dict[str, Found]:
    """Return what each side reached in each turn; each turn begins with another side."""
    for side in sides.values():
        rate(side, WARM)
    found = {name: Found([], [], []) for name in sides}
    for turn in range(turns):
        names = list(sides)[turn % len(sides) :] + list(sides)[: turn % len(sides)]
        for name in names:
            found[name].rates.append(rate(sides[name], REQUESTS))
        for name in names:
            if name != BARE:  # it answers one connection
                middle, last = percentiles(sides[name])
                found[name].middles.append(middle)
                found[name].lasts.append(last)
    return found


def rate(side: Side, requests: int) -> float:
    """Return the requests a second of one client."""
    with closing(side.client()) as client:
        client.ask()
        began = time.perf_counter()
        for _ in range(requests):
            client.ask()
        return requests / (time.perf_counter() - began)


def percentiles(side: Side) -> tuple[float, float]:
    """Return the middle and the 99th percentile, in seconds, of requests of CLIENTS clients at once."""
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

    def ask(self) -> None:
        self._connection.sendall(self._request)
        if not self._connection.recv(65_536):
            raise RuntimeError("the bare session has closed its connection")

    def close(self) -> None:
        self._connection.close()


def tell(found: dict[str, Found], turns: int) -> int:
    """Print what was found and return 1 when an anchor was missed."""
    print(f"\n{describe().name}, {usable_cores()} cores; {WORDS} words, medians of {turns} turns")
    print(f"{'':14}{'requests/s':>11}{'of bare':>9}   {CLIENTS} clients: {'p50':>7}{'p99':>9}{'p99/p50':>9}")
    shares = {name: share(one.rates, found[BARE].rates) for name, one in found.items()}
    for name, one in found.items():
        line = f"{name:14}{statistics.median(one.rates):11.1f}{shares[name]:9.3f}"
        if one.middles:
            middle, last = (1e3 * statistics.median(times) for times in (one.middles, one.lasts))
            line += f"{'':14}{middle:8.2f}{last:9.2f}{one.tail:9.2f}"
        print(line)
    speed, tail = shares[OWN], found[OWN].tail
    print(f"speed: {speed:.3f}, anchor {SPEED}: {'reached' if speed >= SPEED else 'MISSED'}")
    print(f"tail:  {tail:.2f}, anchor {TAIL}: {'reached' if tail <= TAIL else 'MISSED'}")
    return int(speed < SPEED or tail > TAIL)


def share(rates: Sequence[float], due: Sequence[float]) -> float:
    """Return the median, over the turns, of one side's rate over another's."""
    return statistics.median(one / other for one, other in zip(rates, due, strict=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
