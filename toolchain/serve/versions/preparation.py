"""Tokenize texts and decode images in threads, and stop when the request has timed out.

A timeout ends the wait for a thread, not the thread. Therefore an abandoned job stops before its next rows, a queued
one never starts, and the rows of a job count as queued until its thread ends.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

Prepare = Callable[[Sequence[Any]], list[Any]]


class Preparation:
    """Prepares rows in ``threads`` threads; its methods run in the event loop's thread."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "preparation")
        self._jobs: dict[Future[list[Any]], int] = {}  # the rows of each queued or running job

    @property
    def rows(self) -> int:
        """Rows of the queued and running jobs, including abandoned ones."""
        return sum(self._jobs.values())

    async def run(self, prepare: Prepare, values: Sequence[Any], seconds: float, at_once: int) -> list[Any]:
        """Return the rows that ``prepare`` makes from ``values``, called with ``at_once`` of them at a time.

        Raises:
            TimeoutError: it took longer than ``seconds``.
        """
        loop, abandoned = asyncio.get_running_loop(), threading.Event()
        job = self._threads.submit(_prepare_all, prepare, values, at_once, abandoned)
        self._jobs[job] = len(values)
        job.add_done_callback(lambda done: _soon(loop, lambda: self._jobs.pop(done, None)))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(job)
        finally:
            abandoned.set()

    def close(self) -> None:
        """Start no further job."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _prepare_all(prepare: Prepare, values: Sequence[Any], at_once: int, abandoned: threading.Event) -> list[Any]:
    prepared: list[Any] = []
    for begin in range(0, len(values), at_once):
        if abandoned.is_set():
            break
        prepared += prepare(values[begin : begin + at_once])
    return prepared


def _soon(loop: asyncio.AbstractEventLoop, change: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(change)
