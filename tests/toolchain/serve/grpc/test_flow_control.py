"""Test how many messages are read concurrently, and for how long."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from toolchain.serve.grpc.flow_control import MessageReader
from toolchain.serve.problems import Problem

SECONDS = 20.0


async def never() -> None:
    await asyncio.Event().wait()


async def status_of(reading: MessageReader, receive: Callable[[], Awaitable[Any]]) -> int:
    try:
        await reading.read(receive)
    except Problem as problem:
        return problem.status
    return 200


def test_the_newest_is_read_first_and_the_oldest_is_ended():
    async def main() -> list[int]:
        reading = MessageReader(2, SECONDS)

        async def whole() -> bytes:
            return b"whole"

        slow = [asyncio.create_task(status_of(reading, never)) for _ in range(4)]
        await asyncio.sleep(0)
        assert await asyncio.wait_for(status_of(reading, whole), SECONDS) == 200
        done, pending = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        assert done <= set(slow[:2]), "those that were read longest"
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        assert await asyncio.wait_for(status_of(reading, whole), SECONDS) == 200, "every slot came back"
        return [task.result() for task in done]

    assert set(asyncio.run(main())) == {429}


def test_a_single_message_has_the_whole_time():
    async def main() -> tuple[int, int]:
        reading = MessageReader(1, 0.2)
        late = asyncio.create_task(status_of(reading, lambda: asyncio.sleep(0.1)))
        return await late, await status_of(reading, never)

    assert asyncio.run(main()) == (200, 408)


def test_slots_are_released_after_every_outcome():
    async def main() -> None:
        reading = MessageReader(2, 0.05)

        async def fail() -> None:
            raise RuntimeError("broken")

        for _ in range(20):
            tasks = [asyncio.create_task(status_of(reading, never)) for _ in range(5)]
            await asyncio.sleep(0.005)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.wait(tasks)
            with pytest.raises(RuntimeError):
                await reading.read(fail)
        assert reading._free == 2
        assert not reading._read
        assert not reading._waiting

    asyncio.run(main())
