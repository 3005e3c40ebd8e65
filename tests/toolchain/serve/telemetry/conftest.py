"""A loaded version, and samplers that check their files often."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.samples import Start
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry import sampling
from toolchain.serve.telemetry.sampling import Sampler, SamplingSettings
from toolchain.serve.versions.version import LoadedVersion, load


@pytest.fixture
def served(words: Path) -> Iterator[LoadedVersion]:
    found = load(Settings(model=words, name="reviews", version="3"))
    yield found
    found.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a sampler of all requests."""
    monkeypatch.setattr(sampling, "MAINTENANCE_INTERVAL_S", 0.01)
    started: list[Sampler] = []

    def begin(**more: Any) -> Sampler:
        started.append(Sampler(SamplingSettings(**{"uri": str(tmp_path / "samples"), "percent": 100.0} | more)))
        return started[-1]

    yield begin
    for sampler in started:
        sampler.close()
