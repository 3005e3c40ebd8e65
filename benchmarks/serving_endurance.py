"""Endurance: requests without end, while versions change and servers are replaced; every request must be answered.

Two servers poll one model repository. Clients use the ready ones, as a Kubernetes Service does, and never retry. A
request counts as lost unless the response is 200, comes from a version that routing.json names and has the scores of
a bare session. On the way routing.json is rewritten three times (a canary, its promotion, the way
back), and each server is replaced as a rolling update does it: another one starts and is ready, then the old one gets
SIGTERM.
Anchor: 200,000 requests and not one lost.
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
from _servers import JSON, ROOT, answers, body_of, free_port, made, own, text

from toolchain.artifacts.model import open_model
from toolchain.hardware.cpu import describe, usable_cores
from toolchain.inference.predictor import Predictor
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes

REQUESTS, CLIENTS = 200_000, 16
TEXTS = [text(words) for words in range(4, 40, 3)]  # of several lengths
TOLERANCE = 0.02  # in a score: INT8 rounds a row otherwise in another batch
SECONDS_BETWEEN_LOOKS = 0.25  # at who is ready, as a kubelet would look
SECONDS_FOR_A_CHANGE = 60.0
SECONDS_ON_THE_WAY = 10.0  # at most, of an answer that was begun before a change: the server's deadline
SHOWN_FAULTS = 10
MODEL = "reviews"


@dataclass
class Balancer:
    """The servers, of which those that are ready are asked by turns."""

    ready: list[int] = field(default_factory=list)  # ports
    servers: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    asked: int = 0

    def next(self) -> int:
        self.asked += 1
        return self.ready[self.asked % len(self.ready)]

    async def look(self) -> None:
        """Look who is ready, again and again."""
        while True:
            found = [port for port in self.servers if await asyncio.to_thread(answers, port, "/readyz")]
            self.ready = found or self.ready
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def start(self, repository: Path) -> int:
        """Start a server and return its port once it is ready."""
        port = free_port()
        command = own("--model-repository", str(repository), "--port", str(port), "--poll-interval", "0.5")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.servers[port] = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        await until(lambda: port in self.ready)
        return port

    async def replace(self, port: int, repository: Path) -> None:
        """Do what a rolling update does with one pod."""
        await self.start(repository)
        process = self.servers[port]
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
        del self.servers[port]
        if code:
            raise RuntimeError(f"a server ended with {code} after SIGTERM")


@dataclass
class Log:
    """What became of the requests."""

    due: dict[str, list[Any]]  # scores of each of TEXTS, by version
    named: set[str] = field(default_factory=set)  # versions that the repository names now, or did a moment ago
    done: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)

    def take(self, place: int, status: int, told: dict[str, Any]) -> None:
        """Judge one answer to the text at ``place``."""
        version = told.get("model", {}).get("version", "")
        scores = list(told.get("predictions", [{}])[0].get("scores", {}).values())
        if status != 200:
            self.lost.append(f"status {status}: {told.get('detail')}")
        elif version not in self.named:
            self.lost.append(f"version {version!r} answered, the repository names {sorted(self.named)}")
        elif np.abs(np.array(scores) - self.due[version][place]).max() > TOLERANCE:
            self.lost.append(f"version {version} answered {scores}, {self.due[version][place]} is due")
        self.versions[version] += 1


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folders = given.models or made_both(Path(scratch))
        log, seconds = asyncio.run(endure(folders, Path(scratch) / MODEL, given.requests, given.clients))
    print(f"\n{describe().name}, {usable_cores()} cores; {given.clients} clients, {log.done / seconds:.0f} requests/s")
    print(f"answered by version {dict(log.versions)}; three version changes, two servers replaced")
    for fault in log.lost[:SHOWN_FAULTS]:
        print(f"lost: {fault}")
    print(f"lost: {len(log.lost)} of {log.done:,}, anchor 0: {'MISSED' if log.lost else 'reached'}")
    return int(bool(log.lost))


def made_both(scratch: Path) -> list[Path]:
    int8 = made(scratch)
    return [int8.parent / "fp32", int8]


async def endure(folders: Sequence[Path], repository: Path, requests: int, clients: int) -> tuple[Log, float]:
    """Return what became of the requests, and the seconds that they took."""
    stable, other = (target(str(number), folder, repository) for number, folder in enumerate(folders, 1))
    log, balancer = Log({one.version: scores(repository / one.digest) for one in (stable, other)}), Balancer()
    routing = RoutingConfig(model=MODEL, stable=stable)
    publish(repository, routing, log)
    looking = asyncio.create_task(balancer.look())
    try:
        first, second = await balancer.start(repository), await balancer.start(repository)
        began = time.perf_counter()
        asking = [asyncio.create_task(ask(balancer, log, requests)) for _ in range(clients)]
        tried = replace(routing, canary=other, percent=20.0)
        promoted = RoutingConfig(model=MODEL, stable=other)
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: change(repository, tried, balancer, log),
            lambda: balancer.replace(first, repository),
            lambda: change(repository, promoted, balancer, log),
            lambda: balancer.replace(second, repository),
            lambda: change(repository, routing, balancer, log),
        ]
        for number, step in enumerate(steps, 1):
            await until(lambda due=number * requests / 6: log.done >= due, seconds=float("inf"))
            await step()
            print(f"{log.done:,} requests: step {number} of {len(steps)} done, {len(log.lost)} lost", flush=True)
        await asyncio.gather(*asking)
        return log, time.perf_counter() - began
    finally:
        looking.cancel()
        for process in balancer.servers.values():
            process.kill()
            await process.wait()


def target(version: str, folder: Path, repository: Path) -> Target:
    """Put a version in the repository and return what names it."""
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
    """Let the repository say something else, and wait until every server does; from then on it must be so."""
    publish(repository, routing, log)
    due = {one.version for one in routing.targets.values()}

    async def serves(port: int) -> bool:
        async with aiohttp.request("GET", f"http://127.0.0.1:{port}/readyz") as answer:
            told = await answer.json()
        return {one["version"] for one in told.get("versions", {}).values()} == due

    end = time.monotonic() + SECONDS_FOR_A_CHANGE
    while not all([await serves(port) for port in balancer.servers]):
        if time.monotonic() > end:
            raise TimeoutError(f"the servers do not serve {sorted(due)} after {SECONDS_FOR_A_CHANGE:g} s")
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
    await asyncio.sleep(SECONDS_ON_THE_WAY)
    log.named = due


async def until(done: Callable[[], bool], seconds: float = SECONDS_FOR_A_CHANGE) -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise TimeoutError(f"a server is not ready after {seconds:g} s")
        await asyncio.sleep(0.05)


async def ask(balancer: Balancer, log: Log, requests: int) -> None:
    """Ask one request after the other until all are done."""
    async with aiohttp.ClientSession(headers=JSON) as session:
        while log.done < requests:
            log.done += 1
            place = log.done % len(TEXTS)
            try:
                url = f"http://127.0.0.1:{balancer.next()}/predict"
                async with session.post(url, data=body_of([TEXTS[place]])) as answer:
                    log.take(place, answer.status, await answer.json(content_type=None))
            except (aiohttp.ClientError, OSError, ValueError) as error:
                log.lost.append(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
