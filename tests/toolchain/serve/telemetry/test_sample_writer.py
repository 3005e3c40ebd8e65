"""Test how rows are described, when files are written and deleted, and how drift verdicts are read."""

import gc
import json
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests.support.models import DAMAGED, picture, write_repaired
from tests.support.samples import TEXT, Start, metrics, offer, stored, until
from toolchain.artifacts.model import open_model
from toolchain.artifacts.profile import FILE, Profile, write_profile
from toolchain.inference.features import BUCKETS
from toolchain.lifecycle.request_samples import open_store, parse
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry import sample_writer
from toolchain.serve.versions.version import LoadedVersion, load


def test_a_text_is_described_as_its_model_reads_it(start: Start, tmp_path: Path):
    served = load(Settings(model=write_repaired(tmp_path / "model"), name="reviews", version="3"))
    sampler = start(include_rows=True)
    offer(sampler, served, list(DAMAGED))
    sampler.close()
    served.close()
    rows = stored(tmp_path / "samples")
    assert [row["numbers"]["characters"] for row in rows] == [len(text) for text in DAMAGED.values()]
    assert [row["text"] for row in rows] == list(DAMAGED)  # as in the request


def test_by_default_numbers_and_predictions_are_stored_and_no_text(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler, before = start(), time.time()
    offer(sampler, served, [TEXT])
    sampler.close()
    (row,) = stored(tmp_path / "samples")
    assert row.keys() == {"time", "request", "label", "numbers"}
    assert before - 1 < row["time"] < time.time() + 1
    assert (row["label"], row["numbers"]["characters"], row["numbers"]["tokens"]) == ("positive", 20, 7)
    assert row["numbers"]["confidence"] == pytest.approx(0.731, abs=1e-3)  # one good word: e / (e + 1)
    raw = b"".join(path.read_bytes() for path in (tmp_path / "samples").rglob("*.jsonl"))
    assert b"film" not in raw
    assert b'"r1"' not in raw  # the request's id is hashed


def test_texts_are_stored_on_request(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start(include_rows=True)
    offer(sampler, served, [TEXT, "poor"])
    sampler.close()
    assert [row["text"] for row in stored(tmp_path / "samples")] == [TEXT, "poor"]


def test_a_file_identifies_its_version(served: LoadedVersion, start: Start, tmp_path: Path):
    sampler = start()
    offer(sampler, served, [TEXT])
    sampler.close()
    (file,) = (tmp_path / "samples" / "reviews" / served.model.digest[:12]).iterdir()
    subject, _ = parse(file.read_bytes(), "a file")
    assert (subject.model, subject.model_version, subject.digest) == ("reviews", "3", served.model.digest)


def test_images_are_described_by_their_file_and_their_pixels(image_model: Path, start: Start, tmp_path: Path):
    served = load(Settings(model=image_model, name="reviews", version="3"))
    sampler = start(include_rows=True)
    value = {"bytes": picture(255, width=40, height=20), "path": "an image"}
    rows = served.predictor.prepare([value])
    predictions = served.predictor.predict(rows)
    sampler.offer(served, "r1", [value], rows, predictions)
    sampler.offer(served, "r2", None, rows, predictions)  # pixels, by the inference protocol
    sampler.close()
    served.close()
    with_file, pixels_only = stored(tmp_path / "samples")
    assert (with_file["label"], with_file["numbers"]["brightness"], with_file["numbers"]["aspect"]) == ("bright", 1, 2)
    assert pixels_only["numbers"]["aspect"] is None
    assert "image" in with_file
    assert "image" not in pixels_only


def test_the_boxes_of_a_detector_are_described(detector: Path, start: Start, tmp_path: Path):
    served = load(Settings(model=detector, name="reviews", version="3"))
    sampler = start()
    value = {"bytes": picture(128, width=20, height=10), "path": "an image"}
    rows = served.predictor.prepare([value])
    sampler.offer(served, "r1", [value], rows, served.predictor.predict(rows))
    sampler.close()
    served.close()
    (row,) = stored(tmp_path / "samples")
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
    assert stored(tmp_path / "samples")[0]["numbers"]["surprise"] == 13  # bits: 8,192 buckets of equal frequency


@pytest.mark.parametrize("content", [None, "{}", "no JSON"])
def test_without_a_profile_or_with_a_damaged_one_a_text_has_no_surprise(
    content: str | None, words: Path, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    if content:
        (words / FILE).write_text(content)
    served = load(Settings(model=words, name="reviews", version="3"))
    sampler = start()
    offer(sampler, served, [TEXT])
    sampler.close()
    served.close()
    assert stored(tmp_path / "samples")[0]["numbers"]["surprise"] is None
    assert ("samples have no surprise" in capsys.readouterr().err) == bool(content)


def test_a_file_is_written_when_it_is_full(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sample_writer, "MAX_FILE_ROWS", 3)
    sampler = start()
    offer(sampler, served, [TEXT] * 7)
    until(lambda: len(stored(tmp_path / "samples")) == 6)
    assert metrics(sampler, served)["toolchain_sampling_rows_total", "written"] == 6
    sampler.close()
    assert len(stored(tmp_path / "samples")) == 7


def test_a_file_is_written_at_its_maximum_age(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sample_writer, "MAX_FILE_AGE_S", 0.05)
    offer(start(), served, [TEXT])
    assert until(lambda: stored(tmp_path / "samples"))


def test_setting_the_clock_back_loses_nothing(
    served: LoadedVersion, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sample_writer, "MAX_FILE_ROWS", 1)
    monkeypatch.setattr(sample_writer, "RETENTION_INTERVAL_S", 0.0)
    sampler = start()
    offer(sampler, served, [TEXT])
    until(lambda: len(stored(tmp_path / "samples")) == 1)
    past = time.time() - 86_400
    monkeypatch.setattr(time, "time", lambda: past)
    offer(sampler, served, ["poor"])
    assert until(lambda: len(stored(tmp_path / "samples")) == 2)


def test_old_files_are_deleted_but_not_those_of_other_models(served: LoadedVersion, start: Start, tmp_path: Path):
    old = tmp_path / "samples" / "reviews" / "0123456789ab" / "20200101T000000000000-01234567.jsonl"
    others = tmp_path / "samples" / "digits" / "0123456789ab" / old.name
    for file in (old, others):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
    sampler = start(retention_days=1)
    offer(sampler, served, [TEXT])
    sampler.close()
    assert not old.exists()
    assert others.exists()


def test_while_the_store_is_unavailable_rows_are_lost_and_logged_once(
    served: LoadedVersion,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(sample_writer, "MAX_FILE_ROWS", 1)
    (tmp_path / "samples").write_text("a file in place of the folder")
    sampler = start()
    offer(sampler, served, [TEXT] * 3)
    until(lambda: metrics(sampler, served).get(("toolchain_sampling_rows_total", "write_failed")) == 3)
    (tmp_path / "samples").unlink()
    offer(sampler, served, [TEXT])
    until(lambda: metrics(sampler, served)["toolchain_sampling_rows_total", "written"] == 1)
    assert capsys.readouterr().err.count("samples cannot be stored") == 1


def test_samples_are_stored_in_s3(served: LoadedVersion, start: Start, s3_bucket: str):
    sampler = start(uri=f"s3://{s3_bucket}/samples")
    offer(sampler, served, [TEXT])
    sampler.close()
    assert [row["label"] for row in stored(f"s3://{s3_bucket}/samples")] == ["positive"]


def test_a_row_that_cannot_be_described_is_counted_and_the_next_is_stored(
    served: LoadedVersion, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sampler = start()
    rows = served.predictor.prepare([TEXT])
    sampler.offer(served, "r1", [TEXT], rows, [None])
    offer(sampler, served, [TEXT])
    sampler.close()
    assert metrics(sampler, served)["toolchain_sampling_rows_total", "describe_failed"] == 1
    assert len(stored(tmp_path / "samples")) == 1
    assert TEXT not in capsys.readouterr().err


def test_a_replaced_version_is_freed(words: Path, start: Start):
    sampler, replaced = start(), load(Settings(model=words, name="reviews", version="3"))
    sampler.text([replaced])
    offer(sampler, replaced, [TEXT])
    replaced.close()
    reference = weakref.ref(replaced)
    del replaced
    until(lambda: gc.collect() is not None and reference() is None)  # otherwise its model would stay in memory


def drift(served: LoadedVersion, **more: Any) -> bytes:
    columns = [{"name": "surprise", "distance": 0.4}, {"name": "label", "distance": 0.1}]
    report = {"format": "toolchain.drift", "digest": served.model.digest, "checked_at": 1.5e9, "window": {"rows": 500}}
    report |= {"has_verdict": True, "data_drift": True, "prediction_drift": False, "columns": columns}
    return json.dumps(report | more).encode()


def put_drift(folder: Path, served: LoadedVersion, **more: Any) -> None:
    store = open_store(str(folder / "samples"))
    store.put(f"reviews/{served.model.digest[:12]}/drift.json", drift(served, **more))


def test_the_last_verdict_is_exported(served: LoadedVersion, start: Start, tmp_path: Path):
    put_drift(tmp_path, served)
    sampler = start()
    found = until(lambda: (f := metrics(sampler, served)) and ("toolchain_drift_detected", "data") in f and f)
    assert found["toolchain_drift_detected", "data"] == 1
    assert found["toolchain_drift_detected", "prediction"] == 0
    assert found["toolchain_drift_distance", "surprise"] == 0.4
    assert found["toolchain_drift_window_rows", ""] == 500
    assert found["toolchain_drift_checked_timestamp_seconds", ""] == 1.5e9
    assert sampler.text([]).decode().count("reviews") == 0  # the metrics end with their version


def test_too_few_rows_export_no_verdict(served: LoadedVersion, start: Start, tmp_path: Path):
    put_drift(tmp_path, served, has_verdict=False, columns=[])
    sampler = start()
    found = until(lambda: (f := metrics(sampler, served)) and ("toolchain_drift_window_rows", "") in f and f)
    assert not [name for name, _ in found if name == "toolchain_drift_detected"]


@pytest.mark.parametrize("more", [{"digest": "cd" * 32}, {"columns": 7}, {"window": None}, {"format": "other"}])
def test_a_damaged_verdict_is_logged_and_not_exported(
    more: dict[str, Any], served: LoadedVersion, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    put_drift(tmp_path, served, **more)
    sampler = start()
    until(lambda: metrics(sampler, served) and sampler._writer._failing)
    sampler.close()
    assert not [name for name, _ in metrics(sampler, served) if name.startswith("toolchain_drift")]
    assert "drift.json is damaged" in capsys.readouterr().err
