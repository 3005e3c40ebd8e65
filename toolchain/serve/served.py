"""Served: one version that a server answers with, loaded, warm and compared with what was recorded of it."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from toolchain.answering import Answerer, Prepared
from toolchain.artifacts.expected import Expected, Row, read_expected
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ArtifactError
from toolchain.preprocess import Pictures
from toolchain.serve.batching import Batcher, QueueFullError
from toolchain.serve.metrics import Metrics, Stopwatch
from toolchain.serve.parity import Parity, compare
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings

SHOWN_DIGITS = 12  # of a digest, where it stands for a version
WARM_UP = 5  # answers: the first allocates memory, and the middle one of the rest is what a row takes


@dataclass(eq=False)
class Served:
    """A loaded model and the queue before it. All but ``close`` belongs to the thread of the event loop."""

    settings: Settings
    model: Model
    answerer: Answerer
    expected: Expected | None
    parity: Parity
    metrics: Metrics
    batcher: Batcher
    users: int = 0  # requests, and comparisons, that have chosen it and are not done
    unprepared: int = 0  # rows that are being made ready for it

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
        return not isinstance(self.answerer.preprocessor, Pictures)

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

    @contextmanager
    def preparing(self, rows: int) -> Iterator[None]:
        """Let ``rows`` take room in the queue within the block: to decode a picture takes longer than many a model."""
        try:
            self.batcher.check_room(self.unprepared + rows)
        except QueueFullError as full:
            raise _overload(full) from full
        self.unprepared += rows
        try:
            yield
        finally:
            self.unprepared -= rows

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
            answers = await self._queue(rows, gone, min(seconds, self.settings.deadline_seconds))
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
            raise Problem(504, f"no answer within {seconds:g} s; send fewer rows, or come again later") from error
        finally:
            left.cancel()

    def check_parity(self) -> Parity:
        """Ask the recorded rows again and return, and keep, what came out."""
        self.parity = compare(self.answerer, self.expected)
        self.metrics.parity(self.parity.rows, self.parity.alike)
        return self.parity

    def close(self) -> None:
        """Answer what waits and end the threads; called from any thread."""
        self.batcher.close()


def _overload(full: QueueFullError) -> Problem:
    return Problem(429, f"the queue is full: {full}", retry_after=full.retry_after)


def load(settings: Settings) -> Served:
    """Return the model of ``settings``, checked against its digests, loaded, warm and compared.

    Raises:
        ArtifactError: the folder is damaged, its files were changed, or nothing here runs them.
    """
    assert settings.model is not None  # who follows a shelf puts the folder of a version there
    model = open_model(settings.model)
    expected = read_expected(settings.parity or settings.model)
    if settings.parity and expected is None:
        raise ArtifactError(f"{settings.parity} holds no expected.json; name a folder that does, or none")
    answerer = Answerer(model, settings.threads, settings.inference_streams)
    metrics = Metrics(model, settings.name, version_of(settings, model), warm_up(answerer, expected))
    metrics.limits(settings.queue_rows, settings.inference_streams)
    batcher = Batcher(
        answerer.answer,
        streams=settings.inference_streams,
        batch_rows=1 if answerer.detects else settings.batch_rows,
        queue_rows=settings.queue_rows,
        wait_seconds=settings.batch_wait_ms / 1000,
        observe=metrics.batch,
    )
    served = Served(settings, model, answerer, expected, Parity(0, 0), metrics, batcher)
    served.check_parity()
    return served


def warm_up(answerer: Answerer, expected: Expected | None) -> float:
    """Answer a few rows and return the seconds that one takes."""
    (row,) = answerer.prepare([expected.rows[0].value if expected and expected.rows else neutral_value(answerer)])
    taken = []
    for _ in range(WARM_UP):
        watch = Stopwatch()
        answerer.answer([row])
        taken.append(watch.seconds)
    return sorted(taken)[WARM_UP // 2]


def neutral_value(answerer: Answerer) -> Any:
    """Return a row that any model of the kind takes: a short text, or a grey picture of the model's size."""
    from toolchain.pictures import encode

    preprocessor = answerer.preprocessor
    if not isinstance(preprocessor, Pictures):
        return "It is what it is, and that is all there is to say about it."
    import numpy as np

    pixels = np.full((preprocessor.height, preprocessor.width, 3), 128, np.uint8)
    return {"bytes": encode(pixels), "path": "a grey picture"}


def example_rows(served: Served) -> tuple[Row, ...]:
    """Return recorded rows that are short enough to be shown, the best ones first; () when none were recorded."""
    rows = served.expected.rows if served.expected else ()
    return tuple(sorted(rows, key=lambda row: len(row.text or row.picture))[:2])


def version_of(settings: Settings, model: Model) -> str:
    return settings.version or model.digest[:SHOWN_DIGITS]
