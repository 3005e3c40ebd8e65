"""Overload: ten times the load that the server can hold, at a fixed rate whatever it answers; who is refused, and when.

A request holds ROWS texts, so that those who ask cost little beside those who answer. The load that it can hold is what
CLIENTS connections get answered when each asks again at once. A refusal's time is what the client saw, from sending.
Anchors: every answer is 200 or 429, p99 of the refusals 50 ms, and resident memory grows by 5 % at most from the first
quarter of the overload to its last.
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
from _servers import JSON, body_of, free_port, made, own, started, text

from toolchain.hardware.cpu import describe, usable_cores

ROWS = 16  # texts in a request
CLIENTS, SECONDS_TO_MEASURE = 8, 5.0
REFUSED_MS, GROWTH = 50.0, 1.05
SECONDS_BETWEEN_LOOKS = 0.5  # at the memory
BODY = body_of([text()] * ROWS)


@dataclass
class Seen:
    """What the clients saw under overload, and what the server held."""

    statuses: Counter[str] = field(default_factory=Counter)
    answered: list[float] = field(default_factory=list)  # seconds
    refused: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # resident bytes, by and by

    @property
    def growth(self) -> float:
        quarter = max(1, len(self.memory) // 4)
        return statistics.median(self.memory[-quarter:]) / statistics.median(self.memory[:quarter])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0)
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="serving-") as scratch:
        folder = (given.model or made(Path(scratch))).absolute()
        port = free_port()
        with started(own(str(folder), "--port", str(port)), port) as process:
            held, rate, seen = asyncio.run(measure(port, process.pid, given.times, given.seconds))
    return tell(held, rate, seen)


async def measure(port: int, pid: int, times: float, seconds: float) -> tuple[float, float, Seen]:
    """Return the requests a second that are held, those that were sent, and what was seen of the latter."""
    url = f"http://127.0.0.1:{port}/predict"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=JSON) as session:
        held = await hold(session, url)
        seen, began = Seen(), time.perf_counter()
        watching = asyncio.create_task(watch(pid, seen))
        async with asyncio.TaskGroup() as tasks:
            sent = 0
            while (now := time.perf_counter() - began) < seconds:
                while sent < now * times * held:
                    tasks.create_task(ask(session, url, seen))
                    sent += 1
                await asyncio.sleep(0.001)
            rate = sent / (time.perf_counter() - began)
        watching.cancel()
    return held, rate, seen


async def hold(session: aiohttp.ClientSession, url: str) -> float:
    """Return the requests a second that CLIENTS get answered when each asks again at once."""
    seen, end = Seen(), time.perf_counter() + SECONDS_TO_MEASURE

    async def ask_often() -> None:
        while time.perf_counter() < end:
            await ask(session, url, seen)

    await asyncio.gather(*(ask_often() for _ in range(CLIENTS)))
    return len(seen.answered) / SECONDS_TO_MEASURE


async def ask(session: aiohttp.ClientSession, url: str, seen: Seen) -> None:
    began = time.perf_counter()
    try:
        async with session.post(url, data=BODY) as answer:
            await answer.read()
            status = str(answer.status)
    except aiohttp.ClientError as error:
        status = type(error).__name__
    seconds = time.perf_counter() - began
    seen.statuses[status] += 1
    if status in ("200", "429"):
        (seen.answered if status == "200" else seen.refused).append(seconds)


async def watch(pid: int, seen: Seen) -> None:
    process = psutil.Process(pid)
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        seen.memory.append(process.memory_info().rss)


def tell(held: float, rate: float, seen: Seen) -> int:
    """Print what was seen and return 1 when an anchor was missed."""
    print(f"\n{describe().name}, {usable_cores()} cores; requests of {ROWS} texts")
    print(f"held {held:.1f} requests/s; sent {rate:.1f}, {rate / held:.1f} times as many: {dict(seen.statuses)}")
    others = set(seen.statuses) - {"200", "429"}
    last = 1e3 * statistics.quantiles(seen.refused, n=100)[98] if len(seen.refused) > 1 else float("nan")
    answered = 1e3 * statistics.median(seen.answered) if seen.answered else float("nan")
    print(f"p50 of the answers {answered:.0f} ms; memory {seen.memory[0] / 1e6:.0f} to {seen.memory[-1] / 1e6:.0f} MB")
    anchors = [("other answers", len(others), 0), ("p99 of the refusals, ms", last, REFUSED_MS)]
    anchors.append(("memory, last over first quarter", seen.growth, GROWTH))
    for name, found, anchor in anchors:
        print(f"{name}: {found:.2f}, anchor {anchor:g}: {'reached' if found <= anchor else 'MISSED'}")
    return int(any(not found <= anchor for _, found, anchor in anchors))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
