"""Preparation: texts are tokenized and images decoded in threads, a few at a time, until nobody waits any more.

A deadline ends the wait for a thread, not the thread. So a job that nobody waits for stops at its next row, one that
has not begun never begins, and its rows take room in the queue for as long as it really runs.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

Prepare = Callable[[Sequence[Any]], list[Any]]


class Preparation:
    """Threads that prepare rows; all but their work belongs to the thread of the event loop.

    Args:
        threads: How many jobs run at once.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, "preparation")
        self._jobs: dict[Future[list[Any]], int] = {}  # the rows of each that waits or runs

    @property
    def rows(self) -> int:
        """Rows that wait for a thread or are in one, whether or not anybody waits for them."""
        return sum(self._jobs.values())

    async def run(self, prepare: Prepare, values: Sequence[Any], seconds: float, at_once: int) -> list[Any]:
        """Return what ``prepare`` makes of ``values``, of which it is given ``at_once`` at a time.

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
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _prepare_all(prepare: Prepare, values: Sequence[Any], at_once: int, abandoned: threading.Event) -> list[Any]:
    prepared: list[Any] = []
    for begin in range(0, len(values), at_once):
        if abandoned.is_set():
            break
        prepared += prepare(values[begin : begin + at_once])
    return prepared


def _soon(loop: asyncio.AbstractEventLoop, change: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody asks how much there is to do any more
        loop.call_soon_threadsafe(change)
