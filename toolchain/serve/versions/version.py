"""Load one version of a model, warm it up and compare its predictions with the recorded ones."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.expected import Expected, Row, read_expected
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ArtifactError
from toolchain.hardware.cpu import usable_cores
from toolchain.inference.predictor import Predictor
from toolchain.inference.prepared import Prepared
from toolchain.inference.tasks import Task
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.metrics import Metrics, Stopwatch
from toolchain.serve.versions.batching import Batcher, QueueFullError
from toolchain.serve.versions.parity import Parity, compare
from toolchain.serve.versions.preparation import Preparation

WARM_UP = 5  # predictions: the first allocates memory, the median of the rest is the duration of a row


@dataclass(eq=False)
class LoadedVersion:
    """A loaded model and its queue. All methods but ``close`` run in the event loop's thread."""

    settings: Settings
    model: Model
    predictor: Predictor
    expected: Expected | None
    parity: Parity
    metrics: Metrics
    batcher: Batcher
    preparation: Preparation
    users: int = 0  # requests and comparisons in progress

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def version(self) -> str:
        return version_of(self.settings, self.model)

    @property
    def identity(self) -> dict[str, str]:
        """The model's identity in responses."""
        return {
            "name": self.name,
            "version": self.version,
            "variant": self.model.variant,
            "digest": self.model.digest,
        }

    @property
    def task(self) -> Task:
        return self.predictor.task

    @property
    def not_ready_reason(self) -> str:
        """Why the version is not ready; "" when it is."""
        return self.parity.reason

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the version open within the block, even if it is replaced meanwhile."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def prepare_now(self, values: Sequence[Any]) -> list[Prepared]:
        """Prepare ``values`` for the model in the event loop's thread."""
        self._check_capacity(len(values))
        return self.predictor.prepare(values)

    async def prepare(self, values: Sequence[Any]) -> list[Prepared]:
        """Prepare ``values`` for the model in a worker thread.

        Their rows count as queued meanwhile: decoding an image can take longer than the model.

        Raises:
            DataError: a file is not an image, or is damaged.
            Problem: the queue is full, or the request timed out.
        """
        self._check_capacity(len(values))
        seconds = self.settings.request_timeout
        try:
            # Files are prepared one at a time, so that the work can be abandoned between two.
            at_once = 1 if self.task.input.file_type else len(values)
            return await self.preparation.run(self.predictor.prepare, values, seconds, at_once)
        except TimeoutError as error:
            raise _timeout(seconds) from error

    def _check_capacity(self, rows: int) -> None:
        try:
            self.batcher.check_capacity(self.preparation.rows + rows)
        except QueueFullError as full:
            raise _queue_full(full) from full

    async def predict(
        self, rows: Sequence[Prepared], disconnected: Callable[[], Awaitable[object]], seconds: float = math.inf
    ) -> Sequence[Any]:
        """Return the predictions for ``rows``; raises Problem when there are none.

        ``disconnected()`` returns when the client disconnects, after which the rows are dropped, as they are after
        ``seconds``, if the client's deadline is earlier than the server's.
        """
        if self.parity.reason:
            raise Problem(503, f"the model is not ready: {self.parity.reason}")
        await asyncio.sleep(0)  # let requests that arrived at the same time register as users
        predictions = self.batcher.run_inline(rows) if self.users <= 1 else None
        if predictions is None:
            predictions = await self._queue(rows, disconnected, min(seconds, self.settings.request_timeout))
        return predictions

    async def _queue(
        self, rows: Sequence[Prepared], disconnected: Callable[[], Awaitable[object]], seconds: float
    ) -> Sequence[Any]:
        left = asyncio.ensure_future(disconnected())
        try:
            ticket = self.batcher.submit(rows, time.monotonic() + seconds)
            either: set[asyncio.Future[Any]] = {ticket.future, left}
            try:
                await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:  # a cancelled request needs no predictions either
                ticket.abandoned |= not ticket.future.done()
            if ticket.future.done():
                return ticket.future.result()
            if left.done():
                raise Problem(499, "the client closed the connection")
            raise TimeoutError
        except QueueFullError as full:
            raise _queue_full(full) from full
        except TimeoutError as error:
            raise _timeout(seconds) from error
        finally:
            left.cancel()

    def check_parity(self) -> Parity:
        """Predict the recorded rows again; store and return the comparison."""
        self.parity = compare(self.predictor, self.expected)
        self.metrics.parity(self.parity.rows, self.parity.matching)
        return self.parity

    def close(self) -> None:
        """Finish the queued rows and stop the threads; may be called from any thread."""
        self.preparation.close()
        self.batcher.close()

    @property
    def is_busy(self) -> bool:
        """Whether a thread still runs, which only the end of the process can stop."""
        return bool(self.preparation.rows) or self.batcher.is_busy


def _queue_full(full: QueueFullError) -> Problem:
    return Problem(429, f"the queue is full: {full}", retry_after=full.retry_after)


def _timeout(seconds: float) -> Problem:
    return Problem(504, f"no response within {seconds:g} s; send fewer rows, or retry later")


def load(settings: Settings) -> LoadedVersion:
    """Load the model of ``settings``: verify its digests, warm it up and check its parity.

    Raises:
        ArtifactError: the folder is damaged, its files were changed, or no installed runtime runs them.
    """
    assert settings.model is not None  # the watcher sets the folder of a version
    model = open_model(settings.model)
    expected = read_expected(settings.parity or settings.model)
    if settings.parity and expected is None:
        raise ArtifactError(f"{settings.parity} has no expected.json; set --parity to a folder that has one")
    predictor = Predictor(model, settings.threads, settings.worker_count)
    metrics = Metrics(model, settings.name, version_of(settings, model), warm_up(predictor, expected))
    metrics.limits(settings.max_queue_rows, settings.worker_count)
    batcher = Batcher(
        predictor.predict,
        workers=settings.worker_count,
        max_batch_size=min(settings.max_batch_size, predictor.task.max_batch_size or settings.max_batch_size),
        max_queue_rows=settings.max_queue_rows,
        wait_seconds=settings.max_batch_wait_ms / 1000,
        observe=metrics.batch,
    )
    preparation = Preparation(usable_cores())
    served = LoadedVersion(settings, model, predictor, expected, Parity(0, 0), metrics, batcher, preparation)
    served.check_parity()
    return served


def warm_up(predictor: Predictor, expected: Expected | None) -> float:
    """Predict a few rows and return the median duration in seconds."""
    value = expected.rows[0].value if expected and expected.rows else predictor.task.input.neutral()
    (row,) = predictor.prepare([value])
    taken = []
    for _ in range(WARM_UP):
        watch = Stopwatch()
        predictor.predict([row])
        taken.append(watch.seconds)
    return sorted(taken)[WARM_UP // 2]


def example_rows(served: LoadedVersion) -> tuple[Row, ...]:
    """Return the shortest recorded rows, for examples; () when none were recorded."""
    rows = served.expected.rows if served.expected else ()
    return tuple(sorted(rows, key=lambda row: len(row.json_value))[:2])


def version_of(settings: Settings, model: Model) -> str:
    return settings.version or short_digest(model.digest)
