"""Served: one version that a server answers with, loaded, warm and compared with what was recorded of it."""

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
from toolchain.inference.predictor import Predictor, Prepared
from toolchain.inference.preprocessing import Pictures
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.metrics import Metrics, Stopwatch
from toolchain.serve.versions.batching import Batcher, QueueFullError
from toolchain.serve.versions.parity import Parity, compare
from toolchain.serve.versions.preparation import Preparation

WARM_UP = 5  # answers: the first allocates memory, and the middle one of the rest is what a row takes


@dataclass(eq=False)
class Served:
    """A loaded model and the queue before it. All but ``close`` belongs to the thread of the event loop."""

    settings: Settings
    model: Model
    predictor: Predictor
    expected: Expected | None
    parity: Parity
    metrics: Metrics
    batcher: Batcher
    preparation: Preparation
    users: int = 0  # requests, and comparisons, that have chosen it and are not done

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def version(self) -> str:
        return version_of(self.settings, self.model)

    @property
    def identity(self) -> dict[str, str]:
        """What an answer says of who gave it."""
        return {
            "name": self.name,
            "version": self.version,
            "variant": self.model.variant,
            "digest": self.model.digest,
        }

    @property
    def takes_texts(self) -> bool:
        return not isinstance(self.predictor.preprocessor, Pictures)

    @property
    def unready(self) -> str:
        """Why the model must not be asked; "" when it may."""
        return self.parity.reason

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the version from being closed within the block, though it be replaced meanwhile."""
        self.users += 1
        try:
            yield
        finally:
            self.users -= 1

    def prepare_now(self, values: Sequence[Any]) -> list[Prepared]:
        """Return ``values`` as the model takes them, in the event loop's own thread."""
        self._check_room(len(values))
        return self.predictor.prepare(values)

    async def prepare(self, values: Sequence[Any]) -> list[Prepared]:
        """Return ``values`` as the model takes them, made so in a thread.

        Their rows take room in the queue meanwhile: to decode an image takes longer than many a model.

        Raises:
            DataError: a file is no image, or is damaged.
            Problem: the queue is full, or it took too long.
        """
        self._check_room(len(values))
        seconds = self.settings.request_timeout
        try:
            at_once = len(values) if self.takes_texts else 1  # images one by one, so that the work can be given up
            return await self.preparation.run(self.predictor.prepare, values, seconds, at_once)
        except TimeoutError as error:
            raise _overdue(seconds) from error

    def _check_room(self, rows: int) -> None:
        try:
            self.batcher.check_room(self.preparation.rows + rows)
        except QueueFullError as full:
            raise _overload(full) from full

    async def ask(
        self, rows: Sequence[Prepared], gone: Callable[[], Awaitable[object]], seconds: float = math.inf
    ) -> Sequence[Any]:
        """Return the answers to ``rows``, or say by a Problem why there are none.

        ``gone()`` ends when the client has gone, after which nobody wants the answers; nor after ``seconds``, where
        the client's deadline comes before the server's.
        """
        if self.parity.reason:
            raise Problem(503, f"the model is not ready: {self.parity.reason}")
        await asyncio.sleep(0)  # now those who came at the same time are users too
        answers = self.batcher.answer_here(rows) if self.users <= 1 else None
        if answers is None:
            answers = await self._queue(rows, gone, min(seconds, self.settings.request_timeout))
        return answers

    async def _queue(
        self, rows: Sequence[Prepared], gone: Callable[[], Awaitable[object]], seconds: float
    ) -> Sequence[Any]:
        left = asyncio.ensure_future(gone())
        try:
            ticket = self.batcher.submit(rows, time.monotonic() + seconds)
            either: set[asyncio.Future[Any]] = {ticket.future, left}
            try:
                await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            finally:  # whoever was cancelled wants no answer either
                ticket.abandoned |= not ticket.future.done()
            if ticket.future.done():
                return ticket.future.result()
            if left.done():
                raise Problem(499, "the client has gone")
            raise TimeoutError
        except QueueFullError as full:
            raise _overload(full) from full
        except TimeoutError as error:
            raise _overdue(seconds) from error
        finally:
            left.cancel()

    def check_parity(self) -> Parity:
        """Ask the recorded rows again and return, and keep, what came out."""
        self.parity = compare(self.predictor, self.expected)
        self.metrics.parity(self.parity.rows, self.parity.alike)
        return self.parity

    def close(self) -> None:
        """Answer what waits and end the threads, as far as they end; called from any thread."""
        self.preparation.close()
        self.batcher.close()

    @property
    def is_at_work(self) -> bool:
        """Whether a thread still runs, which nothing can end but the end of the process."""
        return bool(self.preparation.rows) or self.batcher.is_at_work


def _overload(full: QueueFullError) -> Problem:
    return Problem(429, f"the queue is full: {full}", retry_after=full.retry_after)


def _overdue(seconds: float) -> Problem:
    return Problem(504, f"no answer within {seconds:g} s; send fewer rows, or come again later")


def load(settings: Settings) -> Served:
    """Return the model of ``settings``, checked against its digests, loaded, warm and compared.

    Raises:
        ArtifactError: the folder is damaged, its files were changed, or nothing here runs them.
    """
    assert settings.model is not None  # who follows a repository puts the folder of a version there
    model = open_model(settings.model)
    expected = read_expected(settings.parity or settings.model)
    if settings.parity and expected is None:
        raise ArtifactError(f"{settings.parity} holds no expected.json; name a folder that does, or none")
    predictor = Predictor(model, settings.threads, settings.worker_count)
    metrics = Metrics(model, settings.name, version_of(settings, model), warm_up(predictor, expected))
    metrics.limits(settings.max_queue_rows, settings.worker_count)
    batcher = Batcher(
        predictor.answer,
        workers=settings.worker_count,
        max_batch_size=1 if predictor.detects else settings.max_batch_size,
        max_queue_rows=settings.max_queue_rows,
        wait_seconds=settings.max_batch_wait_ms / 1000,
        observe=metrics.batch,
    )
    preparation = Preparation(usable_cores())
    served = Served(settings, model, predictor, expected, Parity(0, 0), metrics, batcher, preparation)
    served.check_parity()
    return served


def warm_up(predictor: Predictor, expected: Expected | None) -> float:
    """Answer a few rows and return the seconds that one takes."""
    (row,) = predictor.prepare([expected.rows[0].value if expected and expected.rows else neutral_value(predictor)])
    taken = []
    for _ in range(WARM_UP):
        watch = Stopwatch()
        predictor.answer([row])
        taken.append(watch.seconds)
    return sorted(taken)[WARM_UP // 2]


def neutral_value(predictor: Predictor) -> Any:
    """Return a row that any model of the kind takes: a short text, or a grey picture of the model's size."""
    from toolchain.image_decoding import encode

    preprocessor = predictor.preprocessor
    if not isinstance(preprocessor, Pictures):
        return "It is what it is, and that is all there is to say about it."
    import numpy as np

    pixels = np.full((preprocessor.height, preprocessor.width, 3), 128, np.uint8)
    return {"bytes": encode(pixels), "path": "a grey picture"}


def example_rows(served: Served) -> tuple[Row, ...]:
    """Return recorded rows that are short enough to be shown, the best ones first; () when none were recorded."""
    rows = served.expected.rows if served.expected else ()
    return tuple(sorted(rows, key=lambda row: len(row.text or row.image))[:2])


def version_of(settings: Settings, model: Model) -> str:
    return settings.version or short_digest(model.digest)
