"""Test which requests are sampled, and that the queue is bounded and never blocks."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.support.samples import TEXT, Start, metrics, offer, stored, until
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle.routing import RoutingConfig, Target
from toolchain.serve.__main__ import parser
from toolchain.serve.http.application import build
from toolchain.serve.server import serve
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry import sample_writer, sampling
from toolchain.serve.telemetry.sampling import Sampler, SamplingSettings, sampling_settings
from toolchain.serve.versions.router import static_router
from toolchain.serve.versions.version import LoadedVersion, load


class StuckStore:
    """A store whose writes block until they are released, and then fail."""

    shown = "stuck"

    def __init__(self) -> None:
        self.released = threading.Event()

    def put(self, name: str, content: bytes) -> None:
        self.released.wait(30)
        raise ServiceError("S3 is unavailable")

    def get(self, name: str) -> None:
        return None


def test_the_same_ids_are_sampled_on_every_server_in_the_requested_share(tmp_path: Path, start: Start):
    ids = [f"request-{number}" for number in range(20_000)]
    first, second, more = (start(uri=str(tmp_path / name), percent=p) for name, p in (("a", 10), ("b", 10), ("c", 20)))
    selected = [request for request in ids if first.selects(request)]
    assert len(selected) / len(ids) == pytest.approx(0.1, abs=0.01)  # 4.7 standard deviations
    assert selected == [request for request in ids if second.selects(request)]
    assert all(map(more.selects, selected))
    assert start().selects("\ud800")  # any id is valid


def test_canary_and_stable_version_are_sampled_equally(start: Start):
    stable, canary = (Target(version=digit, digest=digit * 64, variant="fp32") for digit in "12")
    routing = RoutingConfig(model="reviews", stable=stable, canary=canary, percent=10.0)
    sampler = start(percent=10.0)
    ids = [f"request-{number}" for number in range(20_000)]
    to_canary = [request for request in ids if routing.goes_to_canary(request)]
    assert sum(map(sampler.selects, to_canary)) / len(to_canary) == pytest.approx(0.1, abs=0.035)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 400)), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(500, 3000),
)
def test_the_queue_is_bounded_and_every_row_is_counted(
    served: LoadedVersion,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[tuple[int, int]],
    max_rows: int,
    max_bytes: int,
):
    store = StuckStore()
    monkeypatch.setattr(sampling, "open_store", lambda uri: store)
    monkeypatch.setattr(sampling, "MAX_QUEUED_ROWS", max_rows)
    monkeypatch.setattr(sampling, "MAX_QUEUED_BYTES", max_bytes)
    monkeypatch.setattr(sample_writer, "MAX_FILE_ROWS", 2)
    monkeypatch.setattr(sampling, "MAINTENANCE_INTERVAL_S", 0.01)
    sampler = Sampler(SamplingSettings(uri="stuck", percent=100.0))
    offered = 0
    for rows, characters in requests:
        began = time.monotonic()
        offer(sampler, served, ["x" * characters] * rows)
        assert time.monotonic() - began < 15, "an offer must not wait for a store that blocks for 30 s"
        offered += rows
        assert 0 <= sampler._queued_bytes <= max_bytes
        assert sampler._queue.qsize() <= max_rows
    store.released.set()
    sampler.close()
    counted = metrics(sampler, served)
    total = sum(value for (name, _), value in counted.items() if name == "toolchain_sampling_rows_total")
    dropped_all = not counted  # no row fitted into the queue, so the version is unknown
    assert total == offered or (dropped_all and sampler._dropped[served.model.digest] == offered)
    assert sampler._queued_bytes == 0


def test_an_offer_after_the_end_is_ignored(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start()
    sampler.close()
    offer(sampler, served, [TEXT])
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"percent": 0.0}, "sample_percent is 0"),
        ({"percent": 101.0}, "sample_percent is 101"),
        ({"percent": float("nan")}, "sample_percent is nan"),
        ({"retention_days": 0.0}, "sample_retention_days is 0"),
        ({"max_bytes": 1}, "max_sample_bytes is 1"),
        ({"uri": "gs://bucket"}, "samples is 'gs://bucket'"),
    ],
)
def test_bad_settings_are_not_valid(given_: dict[str, Any], reason: str):
    with pytest.raises(ConfigError, match=reason):
        SamplingSettings(**{"uri": "samples"} | given_)


def test_requests_of_both_protocols_are_sampled(words: Path, start: Start, tmp_path: Path):
    router = static_router(load(Settings(model=words, name="reviews", version="3")))
    router.sampler = start(include_rows=True)
    with TestClient(build(router), "http://127.0.0.1") as client:
        own = {"X-Request-Id": "r1"}
        assert client.post("/predict", json={"texts": [TEXT, "poor"]}, headers=own).status_code == 200
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["dull"]}
        assert client.post("/v2/models/reviews/infer", json={"inputs": [tensor]}).status_code == 200
        assert client.post("/predict", json={"texts": [1]}).status_code == 422
        exported = until(lambda: "toolchain_sampling" in (text := client.get("/metrics").text) and text)
        labels = 'model="reviews",model_version="3",outcome="queue_full",variant="fp32"'
        assert f"toolchain_sampling_rows_total{{{labels}}} 0.0" in exported
    rows = stored(tmp_path / "samples")  # written at the end of the server
    assert [row["text"] for row in rows] == [TEXT, "poor", "dull"]
    assert rows[0]["request"] == rows[1]["request"] != rows[2]["request"]


def test_sampling_is_off_by_default(words: Path):
    with TestClient(build(static_router(load(Settings(model=words, name="reviews")))), "http://127.0.0.1") as client:
        client.post("/predict", json={"texts": [TEXT]})
        assert "toolchain_sampling" not in client.get("/metrics").text


def test_the_command_line_sets_the_sampling(tmp_path: Path):
    argv = [str(tmp_path), "--samples", "s3://bucket/samples", "--sample-percent", "2.5", "--sample-rows"]
    found = sampling_settings(Settings(**vars(parser().parse_args(argv))))
    assert found == SamplingSettings(uri="s3://bucket/samples", percent=2.5, include_rows=True)
    assert sampling_settings(Settings(**vars(parser().parse_args([str(tmp_path)])))) is None


def test_a_bad_store_is_reported_before_the_model_is_loaded(tmp_path: Path):
    with pytest.raises(ConfigError, match="samples is 'gs://bucket'"):
        serve(Settings(model=tmp_path / "no-model", samples="gs://bucket"))
