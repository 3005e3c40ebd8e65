import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import ArtifactError
from toolchain.inference.predictor import Prepared
from toolchain.serve.versions.batching import Batcher, QueuedRow, QueueFullError, RowQueue


class Recorder:
    """A model that doubles what it is given, can be held up, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = threading.Event()
        self.free.set()

    def predict(self, rows: Sequence[Prepared]) -> list[Any]:
        self.free.wait(10)
        self.batches.append([row.length for row in rows])
        return [row.data * 2 for row in rows]


def rows_of(*lengths: int) -> list[Prepared]:
    return [Prepared(place, length) for place, length in enumerate(lengths)]


def soon() -> float:
    return time.monotonic() + 10


async def until(true: Any) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen in 5 s")


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans())), st.integers(1, 4))
def test_every_row_runs_once_in_batches_of_one_length_the_oldest_first(steps: list[tuple[int, bool]], rows: int):
    lanes, waiting, popped = RowQueue(), [], []

    def pop() -> None:
        batch = lanes.pop(rows)
        popped.extend(batch)
        assert 1 <= len(batch) <= rows
        assert len({one.row.length for one in batch}) == 1
        assert batch[0].since == min(one.since for one in waiting)
        for one in batch:
            waiting.remove(one)

    for time_, (length, take) in enumerate(steps):
        one = QueuedRow(Prepared(time_, length), None, 0, float(time_))  # type: ignore[arg-type]  # no request waits
        lanes.push(one)
        waiting.append(one)
        if take:
            pop()
        assert lanes.rows == len(waiting)
    while lanes.rows:
        pop()
    assert sorted(one.row.data for one in popped) == list(range(len(steps)))
    for length in {one.row.length for one in popped}:
        lane = [one.since for one in popped if one.row.length == length]
        assert lane == sorted(lane)


@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=6), max_size=8), st.integers(1, 3), st.integers(1, 5))
def test_each_request_gets_its_predictions_in_order(requests: list[list[int]], workers: int, rows: int):
    async def ask() -> list[list[int]]:
        batcher = Batcher(Recorder().predict, workers=workers, max_batch_size=rows, max_queue_rows=100)
        tickets = [batcher.submit(rows_of(*lengths), soon()) for lengths in requests]
        predictions = [await ticket.future for ticket in tickets]
        await asyncio.to_thread(batcher.close)
        return predictions

    assert asyncio.run(ask()) == [[2 * place for place in range(len(lengths))] for lengths in requests]


def test_what_came_while_the_model_was_busy_runs_together():
    async def ask() -> list[list[int]]:
        model = Recorder()
        batcher = Batcher(model.predict, max_batch_size=3)
        model.free.clear()
        first = batcher.submit(rows_of(9), soon())
        await until(lambda: not batcher.queued_rows)
        others = [batcher.submit(rows_of(length), soon()) for length in (5, 7, 5, 5, 5)]
        model.free.set()
        await asyncio.gather(first.future, *(ticket.future for ticket in others))
        await asyncio.to_thread(batcher.close)
        return model.batches

    assert asyncio.run(ask()) == [[9], [5, 5, 5], [7], [5]]


def test_a_stream_leaves_rows_to_the_others():
    async def ask() -> list[int]:
        model = Recorder()
        batcher = Batcher(model.predict, workers=2, max_batch_size=8)
        model.free.clear()
        busy = [batcher.submit(rows_of(length), soon()) for length in (8, 9)]
        await until(lambda: not batcher.queued_rows)
        others = [batcher.submit(rows_of(5), soon()) for _ in range(8)]
        model.free.set()
        await asyncio.gather(*(ticket.future for ticket in (*busy, *others)))
        await asyncio.to_thread(batcher.close)
        return sorted((len(batch) for batch in model.batches if batch[0] == 5), reverse=True)

    assert asyncio.run(ask()) == [2, 2, 1, 1, 1, 1]


def test_a_single_row_of_a_fast_model_runs_in_the_event_loop():
    async def ask() -> tuple[list[Any], list[int]]:
        threads, batches = [], []

        def response(rows: Sequence[Prepared]) -> list[Any]:
            threads.append(threading.get_ident())
            return [row.data * 2 for row in rows]

        batcher = Batcher(response, max_batch_size=3, observe=lambda rows, *_: batches.append(rows))
        unknown = batcher.run_inline(rows_of(5, 5))
        await batcher.submit(rows_of(5, 5), soon()).future
        await until(lambda: batches)
        known = batcher.run_inline(rows_of(5, 5))
        await until(lambda: len(batches) == 2)
        assert batcher.run_inline(rows_of(5, 6)) is None, "they do not run at once"
        assert batcher.run_inline(rows_of(5, 5, 5, 5)) is None, "nor do more than a batch holds"
        await asyncio.to_thread(batcher.close)
        assert batcher.run_inline(rows_of(5)) is None, "it has ended"
        assert [thread == threading.get_ident() for thread in threads] == [False, True]
        return [unknown, known], batches

    assert asyncio.run(ask()) == ([None, [0, 2]], [2, 2])


def test_slow_rows_and_rows_behind_others_run_in_threads():
    async def ask() -> None:
        model = Recorder()
        batcher = Batcher(lambda rows: time.sleep(rows[0].length / 1000) or model.predict(rows))
        await batcher.submit(rows_of(1), soon()).future
        assert batcher.run_inline(rows_of(1)) == [0]
        assert batcher.run_inline(rows_of(100)) is None, "some 0.1 s, which would block other requests"
        model.free.clear()
        running = batcher.submit(rows_of(1), soon())
        await until(lambda: not batcher.queued_rows)
        assert batcher.run_inline(rows_of(1)) is None, "a thread is at work"
        model.free.set()
        await running.future
        await asyncio.to_thread(batcher.close)

    asyncio.run(ask())


def test_a_failing_model_fails_in_either_thread_and_can_recover():
    async def ask() -> None:
        fails = [False]

        def response(rows: Sequence[Prepared]) -> list[Any]:
            if fails[0]:
                raise ArtifactError("it does not run")
            return [row.data for row in rows]

        batcher = Batcher(response)
        await batcher.submit(rows_of(1), soon()).future
        fails[0] = True
        with pytest.raises(ArtifactError):
            batcher.run_inline(rows_of(1))
        with pytest.raises(ArtifactError):
            await batcher.submit(rows_of(1), soon()).future
        fails[0] = False
        assert batcher.run_inline(rows_of(1)) == [0]
        await asyncio.to_thread(batcher.close)

    asyncio.run(ask())


def test_the_oldest_row_waits_no_longer_than_its_limit():
    async def ask() -> tuple[list[list[int]], float]:
        model = Recorder()
        batcher = Batcher(model.predict, max_batch_size=2, wait_seconds=0.2)
        began = time.monotonic()
        alone = batcher.submit(rows_of(4), soon())
        await alone.future
        seconds = time.monotonic() - began
        first = batcher.submit(rows_of(6), soon())
        await asyncio.sleep(0.02)
        await asyncio.gather(first.future, batcher.submit(rows_of(6), soon()).future)
        await asyncio.to_thread(batcher.close)
        return model.batches, seconds

    batches, seconds = asyncio.run(ask())
    assert batches == [[4], [6, 6]]
    assert seconds >= 0.19


def test_a_full_queue_rejects_with_the_seconds_to_wait():
    async def ask() -> int:
        model = Recorder()
        batcher = Batcher(model.predict, max_queue_rows=3)
        model.free.clear()
        busy = batcher.submit(rows_of(1), soon())
        await until(lambda: not batcher.queued_rows)
        waiting = batcher.submit(rows_of(1, 1, 1), soon())
        with pytest.raises(QueueFullError) as full:
            batcher.submit(rows_of(1), soon())
        model.free.set()
        await asyncio.gather(busy.future, waiting.future)
        await asyncio.to_thread(batcher.close)
        return full.value.retry_after

    assert asyncio.run(ask()) >= 1


def test_abandoned_rows_are_not_run():
    async def ask() -> tuple[list[list[int]], Any]:
        model = Recorder()
        batcher = Batcher(model.predict)
        model.free.clear()
        busy = batcher.submit(rows_of(1), soon())
        await until(lambda: not batcher.queued_rows)
        left = batcher.submit(rows_of(2), soon())
        left.abandoned = True
        late = batcher.submit(rows_of(3), time.monotonic() - 1)
        model.free.set()
        await busy.future
        with pytest.raises(TimeoutError):
            await late.future
        await asyncio.to_thread(batcher.close)
        return model.batches, left.future.done()

    assert asyncio.run(ask()) == ([[1]], False)


def test_a_failing_batch_fails_its_requests_and_the_next_one_runs():
    def fail_on_seven(rows: Sequence[Prepared]) -> list[Any]:
        if rows[0].length == 7:
            raise ValueError("seven")
        return [row.data for row in rows]

    async def ask() -> Any:
        batcher = Batcher(fail_on_seven)
        with pytest.raises(ValueError, match="seven"):
            await batcher.submit(rows_of(7), soon()).future
        response = await batcher.submit(rows_of(8), soon()).future
        await asyncio.to_thread(batcher.close)
        return response

    assert asyncio.run(ask()) == [0]


def test_closing_completes_the_queued_rows():
    async def ask() -> list[Any]:
        model = Recorder()
        batcher = Batcher(model.predict)
        model.free.clear()
        tickets = [batcher.submit(rows_of(length), soon()) for length in (1, 2, 3)]
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        model.free.set()
        predictions = [await ticket.future for ticket in tickets]
        await closing
        return predictions

    assert asyncio.run(ask()) == [[0], [0], [0]]
