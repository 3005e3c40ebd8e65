"""Comparison: another version is asked the same rows in the background, and labels are held against each other."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.inference.predictor import Prepared
from toolchain.metrics.detections import Detections
from toolchain.serve.problems import Problem, tell_place
from toolchain.serve.versions.version import Served

MOST_AT_ONCE = 4  # comparisons under way: what waits for them would make those who wait for an answer wait
Again = Callable[[Served], Awaitable[Sequence[Prepared]]]  # prepares a request's rows as another version takes them


@dataclass(frozen=True)
class Trial:
    """What is found out by a comparison."""

    role: str  # "canary" or "shadow"
    tried: Served  # in that role; the outcome is counted as its own
    asked: Served  # the one of the two that has not answered yet


class Comparison:
    """What is compared, in the background of requests. Only in the thread of the event loop."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[None]] = set()

    def begin(self, trial: Trial, labels: Sequence[Any], again: Again) -> None:
        """Ask the other version the rows that were answered by ``labels``, if that keeps nobody waiting."""
        asked = trial.asked
        short = asked.settings.max_batch_size  # as many rows as run at once anyway
        if len(self._under_way) >= MOST_AT_ONCE or asked.unready or asked.batcher.waiting + len(labels) > short:
            return
        task = asyncio.create_task(_compare(trial, labels, again))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)


async def _compare(trial: Trial, labels: Sequence[Any], again: Again) -> None:
    with trial.tried.held(), trial.asked.held():
        try:
            rows = await again(trial.asked)
            found = labels_of(trial.asked, await trial.asked.ask(rows, asyncio.Event().wait))
        except Problem:  # too slow, too full or not to be asked: then there is nothing to compare
            return
        except Exception as error:  # the answer was given; an operator needs the place
            tell_place(error)
            return
        alike = sum(one == due for one, due in zip(found, labels, strict=True))
        trial.tried.metrics.compared(trial.role, alike, len(labels) - alike)


def labels_of(served: Served, answers: Sequence[Any]) -> list[Any]:
    """Return what ``served`` says that each row is: a class; of a detector, the sorted classes of its sure boxes."""
    names = served.model.signature.labels
    threshold = served.expected.threshold if served.expected else 0.5

    def label(answer: Any) -> Any:
        if isinstance(answer, Detections):
            return sorted(names[place] for place in answer.above(threshold).labels)
        return names[int(answer.argmax())]

    return [label(answer) for answer in answers]
