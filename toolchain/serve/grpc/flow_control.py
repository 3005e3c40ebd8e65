"""Limit the number of gRPC messages that are read concurrently, which bounds their memory, and the duration of each.

gRPC buffers a message until it is complete and does not report its size before, so memory is bounded by the number of
concurrent reads. A complete message takes milliseconds to read. So that incomplete ones do not block others, the newest
request is read first, and while requests wait, the oldest read is canceled.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from toolchain.serve.problems import Problem

MAX_READ_TIME_S, MIN_READ_TIME_S = 0.25, 0.05  # per message, while a few or very many others wait
MAX_WAITING = 1024  # requests; each may have 64 KiB of its message in gRPC's flow control window
Receive = Callable[[], Awaitable[Any]]


class MessageReader:
    """Reads messages in the event loop's thread.

    Args:
        slots: Number of concurrent reads.
        seconds: Timeout for a message, including the wait for a slot.
    """

    def __init__(self, slots: int, seconds: float) -> None:
        self._free, self._slots, self._seconds = slots, slots, seconds
        self._read: dict[asyncio.Timeout, float] = {}  # start times, the oldest first
        self._waiting: dict[asyncio.Future[None], None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive) -> Any:
        """Return the result of ``receive()``.

        Raises:
            Problem: it timed out, or was canceled in favor of other requests.
        """
        end = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(end):
                await self._acquire()
            return await self._receive(receive, end)
        except TimeoutError as error:
            if asyncio.get_running_loop().time() < end:
                raise _overloaded() from error
            detail = f"the message was incomplete after {self._seconds:g} s"
            raise Problem(408, detail) from error

    async def _receive(self, receive: Receive, end: float) -> Any:
        try:
            async with asyncio.timeout_at(end) as limit:
                self._read[limit] = asyncio.get_running_loop().time()
                return await receive()
        finally:
            self._read.pop(limit, None)
            self._release()

    async def _acquire(self) -> None:
        """Wait for a slot."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.set_exception(_overloaded())
        self._cancel_slow_reads()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled():  # a slot was assigned at the same moment
                self._release()
            raise

    def _release(self) -> None:
        """Give the slot to the newest request in the queue."""
        while self._waiting:
            turn, _ = self._waiting.popitem()
            if not turn.done():
                turn.set_result(None)
                self._cancel_slow_reads()
                return
        self._free += 1

    @property
    def _read_time_s(self) -> float:
        """Time for one message before it may be canceled; shorter while more requests wait."""
        share = self._slots / max(self._slots, len(self._waiting))
        return max(MIN_READ_TIME_S, MAX_READ_TIME_S * share)

    def _cancel_slow_reads(self) -> None:
        """Cancel one slow read per waiting request, and schedule the next check."""
        loop = asyncio.get_running_loop()
        if self._timer:
            self._timer.cancel()
        self._timer = None
        for canceled, (limit, since) in enumerate(list(self._read.items())):
            if canceled == len(self._waiting):
                return
            if since + self._read_time_s > loop.time():
                self._timer = loop.call_at(since + self._read_time_s, self._cancel_slow_reads)
                return
            del self._read[limit]
            limit.reschedule(loop.time())


def _overloaded() -> Problem:
    return Problem(429, "too many messages are being received; retry in 1 s", retry_after=1)
