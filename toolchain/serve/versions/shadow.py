"""Compare the labels of two versions on the same rows, in the background of requests."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.inference.prepared import Prepared
from toolchain.serve.problems import Problem, log_location
from toolchain.serve.versions.version import LoadedVersion

MAX_COMPARISONS = 4  # at a time, so that requests do not wait for them
Prepare = Callable[[LoadedVersion], Awaitable[Sequence[Prepared]]]  # prepares a request's rows for another version


@dataclass(frozen=True)
class Trial:
    """A comparison of two versions."""

    role: str  # "canary" or "shadow"
    candidate: LoadedVersion  # in that role; its metrics count the result
    other: LoadedVersion  # the one of the two that has no predictions yet


class Comparison:
    """The comparisons in progress. Use it in the event loop's thread only."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def begin(self, trial: Trial, labels: Sequence[Any], prepare: Prepare) -> None:
        """Compare ``labels`` with those of the other version, unless that would delay requests."""
        other = trial.other
        fits = other.batcher.queued_rows + len(labels) <= other.settings.max_batch_size  # into one batch
        if len(self._running) >= MAX_COMPARISONS or other.not_ready_reason or not fits:
            return
        task = asyncio.create_task(_compare(trial, labels, prepare))
        self._running.add(task)
        task.add_done_callback(self._running.discard)


async def _compare(trial: Trial, labels: Sequence[Any], prepare: Prepare) -> None:
    with trial.candidate.held(), trial.other.held():
        try:
            rows = await prepare(trial.other)
            found = labels_of(trial.other, await trial.other.predict(rows, asyncio.Event().wait))
        except Problem:  # too slow, overloaded or not ready: nothing to compare
            return
        except Exception as error:  # the response was sent; log where this failed
            log_location(error)
            return
        matching = sum(one == expected for one, expected in zip(found, labels, strict=True))
        trial.candidate.metrics.compared(trial.role, matching, len(labels) - matching)


def labels_of(served: LoadedVersion, predictions: Sequence[Any]) -> list[list[str]]:
    """Return the classes that ``served`` predicts for each row."""
    threshold = served.expected.threshold if served.expected else 0.5
    return [served.task.output.labels(prediction, threshold) for prediction in predictions]
