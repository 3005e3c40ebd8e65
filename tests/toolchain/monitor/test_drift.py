"""The drift step on a registered version with a profile, and on samples as servers write them."""

import itertools
import json
import time
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.profile import FILE, Profile, write_profile
from toolchain.errors import ArtifactError, ConfigError, ServiceError
from toolchain.lifecycle.request_samples import SampledVersion, header, new_file_name, open_store, version_folder
from toolchain.monitor.drift import Config, Result, run
from toolchain.serve.telemetry.sampling_metrics import read_verdict
from toolchain.services.mlflow import Tracker

NUMBERS = itertools.count()
DIGEST = "ab" * 32


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('drift')}/mlflow.db"


@pytest.fixture
def tracker(database: str, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    return Tracker()


def drawn(count: int, shift: float = 0.0, seed: int = 0) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    return [
        {
            "time": time.time() - count + index,
            "request": f"{index:012x}",
            "label": str(draw.choice(["negative", "positive"])),
            "numbers": {"tokens": float(draw.poisson(20)), "surprise": float(draw.normal(8 + shift))},
        }
        for index in range(count)
    ]


def register(tracker: Tracker, folder: Path, profile: bool = True, of: str = DIGEST, digest: str = DIGEST) -> str:
    """Register a version, with a profile or without, and return its model's name."""
    name, rows = f"reviews-{next(NUMBERS)}", drawn(800, seed=1)
    files = folder / name
    files.mkdir()
    (files / "model.json").write_text("{}")
    if profile:
        numbers = {key: tuple(row["numbers"][key] for row in rows) for key in ("tokens", "surprise")}
        labels = tuple(row["label"] for row in rows)
        write_profile(files, Profile(model=of, split="test", numbers=numbers, labels=labels))
    mlflow_run = tracker.create_run("any", "any", {})
    tracker.upload(mlflow_run, files, "variants/int8")
    tracker.add_version(name, mlflow_run, "variants/int8", {"digest": digest, "variant": "int8"}, "")
    tracker.set_alias(name, "candidate", "1")
    return name


@pytest.fixture
def model(tracker: Tracker, tmp_path: Path) -> str:
    return register(tracker, tmp_path)


def write_samples(location: str, model: str, rows: list[dict[str, Any]], digest: str = DIGEST) -> None:
    subject = SampledVersion(model=model, model_version="1", variant="int8", digest=digest)
    content = header(subject) + b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    open_store(location).put(new_file_name(subject, datetime.now(UTC)), content)


@pytest.fixture
def samples(tmp_path: Path) -> str:
    return str(tmp_path / "samples")


SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "drift.schema.json").read_text(encoding="utf-8"))


def check(model: str, samples: str, tmp_path: Path, **more: Any) -> tuple[Result, dict[str, Any]]:
    target = tmp_path / f"check-{next(NUMBERS)}"
    result = run(target / "drift", target / "page.html", Config(model=model, samples=samples, **more))
    measurement = open_measurement(target / "drift", "drift")
    assert (measurement.path / "drift.html").read_text() == (target / "page.html").read_text()
    jsonschema.validate(measurement.data, SCHEMA, jsonschema.Draft202012Validator)
    return result, measurement.data


def test_matching_rows_are_no_drift(model: str, samples: str, tmp_path: Path):
    write_samples(samples, model, drawn(400, seed=2))
    result, data = check(model, samples, tmp_path)
    assert result == Result(rows=400, has_verdict=True, data_drift=False, prediction_drift=False, drifted_columns=0)
    assert not data["drift_detected"]
    assert {column["name"] for column in data["columns"]} == {"tokens", "surprise", "label"}
    assert {column["threshold"] for column in data["columns"]} == {0.01 / 3}


