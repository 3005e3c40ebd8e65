"""Test the exported metrics: error types, units, limits, names, and a bounded number of series."""

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.models import picture, record, word_counter, write_model
from tests.support.responses import served_by
from toolchain.artifacts.expected import Row
from toolchain.artifacts.model import open_model
from toolchain.serve.http.application import build
from toolchain.serve.problems import TITLES
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.exposition import Exposition
from toolchain.serve.telemetry.metrics import ERROR_TYPES, MAX_LABELS, Metrics
from toolchain.serve.versions.router import static_router
from toolchain.serve.versions.version import load

Serving = Callable[..., TestClient]


def exported(client: TestClient) -> dict[tuple[str, ...], float]:
    """Return our metrics by name and the values of those labels that not all have."""
    return read(client.get("/metrics").text)


def read(text: str) -> dict[tuple[str, ...], float]:
    common = {"model", "model_version", "variant"}
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(one.name, *(v for k, v in one.labels.items() if k not in common)): one.value for one in samples}


def test_each_error_that_a_caller_may_meet_has_a_kind():
    assert set(TITLES) - set(ERROR_TYPES) == {500}


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/predict", b"{", "bad_request"),
        ("/predict", b"x" * 1_000, "content_too_large"),
        ("/nowhere", b"{}", "not_found"),
        ("/metrics", b"{}", "not_found"),
        ("/predict", b'{"texts": ["good", "bad"]}', "bad_request"),
    ],
)
def test_an_error_is_counted_by_its_kind_and_not_timed(
    path: str, body: bytes, kind: str, serving: Serving, words: Path
):
    client = serving(words, max_text_body_bytes=500, max_request_rows=1)
    client.post(path, content=body, headers={"Content-Type": "application/json"})
    found = exported(client)
    errors = {key[1]: value for key, value in found.items() if key[0] == "toolchain_serving_errors_total"}
    assert {name for name, value in errors.items() if value} == {kind}
    assert set(errors) == {
        *ERROR_TYPES.values(),
        "internal_error",
    }  # each is there from the start: a rate sees the first one
    assert ("toolchain_serving_request_duration_seconds_count", "/predict") not in found


def test_the_servers_faults_are_there_from_a_routes_first_request(serving: Serving, words: Path):
    """Else the first failure would make a new series, of which no rate shows an increase."""
    client = serving(words)
    client.post("/predict", json={"texts": ["good"]})
    found = exported(client)
    statuses = {
        key[2]: value for key, value in found.items() if key[:2] == ("toolchain_serving_requests_total", "/predict")
    }
    assert statuses == {"200": 1, "429": 0, "500": 0, "503": 0, "504": 0}


def test_other_4xx_statuses_count_as_bad_requests(words: Path):
    metrics = Metrics(open_model(words), "reviews", "1", 0.01)
    for status in (418, 451, 502, 507):
        metrics.request("/predict", status, 0.0)
    found = read(generate_latest(metrics.registry).decode())
    assert found["toolchain_serving_errors_total", "bad_request"] == 2
    assert found["toolchain_serving_errors_total", "internal_error"] == 2


def test_a_caller_without_a_token_is_counted(serving: Serving, words: Path):
    client = serving(words, tokens=("a" * 16,))
    client.post("/predict", json={"texts": ["good"]})
    assert exported(client)["toolchain_serving_errors_total", "unauthorized"] == 1


def test_a_failed_readiness_probe_is_not_an_error(serving: Serving, words: Path):
    record(words, [Row(text="good", scores=(0.9, 0.1))])
    client = serving(words)
    for path in ("/readyz", "/v2/health/ready", "/v2/models/reviews/ready"):
        assert client.get(path).status_code == 503
    assert exported(client)["toolchain_serving_errors_total", "not_ready"] == 0
    assert client.post("/predict", json={"texts": ["good"]}).status_code == 503
    assert exported(client)["toolchain_serving_errors_total", "not_ready"] == 1


def test_a_client_that_disconnects_while_sending_is_not_a_server_error(words: Path, capsys: pytest.CaptureFixture[str]):
    router = static_router(load(Settings(model=words)))
    middleware = build(router)
    messages = [{"type": "http.request", "body": b'{"te', "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": headers, "query_string": b""}
    asyncio.run(middleware({**scope, "scheme": "http", "server": ("a", 1), "root_path": ""}, receive, send))
    found = read(router.metrics(0).decode())
    assert found["toolchain_serving_errors_total", "client_disconnected"] == 1
    assert found["toolchain_serving_errors_total", "internal_error"] == 0
    assert capsys.readouterr().err == ""


def test_an_image_counts_the_pixels_that_the_model_reads(serving: Serving, image_model: Path):
    client = serving(image_model)
    client.post("/predict", content=picture(200, width=40, height=30), headers={"Content-Type": "image/png"})
    assert exported(client)["toolchain_serving_pixels_total",] == 8 * 8
    assert ("toolchain_serving_tokens_total",) not in exported(client)


def test_the_limits_and_the_process_are_exported(serving: Serving, words: Path):
    client = serving(words, max_queue_rows=100, workers=2)
    found = exported(client)
    assert found["toolchain_serving_queue_capacity_rows",] == 100
    assert found["toolchain_serving_workers",] == 2
    assert found["process_resident_memory_bytes",] > 1e6
    info = next(key for key in found if key[0] == "toolchain_serving_model_info")
    assert {served_by(client).model.digest, "onnxruntime"} <= set(info)
    assert any(key[0] == "python_info" for key in found)


def test_labels_that_are_many_become_one(tmp_path: Path):
    labels = tuple(f"class {place}" for place in range(1_000))
    model = open_model(write_model(tmp_path / "many", "text-classification", word_counter, labels))
    metrics = Metrics(model, "many", "1", 0.01)
    for label in labels:
        metrics.predicted(3, [label], 0.5)
    for status in (200, *TITLES):
        metrics.request("/predict", status, 0.01)
    metrics.update(0, 0, True)
    found = read(Exposition("many").text([metrics]).decode())
    predictions = {key[1]: value for key, value in found.items() if key[0] == "toolchain_serving_predictions_total"}
    assert len(predictions) == MAX_LABELS + 1
    assert predictions["other"] == 900
    assert len(found) < 350
    assert not [key for key in found if key[0].endswith("_created")]


@pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")
def test_the_names_keep_to_the_conventions_of_prometheus(serving: Serving, words: Path):
    client = serving(words)
    client.post("/predict", json={"texts": ["good"]})
    ours = re.sub(r"(?m)^(# \w+ )?(process|python)_.*\n", "", client.get("/metrics").text)
    done = subprocess.run(["promtool", "check", "metrics"], input=ours, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
