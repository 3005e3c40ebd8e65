"""Batch rows of equal length across requests, with a bounded queue.

A row waits only while others run, or up to max_batch_wait_ms for its batch to fill.
"""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.inference.prepared import Prepared

SHARE_OF_NEWEST = 0.1  # in the running means of seconds: the last ten batches decide
INSTANT_SECONDS = 0.005  # for which the event loop may stand still: a refusal under overload may take ten times that
MAX_RETRY_AFTER_S = 60
CLOSE_SECONDS = 5.0  # for batches that are under way when a version is closed; longer than a batch that is answered


class QueueFullError(Exception):
    """No room is left for the rows; ``retry_after`` is the whole seconds in which those that wait will be done."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"retry in {retry_after} s")
        self.retry_after = retry_after


class Ticket:
    """The rows of one request on their way; ``future`` gets their answers, in order, in the caller's event loop."""

    def __init__(self, rows: int, deadline: float) -> None:
        self.deadline = deadline  # of time.monotonic
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.abandoned = False  # the client no longer waits
        self._loop = asyncio.get_running_loop()
        self._predictions: list[Any] = [None] * rows
        self._left = rows
        self._lock = threading.Lock()

    def settle(self, position: int, prediction: Any) -> None:
        """Store the prediction for one row; may be called from any thread."""
        self._predictions[position] = prediction
        with self._lock:
            self._left -= 1
            done = not self._left
        if done:
            self._notify(lambda: self.future.set_result(self._predictions))

    def fail(self, error: Exception) -> None:
        """Fail the whole request with ``error``; may be called from any thread."""
        self.abandoned = True
        self._notify(lambda: self.future.set_exception(error))

    def _notify(self, change: Callable[[], None]) -> None:
        def change_once() -> None:
            if not self.future.done():
                change()

        self._loop.call_soon_threadsafe(change_once)


@dataclass(frozen=True)
class Waiting:
    """One row in the queue."""

    row: Prepared
    ticket: Ticket
    position: int  # in its request
    since: float  # of time.monotonic


class Lanes:
    """The rows that wait, in a lane for each length. Not for several threads at once."""

    def __init__(self) -> None:
        self._lanes: dict[int, deque[Waiting]] = {}
        self.rows = 0

    def push(self, waiting: Waiting) -> None:
        self._lanes.setdefault(waiting.row.length, deque()).append(waiting)
        self.rows += 1

    def oldest(self) -> deque[Waiting]:
        """Return the lane whose first row has waited longest. There must be one."""
        return min(self._lanes.values(), key=lambda lane: lane[0].since)

    def pop(self, rows: int) -> list[Waiting]:
        """Take up to ``rows`` rows of one length, the one that has waited longest first."""
        lane = self.oldest()
        taken = [lane.popleft() for _ in range(min(rows, len(lane)))]
        if not lane:
            del self._lanes[taken[0].row.length]
        self.rows -= len(taken)
        return taken


