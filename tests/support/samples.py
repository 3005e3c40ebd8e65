"""Offer rows to a sampler and read what it stored and exported."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from toolchain.lifecycle.request_samples import open_store, parse
from toolchain.serve.telemetry.sampling import Sampler
from toolchain.serve.versions.version import LoadedVersion

TEXT = "a good film, 7 of 10"
Start = Callable[..., Sampler]  # takes fields of SamplingSettings


def offer(sampler: Sampler, served: LoadedVersion, texts: list[str], request: str = "r1") -> None:
    rows = served.predictor.prepare(texts)
    sampler.offer(served, request, texts, rows, served.predictor.predict(rows[:1]) * len(rows))


def stored(uri: Path | str) -> list[dict[str, Any]]:
    """Return all rows in the store of the model "reviews"."""
    store = open_store(str(uri))
    contents = [store.get(file.name) for file in store.files("reviews") if file.name.endswith(".jsonl")]
    return [row for content in contents for row in parse(content or b"", "a file")[1]]


def metrics(sampler: Sampler, served: LoadedVersion) -> dict[tuple[str, str], float]:
    """Return the metrics of ``served`` by their name and the label that identifies neither model nor version."""
    found = {}
    for family in text_string_to_metric_families(sampler.text([served]).decode()):
        for sample in family.samples:
            own = {**sample.labels}
            assert (own.pop("model"), own.pop("model_version"), own.pop("variant")) == ("reviews", "3", "fp32")
            found[sample.name, "".join(own.values())] = sample.value
    return found


def until(condition: Callable[[], Any]) -> Any:
    """Wait up to 10 s until ``condition`` is true, and return its value."""
    end = time.monotonic() + 10
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found
