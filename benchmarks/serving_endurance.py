"""Send requests while versions change and servers are replaced; no request may be lost.

Two servers poll one model repository. Clients use the ready ones, as a Kubernetes Service does, and never retry. A
request counts as lost unless the response is 200, comes from a version that routing.json names and has the scores of
a bare session. Meanwhile routing.json is rewritten three times (a canary, its promotion, the rollback), and each server
is replaced as in a rolling update: a new one starts and becomes ready, then the old one gets SIGTERM.
Anchor: 200,000 requests and none lost.
Usage: python benchmarks/serving_endurance.py [STABLE OTHER] [--requests 200000] [--clients 16]
(folders of two versions of a text classifier in ONNX; default: makes MiniLM and INT8 of it)
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from _servers import JSON, ROOT, body_of, free_port, make_model, responds, server_command, text

from toolchain.artifacts.model import open_model
from toolchain.hardware.cpu import describe, usable_cores
from toolchain.inference.predictor import Predictor
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes

REQUESTS, CLIENTS = 200_000, 16
TEXTS = [text(words) for words in range(4, 40, 3)]  # of several lengths
TOLERANCE = 0.02  # of a score: INT8 rounding depends on the batch
POLL_INTERVAL_S = 0.25  # of readiness
CHANGE_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 10.0  # of the server: responses from before a change end by then
MAX_SHOWN_FAULTS = 10
MODEL = "reviews"


@dataclass
class Balancer:
    """Sends requests to the ready servers in turn."""

    ready: list[int] = field(default_factory=list)  # ports
    servers: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    requests: int = 0

    def next(self) -> int:
        self.requests += 1
        return self.ready[self.requests % len(self.ready)]

    async def poll(self) -> None:
        """Poll the readiness of all servers until canceled."""
        while True:
            found = [port for port in self.servers if await asyncio.to_thread(responds, port, "/readyz")]
            self.ready = found or self.ready
            await asyncio.sleep(POLL_INTERVAL_S)

    async def start(self, repository: Path) -> int:
        """Start a server and return its port once it is ready."""
        port = free_port()
        command = server_command("--model-repository", str(repository), "--port", str(port), "--poll-interval", "0.5")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.servers[port] = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        await until(lambda: port in self.ready)
        return port

    async def replace(self, port: int, repository: Path) -> None:
        """Replace one server as a rolling update does."""
        await self.start(repository)
        process = self.servers[port]
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        del self.servers[port]
        if code:
            raise RuntimeError(f"a server ended with {code} after SIGTERM")


@dataclass
class Log:
    """The outcomes of the requests."""

    expected: dict[str, list[Any]]  # scores of each of TEXTS, by version
    named: set[str] = field(default_factory=set)  # versions that the repository names, or named before the last change
    done: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def check(self, index: int, status: int, content: dict[str, Any]) -> None:
        """Check one response to the text at ``index``."""
        version = content.get("model", {}).get("version", "")
        scores = list(content.get("predictions", [{}])[0].get("scores", {}).values())
        if status != 200:
            self.lost.append(f"status {status}: {content.get('detail')}")
        elif version not in self.named:
            self.lost.append(f"the response is from version {version!r}, the repository names {sorted(self.named)}")
        elif np.abs(np.array(scores) - self.expected[version][index]).max() > TOLERANCE:
            self.lost.append(f"version {version} returned {scores}, expected {self.expected[version][index]}")
        self.versions[version] += 1


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folders = given.models or make_models(Path(scratch))
        log, seconds = asyncio.run(endure(folders, Path(scratch) / MODEL, given.requests, given.clients))
    print(f"\n{describe().name}, {usable_cores()} cores; {given.clients} clients, {log.done / seconds:.0f} requests/s")
    print(f"responses by version: {dict(log.versions)}; three version changes, two servers replaced")
    for fault in log.lost[:MAX_SHOWN_FAULTS]:
        print(f"lost: {fault}")
    print(f"lost: {len(log.lost)} of {log.done:,}, anchor 0: {'MISSED' if log.lost else 'reached'}")
    return int(bool(log.lost))


def make_models(scratch: Path) -> list[Path]:
    int8 = make_model(scratch)
    return [int8.parent / "fp32", int8]


async def endure(folders: Sequence[Path], repository: Path, requests: int, clients: int) -> tuple[Log, float]:
    """Return the outcomes of the requests, and their duration in seconds."""
    stable, other = (target(str(number), folder, repository) for number, folder in enumerate(folders, 1))
    log, balancer = Log({one.version: scores(repository / one.digest) for one in (stable, other)}), Balancer()
    routing = RoutingConfig(model=MODEL, stable=stable)
    publish(repository, routing, log)
    polling = asyncio.create_task(balancer.poll())
    try:
        first, second = await balancer.start(repository), await balancer.start(repository)
        began = time.perf_counter()
        clients_running = [asyncio.create_task(request(balancer, log, requests)) for _ in range(clients)]
        canary = replace(routing, canary=other, percent=20.0)
        promoted = RoutingConfig(model=MODEL, stable=other)
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: change(repository, canary, balancer, log),
            lambda: balancer.replace(first, repository),
            lambda: change(repository, promoted, balancer, log),
            lambda: balancer.replace(second, repository),
            lambda: change(repository, routing, balancer, log),
        ]
        for number, step in enumerate(steps, 1):
            await until(lambda expected=number * requests / 6: log.done >= expected, seconds=float("inf"))
            await step()
            print(f"{log.done:,} requests: step {number} of {len(steps)} done, {len(log.lost)} lost", flush=True)
        await asyncio.gather(*clients_running)
        return log, time.perf_counter() - began
    finally:
        polling.cancel()
        for process in balancer.servers.values():
            process.kill()
            await process.wait()


def target(version: str, folder: Path, repository: Path) -> Target:
    """Add a version to the repository and return its target."""
    model = open_model(folder)
    repository.mkdir(exist_ok=True)
    (repository / model.digest).symlink_to(folder.absolute())
    return Target(version=version, digest=model.digest, variant=model.variant)


def scores(folder: Path) -> list[Any]:
    predictor = Predictor(open_model(folder))
    return [predictor.predict([row])[0] for row in predictor.prepare(TEXTS)]


def publish(repository: Path, routing: RoutingConfig, log: Log) -> None:
    log.named |= {one.version for one in routing.targets.values()}
    (repository / f".{FILE}").write_bytes(as_bytes(routing))
    (repository / f".{FILE}").rename(repository / FILE)


async def change(repository: Path, routing: RoutingConfig, balancer: Balancer, log: Log) -> None:
    """Apply ``routing``, wait until every server has applied it, and accept only its versions afterwards."""
    publish(repository, routing, log)
    expected = {one.version for one in routing.targets.values()}

    async def serves(port: int) -> bool:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/readyz") as response:
            content = await response.json()
        return {one["version"] for one in content.get("versions", {}).values()} == expected

    end = time.monotonic() + CHANGE_TIMEOUT_S
    while not all([await serves(port) for port in balancer.servers]):
        if time.monotonic() > end:
            raise TimeoutError(f"the servers do not serve {sorted(expected)} after {CHANGE_TIMEOUT_S:g} s")
        await asyncio.sleep(POLL_INTERVAL_S)
    await asyncio.sleep(REQUEST_TIMEOUT_S)
    log.named = expected


async def until(done: Callable[[], bool], seconds: float = CHANGE_TIMEOUT_S) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"a server is not ready after {seconds:g} s")
        await asyncio.sleep(0.05)


async def request(balancer: Balancer, log: Log, requests: int) -> None:
    """Send one request after the other until all are done."""
    async with aiohttp.ClientSession(headers=JSON) as session:
        while log.done < requests:
            log.done += 1
            index = log.done % len(TEXTS)
            try:
                url = f"http://127.0.0.1:{balancer.next()}/predict"
                async with session.post(url, data=body_of([TEXTS[index]])) as response:
                    log.check(index, response.status, await response.json(content_type=None))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                log.lost.append(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
