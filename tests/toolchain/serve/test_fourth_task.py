"""Test that a new task is evaluated, judged and served once its classes are in the two tables."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnx import TensorProto, helper
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from tests.support.models import BAD, GOOD, WORDS, constant, record, save, value, write_model
from tests.support.token_classification import TAGS, TokenClassification, TokenEvaluation, TokenOutput
from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.expected import Row
from toolchain.artifacts.measurement import new_measurement, open_measurement
from toolchain.artifacts.model import open_model
from toolchain.artifacts.provenance import Work
from toolchain.artifacts.variants import new_variants
from toolchain.evaluate import accuracy, gate, latency, parity, platform_parity
from toolchain.evaluate.latency.cold_start import ColdStart
from toolchain.inference.evaluation import EVALUATIONS
from toolchain.inference.tasks import TASKS
from toolchain.lifecycle import trial_server
from toolchain.release import report
from toolchain.release.promote import check

LABELS = ("other", "praise")
TEXTS = [f"{first} and {second} film" for first in (*GOOD, *BAD) for second in (*GOOD, *BAD)]


def word_tagger(path: Path, weight: float = 4.0) -> None:
    """Write the graph: each token has two logits, "praise" for the words that praise."""
    weights = np.tile(np.array([1, 0], np.float32), (len(WORDS), 1))
    weights[[WORDS[word] for word in GOOD]] = [0, weight]
    inputs = [value("input_ids", TensorProto.INT64, ["batch", "tokens"])]
    outputs = [value("logits", TensorProto.FLOAT, ["batch", "tokens", 2])]
    nodes = [helper.make_node("Gather", ["weights", "input_ids"], ["logits"])]
    save(helper.make_graph(nodes, "tagger", inputs, outputs, [constant("weights", weights)]), path)


@pytest.fixture(autouse=True)
def fourth_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS, TokenClassification.name, TokenClassification)  # type: ignore[arg-type]
    monkeypatch.setitem(EVALUATIONS, TokenOutput, TokenEvaluation)  # type: ignore[arg-type]


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "tagger", TokenClassification.name, word_tagger, LABELS)
    sure, other = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-1))
    record(folder, [Row(text="good film", scores=(sure, other), labels=(1, 0))])
    return folder


@pytest.fixture
def measured(tmp_path: Path, tagger: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with two variants, the dataset and all measurements of them."""
    schema = pa.schema([("row", pa.int64()), ("text", pa.string()), (TAGS, pa.list_(pa.int64()))])
    tags = [[int(word in GOOD) for word in text.split()] for text in TEXTS]
    with new_dataset(tmp_path / "dataset", schema, Work("data.split", None), LABELS) as rows:
        rows.write("test", pa.table({"row": list(range(len(TEXTS))), "text": TEXTS, TAGS: tags}, schema))
    with new_variants(tmp_path / "variants", Work("optimize.quantize", None)) as writer:
        writer.keep(open_model(tagger))
    monkeypatch.setattr(latency, "cold_start", lambda *_: ColdStart(1.0, 1))  # a process that lacks the task
    accuracy.run(tmp_path / "variants", tmp_path / "dataset", tmp_path / "accuracy", accuracy.Config(resamples=100))
    parity.run(tmp_path / "accuracy", tmp_path / "parity", parity.Config(resamples=100))
    config = latency.Config(rounds=5, max_seconds=5.0, resamples=100)
    latency.run(tmp_path / "variants", tmp_path / "dataset", tmp_path / "latency", config)
    return tmp_path


def test_it_is_measured_and_judged(measured: Path):
    found = open_measurement(measured / "accuracy", "accuracy").data["variants"]["fp32"]
    assert found["accuracy"]["value"] == 1
    assert {entry["label"]: entry["rows"] for entry in found["per_class"]} == {"other": 108, "praise": 36}
    assert open_measurement(measured / "parity", "parity").data["variants"]["fp32"]["agreement"]["value"] == 1
    assert open_measurement(measured / "latency", "latency").data["scenarios"] == ["batch1", "batch8"]
    gate.run(*(measured / name for name in ("accuracy", "parity", "latency", "verdict")), gate.Config())
    (judged,) = open_measurement(measured / "verdict", "verdict").data["variants"]
    assert "token accuracy 100.0 %" in judged["reasons"][1]
    assert "36 texts" in judged["reasons"][1]


def test_it_is_reported(measured: Path):
    inputs = {name: measured / name for name in ("dataset", "variants", "accuracy", "parity", "latency", "verdict")}
    work = Work("data.validate", None, dataset=open_dataset(inputs["dataset"]))
    with new_measurement(measured / "checks", "checks", work) as writer:
        writer.data = {"rules": [], "class_counts": {}}
    gate.run(inputs["accuracy"], inputs["parity"], inputs["latency"], inputs["verdict"], gate.Config())
    judged = inputs["variants"], inputs["accuracy"], inputs["verdict"]
    platform_parity.run(*judged, measured / "platform_parity", platform_parity.Config(architecture=""))
    inputs |= {name: measured / name for name in ("checks", "platform_parity")}
    report.run(**inputs, report=measured / "report", page=measured / "page.html", config=report.Config())
    assert "Token accuracy" in (measured / "page.html").read_text(encoding="utf-8")


def test_its_recorded_predictions_are_those_that_a_server_makes(measured: Path, serving: Callable[..., TestClient]):
    recorded = measured / "accuracy" / "expected" / "fp32"
    client = serving(measured / "variants" / "fp32", parity=recorded)
    response = client.post("/parity")
    found = response.json()
    assert response.status_code == 200, found
    assert (found["rows"], found["matching"], found["ready"]) == (16, 16, True)


def test_it_is_served(tagger: Path, serving: Callable[..., TestClient]):
    client = serving(tagger)
    (found,) = client.post("/predict", json={"texts": ["great dull"]}).json()["predictions"]
    assert [token["label"] for token in found["tokens"]] == ["praise", "other"]
    assert client.post("/predict", json={"texts": [" "]}).status_code == 422
    document = client.get("/openapi.json").json()
    validate(document)
    response = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]["application/json"]
    assert list(response["schema"]["properties"]["predictions"]["items"]["properties"]) == ["tokens"]
    assert [token["label"] for token in response["example"]["predictions"][0]["tokens"]] == ["praise", "other"]


def test_it_is_served_by_the_open_inference_protocol(tagger: Path, serving: Callable[..., TestClient]):
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["good", "bad and fine"]}
    found = serving(tagger).post("/v2/models/reviews/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [tensor["data"] for tensor in found] == [[1, 3], ["praise", "other", "other", "praise"]]


def test_promotion_compares_its_responses_with_the_recorded_predictions(tagger: Path, monkeypatch: pytest.MonkeyPatch):
    def ask(url: str, body: Any = None) -> Any:
        tokens = [{"label": "praise", "score": 0.98}, {"label": "other", "score": 0.73}]
        return {"digest": open_model(tagger).digest, "predictions": [{"tokens": tokens}]}

    monkeypatch.setattr(trial_server, "start_server", lambda *_: nullcontext("http://127.0.0.1"))
    monkeypatch.setattr(trial_server, "request_json", ask)
    found = check.check_with_server(open_model(tagger), "reviews", "1")
    assert (found.rows, found.matching) == (1, 1), json.dumps(found.fault)