def test_shifted_rows_are_drift(model: str, samples: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_samples(samples, model, drawn(400, shift=1, seed=2))
    result, data = check(model, samples, tmp_path)
    assert result == Result(rows=400, has_verdict=True, data_drift=True, prediction_drift=False, drifted_columns=1)
    assert (data["drift_detected"], data["columns"][0]["name"]) == (True, "surprise")
    assert f"{model}, version 1: surprise (0.41)" in capsys.readouterr().out


def test_the_verdict_is_written_beside_the_samples(model: str, samples: str, tmp_path: Path):
    write_samples(samples, model, drawn(400, shift=1, seed=2))
    _, data = check(model, samples, tmp_path)
    content = open_store(samples).get(f"{version_folder(model, DIGEST)}/drift.json")
    assert content is not None
    assert json.loads(content) == data
    verdict = read_verdict(content, SampledVersion(model=model, model_version="1", variant="int8", digest=DIGEST))
    assert (verdict.drifted, verdict.has_verdict, verdict.rows) == ({"data": True, "prediction": False}, True, 400)
    assert verdict.distances["surprise"] == data["columns"][0]["distance"]


def test_checks_are_logged_to_one_mlflow_run_and_the_version_is_tagged(
    model: str, tracker: Tracker, samples: str, tmp_path: Path
):
    write_samples(samples, model, drawn(400, shift=1, seed=2))
    for _ in range(2):
        _, data = check(model, samples, tmp_path, experiment=f"monitored-{model}")
    (version,) = tracker.versions(model)
    assert (version.tags["drift"], version.tags["drift.checked_at"][-1]) == ("yes", "Z")
    (found,) = tracker.runs({"toolchain.monitored_model": DIGEST}, f"monitored-{model}")
    assert version.tags["drift.run"] == found.id
    known = tracker._client.get_run(found.id).data.metrics
    assert (known["data_drift"], known["prediction_drift"], known["window_rows"]) == (1, 0, 400)
    assert known["distance.surprise"] == data["columns"][0]["distance"]
    checks = [entry.path for entry in tracker._client.list_artifacts(found.id, "checks")]
    assert all(tracker.has_artifact(found.id, f"{path}/drift.html") for path in checks)
    assert checks


def test_samples_and_verdict_in_s3(model: str, s3_bucket: str, tmp_path: Path):
    samples = f"s3://{s3_bucket}/samples"
    write_samples(samples, model, drawn(400, seed=2))
    assert check(model, samples, tmp_path)[0].has_verdict
    assert open_store(samples).get(f"{version_folder(model, DIGEST)}/drift.json")


def reason(model: str, samples: str, tmp_path: Path) -> str:
    result, data = check(model, samples, tmp_path)
    assert (result.has_verdict, result.data_drift, result.prediction_drift, data["drift_detected"]) == (False,) * 4
    assert data["columns"] == []
    return str(data["reason"])


def test_too_few_rows_give_no_verdict(model: str, tracker: Tracker, samples: str, tmp_path: Path):
    write_samples(samples, model, drawn(99, shift=9))
    assert reason(model, samples, tmp_path) == "too few rows: 99, min_rows is 100"
    assert tracker.versions(model)[0].tags["drift"] == "unknown"


def test_no_samples_give_no_verdict(model: str, samples: str, tmp_path: Path):
    assert reason(model, samples, tmp_path).startswith("too few rows: 0")


def test_samples_of_another_version_give_no_verdict(model: str, samples: str, tmp_path: Path):
    write_samples(samples, model, drawn(400), digest="cd" * 32)
    assert reason(model, samples, tmp_path) == "there are samples of cdcdcdcdcdcd but none of abababababab"


def test_a_model_without_a_profile_gives_no_verdict(tracker: Tracker, samples: str, tmp_path: Path):
    model = register(tracker, tmp_path, profile=False)
    write_samples(samples, model, drawn(400))
    assert "registered without a profile" in reason(model, samples, tmp_path)


def test_the_profile_of_another_model_is_an_error(tracker: Tracker, samples: str, tmp_path: Path):
    model = register(tracker, tmp_path, of="cd" * 32)
    with pytest.raises(ArtifactError, match="another model"):
        check(model, samples, tmp_path)


def test_a_damaged_profile_is_an_error(tracker: Tracker, samples: str, tmp_path: Path):
    model = register(tracker, tmp_path)
    file = tmp_path / FILE
    file.write_text("{")
    tracker.upload(tracker.versions(model)[0].run, tmp_path / model, "variants/int8")
    (tmp_path / model / FILE).write_text('{"format": "toolchain.profile"}')
    tracker.upload(tracker.versions(model)[0].run, tmp_path / model, "variants/int8")
    with pytest.raises(ArtifactError, match="is damaged"):
        check(model, samples, tmp_path)


def test_a_bare_name_means_the_champion(model: str, tracker: Tracker, samples: str, tmp_path: Path):
    run_of = tracker.versions(model)[0].run
    tracker.add_version(model, run_of, "variants/int8", {"digest": DIGEST, "variant": "int8"}, "")
    tracker.set_alias(model, "champion", "2")
    assert check(model, samples, tmp_path)[1]["model_version"] == "2"
    assert check(f"{model}@candidate", samples, tmp_path)[1]["model_version"] == "1"
    assert check(f"{model}:1", samples, tmp_path)[1]["model_version"] == "1"


@pytest.mark.parametrize(
    ("which", "message"),
    [("{}:9", "has no version 9"), ("{}@best", "has no alias 'best'"), ("missing", "no model 'missing'")],
)
def test_an_unregistered_model_is_an_error(which: str, message: str, model: str, samples: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=message):
        check(which.format(model), samples, tmp_path)


def test_unavailable_storage_is_an_error_and_writes_nothing(model: str, tmp_path: Path, s3_bucket: str):
    with pytest.raises(ServiceError, match="nowhere"):
        run(tmp_path / "drift", tmp_path / "page.html", Config(model=model, samples="s3://nowhere/samples"))
    assert not (tmp_path / "drift").exists()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"model": ""}, "model is ''"),
        ({"model": "reviews:last"}, "model is 'reviews:last'"),
        ({"samples": ""}, "samples is ''"),
        ({"rows": 50}, "min_rows is 100: give 1 to rows, which is 50"),
        ({"min_rows": 0}, "min_rows is 0"),
        ({"max_age_hours": -1.0}, "max_age_hours is -1"),
        ({"significance_level": 0.0}, "significance_level is 0"),
        ({"significance_level": 1.0}, "significance_level is 1"),
        ({"experiment": "a'b"}, "experiment is"),
    ],
)
def test_invalid_settings_are_rejected_before_any_request(settings: dict[str, Any], match: str):
    with pytest.raises(ConfigError, match=match):
        Config(**{"model": "reviews", "samples": "samples"} | settings)


