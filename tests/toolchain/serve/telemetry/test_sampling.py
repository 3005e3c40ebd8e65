"""What is put aside: which requests, what of them, and what becomes of it where there is no room."""

import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.models import DAMAGED, picture, write_repaired
from toolchain.artifacts.model import open_model
from toolchain.artifacts.profile import FILE, Profile, write_profile
from toolchain.errors import ConfigError, ServiceError
from toolchain.inference.features import BUCKETS
from toolchain.lifecycle.request_samples import open_store, parse
from toolchain.serve.__main__ import parser
from toolchain.serve.http.application import build
from toolchain.serve.server import serve
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry import sampling
from toolchain.serve.telemetry.sampling import Sampler, SamplingSettings, sampling_settings
from toolchain.serve.versions.router import static_router
from toolchain.serve.versions.version import LoadedVersion, load

TEXT = "a good film, 7 of 10"
Start = Callable[..., Sampler]


class StuckPlace:
    """A place whose writes wait until they are let go, and then fail."""

    shown = "stuck"

    def __init__(self) -> None:
        self.free = threading.Event()

    def put(self, name: str, content: bytes) -> None:
        self.free.wait(30)
        raise ServiceError("S3 is away")

    def get(self, name: str) -> None:
        return None


@pytest.fixture
def served(words: Path) -> Iterator[LoadedVersion]:
    found = load(Settings(model=words, name="reviews", version="3"))
    yield found
    found.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Return a function that starts a sampler of all requests, and looks after its files often."""
    monkeypatch.setattr(sampling, "MAINTENANCE_INTERVAL_S", 0.01)
    started: list[Sampler] = []

    def begin(**more: Any) -> Sampler:
        started.append(Sampler(SamplingSettings(**{"place": str(tmp_path / "samples"), "percent": 100.0} | more)))
        return started[-1]

    yield begin
    for sampler in started:
        sampler.close()


def offer(sampler: Sampler, served: LoadedVersion, texts: list[str], request: str = "r1") -> None:
    rows = served.predictor.prepare(texts)
    sampler.offer(served, request, texts, rows, served.predictor.predict(rows[:1]) * len(rows))


def kept(place: Path | str) -> list[dict[str, Any]]:
    """Return all rows that were put aside for the model."""
    opened = open_store(str(place))
    contents = [opened.get(file.name) for file in opened.files("reviews") if file.name.endswith(".jsonl")]
    return [row for content in contents for row in parse(content or b"", "a file")[1]]


def figures(sampler: Sampler, served: LoadedVersion) -> dict[tuple[str, str], float]:
    """Return the figures by name and the label that not all have."""
    found = {}
    for family in text_string_to_metric_families(sampler.text([served]).decode()):
        for sample in family.samples:
            own = {**sample.labels}
            assert (own.pop("model"), own.pop("model_version"), own.pop("variant")) == ("reviews", "3", "fp32")
            found[sample.name, "".join(own.values())] = sample.value
    return found


def until(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 10
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_a_text_is_described_as_its_model_reads_it(start: Start, tmp_path: Path):
    served = load(Settings(model=write_repaired(tmp_path / "model"), name="reviews", version="3"))
    sampler = start(rows=True)
    offer(sampler, served, list(DAMAGED))
    sampler.close()
    served.close()
    rows = kept(tmp_path / "samples")
    assert [row["numbers"]["characters"] for row in rows] == [len(text) for text in DAMAGED.values()]
    assert [row["text"] for row in rows] == list(DAMAGED)  # what came


def test_by_default_numbers_and_answers_are_kept_and_no_text(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler, before = start(), time.time()
    offer(sampler, served, [TEXT])
    sampler.close()
    (row,) = kept(tmp_path / "samples")
    assert row.keys() == {"time", "request", "label", "numbers"}
    assert before - 1 < row["time"] < time.time() + 1
    assert (row["label"], row["numbers"]["characters"], row["numbers"]["tokens"]) == ("positive", 20, 7)
    assert row["numbers"]["confidence"] == pytest.approx(0.731, abs=1e-3)  # one good word: e / (e + 1)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "samples").rglob("*.jsonl"))
    assert b"film" not in raw
    assert b'"r1"' not in raw  # the request's id is there as a hash


def test_texts_are_kept_only_where_that_is_asked_for(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start(rows=True)
    offer(sampler, served, [TEXT, "poor"])
    sampler.close()
    assert [row["text"] for row in kept(tmp_path / "samples")] == [TEXT, "poor"]


def test_a_file_says_whose_rows_it_holds(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start()
    offer(sampler, served, [TEXT])
    sampler.close()
    (file,) = (tmp_path / "samples" / "reviews" / served.model.digest[:12]).iterdir()
    subject, _ = parse(file.read_bytes(), "a file")
    assert (subject.model, subject.model_version, subject.digest) == ("reviews", "3", served.model.digest)


def test_pictures_are_described_by_their_file_and_their_pixels(pictures: Path, start: Start, tmp_path: Path):
    served = load(Settings(model=pictures, name="reviews", version="3"))
    sampler = start(rows=True)
    value = {"bytes": picture(255, width=40, height=20), "path": "a picture"}
    rows = served.predictor.prepare([value])
    answers = served.predictor.predict(rows)
    sampler.offer(served, "r1", [value], rows, answers)
    sampler.offer(served, "r2", None, rows, answers)  # as pixels, by the inference protocol
    sampler.close()
    served.close()
    with_file, pixels_alone = kept(tmp_path / "samples")
    assert (with_file["label"], with_file["numbers"]["brightness"], with_file["numbers"]["aspect"]) == ("bright", 1, 2)
    assert pixels_alone["numbers"]["aspect"] is None
    assert "image" in with_file
    assert "image" not in pixels_alone


def test_what_a_detector_finds_is_described(detector: Path, start: Start, tmp_path: Path):
    served = load(Settings(model=detector, name="reviews", version="3"))
    sampler = start()
    value = {"bytes": picture(128, width=20, height=10), "path": "a picture"}
    rows = served.predictor.prepare([value])
    sampler.offer(served, "r1", [value], rows, served.predictor.predict(rows))
    sampler.close()
    served.close()
    (row,) = kept(tmp_path / "samples")
    assert (row["label"], row["numbers"]["boxes"]) == ("thing", 1)
    assert row["numbers"]["confidence"] == pytest.approx(0.9)


def test_with_a_profile_a_text_has_a_surprise(words: Path, start: Start, tmp_path: Path):
    numbers = {"tokens": (1.0,)}
    digest = open_model(words).digest
    profile = Profile(model=digest, split="test", numbers=numbers, labels=("positive",), tokens=(9,) * BUCKETS)
    write_profile(words, profile)
    served = load(Settings(model=words, name="reviews", version="3"))
    sampler = start()
    offer(sampler, served, [TEXT])
    sampler.close()
    served.close()
    assert kept(tmp_path / "samples")[0]["numbers"]["surprise"] == 13  # bits: one of 8,192, all alike


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_without_a_profile_or_with_a_damaged_one_a_text_has_none(
    content: str | None, words: Path, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if content:
        (words / FILE).write_text(content)
    served = load(Settings(model=words, name="reviews", version="3"))
    sampler = start()
    offer(sampler, served, [TEXT])
    sampler.close()
    served.close()
    assert kept(tmp_path / "samples")[0]["numbers"]["surprise"] is None
    assert ("samples will lack their surprise" in capsys.readouterr().err) == bool(content)


def test_the_same_ids_are_in_the_sample_on_every_server_in_the_share_asked_for(tmp_path: Path, start: Start):
    ids = [f"request-{number}" for number in range(20_000)]
    first, second, more = (
        start(place=str(tmp_path / name), percent=p) for name, p in (("a", 10), ("b", 10), ("c", 20))
    )
    chosen = [one for one in ids if first.wants(one)]
    assert len(chosen) / len(ids) == pytest.approx(0.1, abs=0.01)  # 4.7 standard deviations
    assert chosen == [one for one in ids if second.wants(one)]
    assert all(map(more.wants, chosen))
    assert start().wants("\ud800")  # whatever a caller calls a request


def test_the_sample_is_drawn_from_the_canary_and_the_stable_version_alike(start: Start):
    from toolchain.lifecycle.routing import RoutingConfig, Target

    stable, canary = (Target(version=digit, digest=digit * 64, variant="fp32") for digit in "12")
    routing = RoutingConfig(model="reviews", stable=stable, canary=canary, percent=10.0)
    sampler = start(percent=10.0)
    ids = [f"request-{number}" for number in range(20_000)]
    tried = [one for one in ids if routing.goes_to_canary(one)]
    assert sum(map(sampler.wants, tried)) / len(tried) == pytest.approx(0.1, abs=0.035)


def test_a_file_is_written_when_it_is_full(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampling, "MAX_FILE_ROWS", 3)
    sampler = start()
    offer(sampler, served, [TEXT] * 7)
    until(lambda: len(kept(tmp_path / "samples")) == 6)
    assert figures(sampler, served)["toolchain_sampling_rows_total", "written"] == 6
    sampler.close()
    assert len(kept(tmp_path / "samples")) == 7


def test_a_file_is_written_when_its_time_has_come(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampling, "MAX_FILE_AGE_S", 0.05)
    offer(start(), served, [TEXT])
    assert until(lambda: kept(tmp_path / "samples"))


def test_a_clock_that_is_set_back_loses_nothing(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sampling, "MAX_FILE_ROWS", 1)
    monkeypatch.setattr(sampling, "RETENTION_INTERVAL_S", 0.0)
    sampler = start()
    offer(sampler, served, [TEXT])
    until(lambda: len(kept(tmp_path / "samples")) == 1)
    past = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: past)
    offer(sampler, served, ["poor"])
    assert until(lambda: len(kept(tmp_path / "samples")) == 2)


def test_old_files_are_deleted_and_other_models_are_left_alone(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = tmp_path / "samples" / "reviews" / "0123456789ab" / "20200101T000000000000-01234567.jsonl"
    others = tmp_path / "samples" / "digits" / "0123456789ab" / old.name
    for file in (old, others):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
    sampler = start(days=1)
    offer(sampler, served, [TEXT])
    sampler.close()
    assert not old.exists()
    assert others.exists()


def test_a_place_that_is_away_costs_rows_and_one_line(
    served: LoadedVersion,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sampling, "MAX_FILE_ROWS", 1)
    (tmp_path / "samples").write_text("in the way")
    sampler = start()
    offer(sampler, served, [TEXT] * 3)
    until(lambda: figures(sampler, served).get(("toolchain_sampling_rows_total", "write_failed")) == 3)
    (tmp_path / "samples").unlink()
    offer(sampler, served, [TEXT])
    until(lambda: figures(sampler, served)["toolchain_sampling_rows_total", "written"] == 1)
    assert capsys.readouterr().err.count("samples are lost until this is mended") == 1


def test_s3_holds_samples_too(served: LoadedVersion, start: Start, s3_bucket: str):
    sampler = start(place=f"s3://{s3_bucket}/samples")
    offer(sampler, served, [TEXT])
    sampler.close()
    assert [row["label"] for row in kept(f"s3://{s3_bucket}/samples")] == ["positive"]


def test_a_row_that_cannot_be_described_is_counted_and_the_next_is_kept(
    served: LoadedVersion, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sampler = start()
    rows = served.predictor.prepare([TEXT])
    sampler.offer(served, "r1", [TEXT], rows, [None])
    offer(sampler, served, [TEXT])
    sampler.close()
    assert figures(sampler, served)["toolchain_sampling_rows_total", "describe_failed"] == 1
    assert len(kept(tmp_path / "samples")) == 1
    assert TEXT not in capsys.readouterr().err


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 400)), min_size=1, max_size=30),
    st.integers(1, 12),
    st.integers(500, 3000),
)
def test_whatever_is_offered_memory_has_an_end_and_no_row_is_uncounted(
    served: LoadedVersion,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[tuple[int, int]],
    most_rows: int,
    most_bytes: int,
):
    place = StuckPlace()
    monkeypatch.setattr(sampling, "open_store", lambda uri: place)
    monkeypatch.setattr(sampling, "MAX_QUEUED_ROWS", most_rows)
    monkeypatch.setattr(sampling, "MAX_QUEUED_BYTES", most_bytes)
    monkeypatch.setattr(sampling, "MAX_FILE_ROWS", 2)
    monkeypatch.setattr(sampling, "MAINTENANCE_INTERVAL_S", 0.01)
    sampler = Sampler(SamplingSettings(place="stuck", percent=100.0))
    offered = 0
    for rows, characters in requests:
        began = time.monotonic()
        offer(sampler, served, ["x" * characters] * rows)
        assert time.monotonic() - began < 15, "nobody waits for a place that is stuck for 30 s"
        offered += rows
        assert 0 <= sampler._held <= most_bytes
        assert sampler._queue.qsize() <= most_rows
    place.free.set()
    sampler.close()
    counted = figures(sampler, served)
    total = sum(value for (name, _), value in counted.items() if name == "toolchain_sampling_rows_total")
    lost_all = not counted  # no row ever found room, so no version is known
    assert total == offered or (lost_all and sampler._overrun[served.model.digest] == offered)
    assert sampler._held == 0


def test_an_offer_after_the_end_is_passed_over(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start()
    sampler.close()
    offer(sampler, served, [TEXT])
    assert not (tmp_path / "samples").exists()


def drift(served: LoadedVersion, **more: Any) -> bytes:
    columns = [{"name": "surprise", "distance": 0.4}, {"name": "label", "distance": 0.1}]
    told = {"format": "toolchain.drift", "digest": served.model.digest, "checked_at": 1.5e9, "window": {"rows": 500}}
    told |= {"has_verdict": True, "data_drift": True, "prediction_drift": False, "columns": columns}
    return json.dumps(told | more).encode()


def test_a_version_that_is_replaced_is_not_kept(words: Path, start: Start):
    sampler, replaced = start(), load(Settings(model=words, name="reviews", version="3"))
    sampler.text([replaced])
    offer(sampler, replaced, [TEXT])
    replaced.close()
    gone = weakref.ref(replaced)
    del replaced
    until(lambda: gc.collect() is not None and gone() is None)  # else its model would stay in memory


def test_the_last_verdict_is_shown_among_the_figures(served: LoadedVersion, start: Start, tmp_path: Path):
    place = open_store(str(tmp_path / "samples"))
    place.put(f"reviews/{served.model.digest[:12]}/drift.json", drift(served))
    sampler = start()
    found = until(lambda: (f := figures(sampler, served)) and ("toolchain_drift_detected", "data") in f and f)
    assert found["toolchain_drift_detected", "data"] == 1
    assert found["toolchain_drift_detected", "prediction"] == 0
    assert found["toolchain_drift_distance", "surprise"] == 0.4
    assert found["toolchain_drift_window_rows", ""] == 500
    assert found["toolchain_drift_checked_timestamp_seconds", ""] == 1.5e9
    assert sampler.text([]).decode().count("reviews") == 0  # a version that is gone takes its figures along


def test_too_few_rows_are_no_verdict(served: LoadedVersion, start: Start, tmp_path: Path):
    place = open_store(str(tmp_path / "samples"))
    place.put(f"reviews/{served.model.digest[:12]}/drift.json", drift(served, has_verdict=False, columns=[]))
    sampler = start()
    found = until(lambda: (f := figures(sampler, served)) and ("toolchain_drift_window_rows", "") in f and f)
    assert not [name for name, _ in found if name == "toolchain_drift_detected"]


@pytest.mark.parametrize("more", [{"digest": "cd" * 32}, {"columns": 7}, {"window": None}, {"format": "other"}])
def test_a_damaged_verdict_is_told_and_not_shown(
    more: dict[str, Any], served: LoadedVersion, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    place = open_store(str(tmp_path / "samples"))
    place.put(f"reviews/{served.model.digest[:12]}/drift.json", drift(served, **more))
    sampler = start()
    until(lambda: figures(sampler, served) and sampler._ill)
    sampler.close()
    assert not [name for name, _ in figures(sampler, served) if name.startswith("toolchain_drift")]
    assert "the last verdict on drift cannot be read: drift.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"percent": 0.0}, "sample_percent is 0"),
        ({"percent": 101.0}, "sample_percent is 101"),
        ({"percent": float("nan")}, "sample_percent is nan"),
        ({"days": 0.0}, "sample_retention_days is 0"),
        ({"most_bytes": 1}, "max_sample_bytes is 1"),
        ({"place": "gs://bucket"}, "samples is 'gs://bucket'"),
    ],
)
def test_bad_settings_are_refused(given_: dict[str, Any], reason: str):
    with pytest.raises(ConfigError, match=reason):
        SamplingSettings(**{"place": "samples"} | given_)


def test_what_callers_ask_by_either_protocol_is_sampled(words: Path, start: Start, tmp_path: Path):
    router = static_router(load(Settings(model=words, name="reviews", version="3")))
    router.sampler = start(rows=True)
    with TestClient(build(router), "http://127.0.0.1") as client:
        own = {"X-Request-Id": "r1"}
        assert client.post("/predict", json={"texts": [TEXT, "poor"]}, headers=own).status_code == 200
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["dull"]}
        assert client.post("/v2/models/reviews/infer", json={"inputs": [tensor]}).status_code == 200
        assert client.post("/predict", json={"texts": [1]}).status_code == 422
        told = until(lambda: "toolchain_sampling" in (text := client.get("/metrics").text) and text)
        labels = 'model="reviews",model_version="3",outcome="queue_full",variant="fp32"'
        assert f"toolchain_sampling_rows_total{{{labels}}} 0.0" in told
    rows = kept(tmp_path / "samples")  # written as the server ended
    assert [row["text"] for row in rows] == [TEXT, "poor", "dull"]
    assert rows[0]["request"] == rows[1]["request"] != rows[2]["request"]


def test_without_a_place_nothing_is_put_aside(words: Path):
    with TestClient(build(static_router(load(Settings(model=words, name="reviews")))), "http://127.0.0.1") as client:
        client.post("/predict", json={"texts": [TEXT]})
        assert "toolchain_sampling" not in client.get("/metrics").text


def test_the_command_line_says_what_is_put_aside(tmp_path: Path):
    words = [str(tmp_path), "--samples", "s3://bucket/samples", "--sample-percent", "2.5", "--sample-rows"]
    found = sampling_settings(Settings(**vars(parser().parse_args(words))))
    assert found == SamplingSettings(place="s3://bucket/samples", percent=2.5, rows=True)
    assert sampling_settings(Settings(**vars(parser().parse_args([str(tmp_path)])))) is None


def test_a_bad_place_is_refused_before_anything_is_loaded(tmp_path: Path):
    with pytest.raises(ConfigError, match="samples is 'gs://bucket'"):
        serve(Settings(model=tmp_path / "no-model", samples="gs://bucket"))
