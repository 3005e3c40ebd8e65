"""Test comparisons of two fake versions."""

import asyncio
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from toolchain.serve.problems import Problem
from toolchain.serve.versions.shadow import MAX_COMPARISONS, Comparison, Trial


class Version:
    def __init__(self, *labels: str, waiting: int = 0, not_ready_reason: str = "") -> None:
        self.found = [[label] for label in labels]
        self.not_ready_reason, self.batcher = not_ready_reason, SimpleNamespace(queued_rows=waiting)
        self.settings, self.expected = SimpleNamespace(max_batch_size=4), None
        self.task = SimpleNamespace(output=SimpleNamespace(labels=lambda prediction, threshold: prediction))
        self.metrics = SimpleNamespace(compared=lambda *counts: self.compared.append(counts))
        self.compared: list[tuple[str, int, int]] = []
        self.error: Exception | None = None

    @contextmanager
    def held(self) -> Any:
        yield

    async def predict(self, rows: Any, gone: Any) -> list[list[str]]:
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return self.found


async def prepare(served: Any) -> list[Any]:
    return [None, None]


def compared(candidate: Version, other: Version, times: int = 1) -> list[tuple[str, int, int]]:
    async def main() -> None:
        comparison = Comparison()
        for _ in range(times):
            comparison.begin(Trial("canary", candidate, other), [["good"], ["bad"]], prepare)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)

    asyncio.run(main())
    return candidate.compared


def test_rows_with_equal_labels_match():
    assert compared(Version(), Version("good", "good")) == [("canary", 1, 1)]


@pytest.mark.parametrize(
    "other", [Version("good", "bad", waiting=3), Version("good", "bad", not_ready_reason="loading")]
)
def test_a_version_with_other_rows_to_predict_is_not_compared(other: Version):
    assert compared(Version(), other) == []


def test_comparisons_at_once_are_limited():
    assert len(compared(Version(), Version("good", "bad"), times=MAX_COMPARISONS + 3)) == MAX_COMPARISONS


def test_a_comparison_that_fails_is_not_counted(capsys: pytest.CaptureFixture[str]):
    other = Version("good", "bad")
    other.error = Problem(429, "full")
    assert compared(Version(), other) == []
    assert capsys.readouterr().err == ""
    other.error = ValueError("a text")
    assert compared(Version(), other) == []
    assert "ValueError" in capsys.readouterr().err
