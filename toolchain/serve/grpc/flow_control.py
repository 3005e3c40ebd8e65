"""Limit the gRPC messages that are read at a time, so that their bytes are bounded, and the time of each.

gRPC buffers a message until all of it came, unseen from here, so what it may hold is bounded by how many are read at
once. Those who send half a message must not keep out those who send a whole one, which takes milliseconds: the newest
request is read first, and while others wait, the one that has been read longest gives way.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from toolchain.serve.problems import Problem

MAX_PATIENCE_S, MIN_PATIENCE_S = 0.25, 0.05  # for a message while others wait: few, and very many
MAX_WAITING = 1024  # requests whose message is not read yet; each may have 64 KiB of it in gRPC's window
Receive = Callable[[], Awaitable[Any]]


class Reading:
    """The messages that are being read. All of it belongs to the thread of the event loop.

    Args:
        slots: How many are read at once.
        seconds: In which a message must have come.
    """

    def __init__(self, slots: int, seconds: float) -> None:
        self._free, self._slots, self._seconds = slots, slots, seconds
        self._read: dict[asyncio.Timeout, float] = {}  # since when, the oldest first
        self._waiting: dict[asyncio.Future[None], None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, receive: Receive) -> Any:
        """Return what ``receive()`` does.

        Raises:
            Problem: it takes too long, or gives way to others.
        """
        end = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.timeout_at(end):
                await self._turn()
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
            self._leave()

    async def _turn(self) -> None:
        """Return once a slot is this task's."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting[turn] = None
        if len(self._waiting) > MAX_WAITING:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.set_exception(_overloaded())
        self._make_room()
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled():  # the slot came at the same moment
                self._leave()
            raise

    def _leave(self) -> None:
        """Give a slot to the newest who waits."""
        while self._waiting:
            turn, _ = self._waiting.popitem()
            if not turn.done():
                turn.set_result(None)
                self._make_room()
                return
        self._free += 1

    @property
    def _patience(self) -> float:
        """Seconds for which a message is read undisturbed now, so that all who wait have their turn soon."""
        share = self._slots / max(self._slots, len(self._waiting))
        return max(MIN_PATIENCE_S, MAX_PATIENCE_S * share)

    def _make_room(self) -> None:
        """End what has been read for too long, as far as others wait; look again when the next one will have been."""
        loop = asyncio.get_running_loop()
        if self._timer:
            self._timer.cancel()
        self._timer = None
        for ended, (limit, since) in enumerate(list(self._read.items())):
            if ended == len(self._waiting):
                return
            if since + self._patience > loop.time():
                self._timer = loop.call_at(since + self._patience, self._make_room)
                return
            del self._read[limit]
            limit.reschedule(loop.time())


def _overloaded() -> Problem:
    return Problem(429, "too many messages are being received; retry in 1 s", retry_after=1)