class Batcher:
    """A queue, and the threads that run its rows in batches.

    Args:
        predict: Returns the predictions for rows of one length.
        workers: Threads that call it.
        max_batch_size: Rows that run at once.
        max_queue_rows: Rows that may wait.
        wait_seconds: How long the oldest row waits for others of its length.
        observe: Called for each batch with its rows, the seconds that each waited, and its duration in seconds.
    """

    def __init__(
        self,
        predict: Callable[[Sequence[Prepared]], Sequence[Any]],
        *,
        workers: int = 1,
        max_batch_size: int = 8,
        max_queue_rows: int = 256,
        wait_seconds: float = 0.0,
        observe: Callable[[int, list[float], float], None] = lambda rows, waited, seconds: None,
    ) -> None:
        self._predict, self._observe = predict, observe
        self._max_batch_size, self._max_queue_rows, self._wait = max_batch_size, max_queue_rows, wait_seconds
        self._workers, self._pace = workers, Pace()
        self._lanes, self._changed, self._closed, self._running = Lanes(), threading.Condition(), False, 0
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{i}", daemon=True) for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Rows in the queue."""
        return self._lanes.rows

    def submit(self, rows: Sequence[Prepared], deadline: float) -> Ticket:
        """Return the ticket of ``rows``, to be answered before ``deadline`` (of time.monotonic).

        Raises:
            QueueFullError: there is no room for all of them.
        """
        ticket, now = Ticket(len(rows), deadline), time.monotonic()
        with self._changed:
            self.check_room(len(rows))
            for position, row in enumerate(rows):
                self._lanes.push(Waiting(row, ticket, position, now))
            self._changed.notify(min(len(rows), self._workers))
        return ticket

    def run_inline(self, rows: Sequence[Prepared]) -> Sequence[Any] | None:
        """Run ``rows`` in the event loop's thread, if nothing else runs and they take an instant only.

        Otherwise return None, and they are to be submitted. To wake a thread and to be woken by it takes some 0.2 ms:
        on two cores a tenth of what a short model takes.
        """
        with self._changed:
            if self._closed or self._wait or self._lanes.rows or self._running or not self._is_brief(rows):
                return None
            self._running += 1
        answers, seconds = self._timed(rows)
        asyncio.get_running_loop().call_soon(self._observe, len(rows), [0.0] * len(rows), seconds)  # answers go first
        return answers

    def check_room(self, rows: int) -> None:
        """Raise QueueFullError when there is no room for ``rows`` more."""
        if self._lanes.rows + rows > self._max_queue_rows:
            raise QueueFullError(self._retry_after())

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Run the queued rows, then stop the threads; wait at most ``seconds`` for that."""
        until = time.monotonic() + seconds
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    @property
    def is_busy(self) -> bool:
        """Whether threads still run after ``close``."""
        return self._closed and any(thread.is_alive() for thread in self._threads)

    def _retry_after(self) -> int:
        seconds = self._lanes.rows * self._pace.seconds_a_row / self._workers
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(seconds)))

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            wanted = [one for one in batch if _is_wanted(one)]
            if wanted:
                self._run(wanted)
            else:
                self._ran()

    def _next(self) -> list[Waiting] | None:
        """Return the next batch, waiting for one; None when all is done and closed."""
        with self._changed:
            while True:
                if not self._lanes.rows:
                    if self._closed:
                        return None
                    self._changed.wait()
                elif (patience := self._patience()) > 0:
                    self._changed.wait(patience)
                else:
                    self._running += 1
                    return self._lanes.pop(self._most())

    def _most(self) -> int:
        """Return how many rows to take: of several workers each takes half of its share of the oldest's length.

        Who takes all leaves nothing to the others, and lets the rows of a large batch wait for each other: with 8
        clients and 2 workers p99 was then 1.7 times p50 in a simulation, and so 1.1, at the same throughput.
        """
        if self._workers == 1 or self._wait:  # nobody else, or they have waited for each other
            return self._max_batch_size
        return min(self._max_batch_size, math.ceil(len(self._lanes.oldest()) / (2 * self._workers)))

    def _patience(self) -> float:
        """Return the seconds that the oldest lane may still wait to become a whole batch."""
        lane = self._lanes.oldest()
        if not self._wait or self._closed or len(lane) >= self._max_batch_size:
            return 0.0
        return lane[0].since + self._wait - time.monotonic()

    def _is_brief(self, rows: Sequence[Prepared]) -> bool:
        """Return whether ``rows`` can run at once, and will have done so in an instant, as far as is known yet."""
        alike = len({row.length for row in rows}) == 1 and len(rows) <= self._max_batch_size
        return alike and 0 < self._pace.expected(rows) <= INSTANT_SECONDS

    def _run(self, batch: list[Waiting]) -> None:
        began = time.monotonic()
        try:
            answers, seconds = self._timed([one.row for one in batch])
        except Exception as error:  # report any error to the waiting requests and keep the thread alive
            for one in batch:
                one.ticket.fail(error)
            return
        for one, answer in zip(batch, answers, strict=True):
            one.ticket.settle(one.position, answer)
        self._observe(len(batch), [began - one.since for one in batch], seconds)

    def _timed(self, rows: Sequence[Prepared]) -> tuple[Sequence[Any], float]:
        began = time.monotonic()
        try:
            answers = self._predict(rows)
        finally:
            self._ran()
        seconds = time.monotonic() - began
        self._pace.learn(rows, seconds)
        return answers, seconds

    def _ran(self) -> None:
        with self._changed:
            self._running -= 1


class Pace:
    """How long rows take, as running means tell."""

    def __init__(self) -> None:
        self.seconds_a_row, self._seconds_a_unit = 0.0, 0.0  # 0: not known yet; a unit is one of a row's length

    def learn(self, rows: Sequence[Prepared], seconds: float) -> None:
        """Take in that ``rows``, of one length, took ``seconds``."""
        self.seconds_a_row = _nearer(self.seconds_a_row, seconds / len(rows))
        self._seconds_a_unit = _nearer(self._seconds_a_unit, seconds / len(rows) / max(1, rows[0].length))

    def expected(self, rows: Sequence[Prepared]) -> float:
        """Return the seconds that ``rows`` will take together; 0 while that is not known."""
        return self._seconds_a_unit * sum(row.length for row in rows)


def _nearer(mean: float, newest: float) -> float:
    return mean + (newest - mean) * SHARE_OF_NEWEST if mean else newest


def _is_wanted(one: Waiting) -> bool:
    """Return whether the client still waits for the row; fail rows past their deadline."""
    if one.ticket.deadline < time.monotonic():
        one.ticket.fail(TimeoutError("the deadline has passed"))
    return not one.ticket.abandoned