class Reader(HTMLParser):
    """Collects the text, tags and links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.links, self.tags = "", [], []

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


@pytest.mark.parametrize(("shift", "title"), [(0.0, "No drift"), (1.0, "Requests have drifted")])
def test_the_page_is_self_contained_and_shows_every_descriptor(
    shift: float, title: str, model: str, samples: str, tmp_path: Path
):
    write_samples(samples, model, drawn(400, shift=shift, seed=2))
    target = tmp_path / "page.html"
    run(tmp_path / "drift", target, Config(model=model, samples=samples))
    page = Reader()
    page.feed(target.read_text())
    assert title in page.text
    assert (page.links, page.tags.count("script"), page.tags.count("svg")) == ([], 0, 2)
    assert all(word in page.text for word in ("tokens", "surprise, bits per token", "label", "0.0033"))


def test_the_page_gives_the_reason_for_no_verdict_and_skipped_files(model: str, samples: str, tmp_path: Path):
    write_samples(samples, model, [{**row, "time": row["time"] + 9000} for row in drawn(20)])
    open_store(samples).put(f"{version_folder(model, DIGEST)}/20260101T000000000000-00000000.jsonl", b"<script>")
    run(tmp_path / "drift", tmp_path / "page.html", Config(model=model, samples=samples))
    page = Reader()
    page.feed((tmp_path / "page.html").read_text())
    assert "No verdict" in page.text
    assert "Too few rows: 20" in page.text
    assert "20 rows have a timestamp later" in page.text
    assert "1 damaged files were skipped" in page.text
    assert "script" not in page.tags
