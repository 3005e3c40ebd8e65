import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from toolchain.serve.versions.preparation import Preparation

SECONDS = 20.0


def doubled(values: Sequence[int]) -> list[int]:
    return [2 * value for value in values]


@pytest.mark.parametrize("at_once", [1, 2, 10])
def test_rows_come_back_in_order_however_many_are_prepared_at_once(at_once: int):
    preparation = Preparation(1)
    assert asyncio.run(preparation.run(doubled, range(5), SECONDS, at_once)) == [0, 2, 4, 6, 8]
    preparation.close()


def test_an_abandoned_job_stops_before_its_next_row_and_counts_until_then():
    free, begun, seen = threading.Event(), threading.Event(), []

    def slow(values: Sequence[str]) -> list[Any]:
        seen.extend(values)
        begun.set()
        free.wait(SECONDS)
        return list(values)

    async def main() -> None:
        preparation = Preparation(1)
        running = asyncio.create_task(preparation.run(slow, ["running", "next"], SECONDS, 1))
        await asyncio.to_thread(begun.wait, SECONDS)
        with pytest.raises(TimeoutError):
            await preparation.run(slow, ["waiting"] * 3, 0.01, 1)
        await asyncio.sleep(0.05)
        assert preparation.rows == 2, "the one that waited is gone"
        running.cancel()
        await asyncio.wait([running])
        assert preparation.rows == 2, "its thread still runs"
        free.set()
        until = time.monotonic() + SECONDS
        while preparation.rows and time.monotonic() < until:
            await asyncio.sleep(0.01)
        assert preparation.rows == 0
        preparation.close()

    asyncio.run(main())
    assert seen == ["running"]


def test_a_failure_is_the_callers():
    def fail(values: Sequence[int]) -> list[int]:
        raise ValueError("a bad row")

    preparation = Preparation(1)
    with pytest.raises(ValueError, match="a bad row"):
        asyncio.run(preparation.run(fail, [1], SECONDS, 1))
    preparation.close()
