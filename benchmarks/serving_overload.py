"""Overload the server with ten times its sustainable load, at a fixed rate, and measure which requests it rejects.

A request has ROWS texts, so that sending costs little compared to serving. The sustainable load is the rate of CLIENTS
connections that each send the next request after a response. The duration of a rejection is measured by the client.
Anchors: every response is 200 or 429, p99 of the rejections is at most 50 ms, and resident memory grows by at most 5 %
from the first quarter of the overload to the last.
Usage: python benchmarks/serving_overload.py [MODEL] [--seconds 60] [--times 10]
(MODEL: a folder of a text classifier in ONNX; default: makes INT8 MiniLM)
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil
from _servers import JSON, body_of, free_port, make_model, running_server, server_command, text

from toolchain.hardware.cpu import describe, usable_cores

ROWS = 16  # texts in a request
CLIENTS, MEASUREMENT_S = 8, 5.0
MAX_REJECTION_MS, MAX_MEMORY_GROWTH = 50.0, 1.05
POLL_INTERVAL_S = 0.5  # of the memory
BODY = body_of([text()] * ROWS)


@dataclass
class Observed:
    """What the clients observed under overload, and the server's memory."""

    statuses: Counter[str] = field(default_factory=Counter)
    served: list[float] = field(default_factory=list)  # seconds
    rejected: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # resident bytes over time

    @property
    def growth(self) -> float:
        quarter = max(1, len(self.memory) // 4)
        return statistics.median(self.memory[-quarter:]) / statistics.median(self.memory[:quarter])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folder = (given.model or make_model(Path(scratch))).absolute()
        port = free_port()
        with running_server(server_command(str(folder), "--port", str(port)), port) as process:
            sustained, rate, observed = asyncio.run(measure(port, process.pid, given.times, given.seconds))
    return report(sustained, rate, observed)


async def measure(port: int, pid: int, times: float, seconds: float) -> tuple[float, float, Observed]:
    """Return the sustainable requests/s, the sent requests/s, and what was observed."""
    url = f"http://127.0.0.1:{port}/predict"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=JSON) as session:
        sustained = await sustainable_rate(session, url)
        observed, began = Observed(), time.perf_counter()
        watching = asyncio.create_task(watch(pid, observed))
        async with asyncio.TaskGroup() as tasks:
            sent = 0
            while (now := time.perf_counter() - began) < seconds:
                while sent < now * times * sustained:
                    tasks.create_task(request(session, url, observed))
                    sent += 1
                await asyncio.sleep(0.001)
            rate = sent / (time.perf_counter() - began)
        watching.cancel()
    return sustained, rate, observed


async def sustainable_rate(session: aiohttp.ClientSession, url: str) -> float:
    """Return the requests/s of CLIENTS that each send the next request after a response."""
    observed, end = Observed(), time.perf_counter() + MEASUREMENT_S

    async def request_repeatedly() -> None:
        while time.perf_counter() < end:
            await request(session, url, observed)

    await asyncio.gather(*(request_repeatedly() for _ in range(CLIENTS)))
    return len(observed.served) / MEASUREMENT_S


async def request(session: aiohttp.ClientSession, url: str, observed: Observed) -> None:
    began = time.perf_counter()
    try:
        async with session.post(url, data=BODY) as response:
            await response.read()
            status = str(response.status)
    except aiohttp.ClientError as error:
        status = type(error).__name__
    seconds = time.perf_counter() - began
    observed.statuses[status] += 1
    if status in ("200", "429"):
        (observed.served if status == "200" else observed.rejected).append(seconds)


async def watch(pid: int, observed: Observed) -> None:
    process = psutil.Process(pid)
    while True:
        await asyncio.sleep(POLL_INTERVAL_S)
        observed.memory.append(process.memory_info().rss)


def report(sustained: float, rate: float, observed: Observed) -> int:
    """Print the results and return 1 if an anchor was missed."""
    print(f"\n{describe().name}, {usable_cores()} cores; requests of {ROWS} texts")
    factor, statuses = rate / sustained, dict(observed.statuses)
    print(f"sustained {sustained:.1f} requests/s; sent {rate:.1f}, a factor of {factor:.1f}: {statuses}")
    others = set(observed.statuses) - {"200", "429"}
    p99 = 1e3 * statistics.quantiles(observed.rejected, n=100)[98] if len(observed.rejected) > 1 else float("nan")
    served = 1e3 * statistics.median(observed.served) if observed.served else float("nan")
    first, last = observed.memory[0] / 1e6, observed.memory[-1] / 1e6
    print(f"p50 of the predictions {served:.0f} ms; memory {first:.0f} to {last:.0f} MB")
    anchors = [("other responses", len(others), 0), ("p99 of the rejections, ms", p99, MAX_REJECTION_MS)]
    anchors.append(("memory, last quarter over first", observed.growth, MAX_MEMORY_GROWTH))
    for name, found, anchor in anchors:
        print(f"{name}: {found:.2f}, anchor {anchor:g}: {'reached' if found <= anchor else 'MISSED'}")
    return int(any(not found <= anchor for _, found, anchor in anchors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
