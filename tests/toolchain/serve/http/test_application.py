import base64
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.support.models import RECORDED, picture
from tests.support.responses import problem

Serving = Callable[..., TestClient]


def test_a_text_gets_a_label_and_scores(serving: Serving, words: Path):
    response = serving(words).post("/predict", json={"texts": ["good great film", "dull"]})
    assert response.status_code == 200
    first, second = response.json()["predictions"]
    assert (first["label"], second["label"]) == ("positive", "negative")
    assert first["score"] == pytest.approx(np.exp(2) / (np.exp(2) + 1))
    assert first["scores"] == {"negative": pytest.approx(1 / (np.exp(2) + 1)), "positive": first["score"]}
    assert response.json()["model"]["name"] == "reviews"


@pytest.mark.parametrize("kind", ["json", "file"])
def test_an_image_may_be_json_or_a_file(kind: str, serving: Serving, image_model: Path):
    client, file = serving(image_model), picture(255)
    if kind == "json":
        response = client.post("/predict", json={"images": [base64.b64encode(file).decode()]})
    else:
        response = client.post("/predict", content=file, headers={"Content-Type": "image/png"})
    (found,) = response.json()["predictions"]
    assert found["label"] == "bright"
    assert found["score"] == pytest.approx(np.exp(0.5) / (np.exp(0.5) + np.exp(-0.5)))


def test_boxes_are_in_pixels_of_the_image(serving: Serving, detector: Path):
    body = {"images": [base64.b64encode(picture(9, width=40, height=16)).decode()] * 2}
    results = serving(detector).post("/predict", json=body).json()["predictions"]
    assert len(results) == 2
    assert results[0]["boxes"] == [{"label": "thing", "score": pytest.approx(0.9), "box": [0, 0, 20, 8]}]
    assert (results[0]["width"], results[0]["height"]) == (40, 16)
    every = serving(detector).post("/predict", json={**body, "threshold": 0.05}).json()["predictions"]
    assert [box["label"] for box in every[0]["boxes"]] == ["thing", "whole"]


def test_health_reports_alive_and_ready(serving: Serving, words: Path):
    client = serving(words)
    assert client.get("/healthz").text == "alive"
    assert client.get("/readyz").json()["parity"] == "4 of 4 recorded predictions match"


def test_the_docs_load_nothing_from_the_internet(serving: Serving, words: Path):
    client = serving(words)
    page = client.get("/docs").text
    assert "https://" not in page
    assert "http://" not in page
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/docs-files/{name}" in page
        assert client.get(f"/docs-files/{name}").status_code == 200


def test_openapi_shows_the_models_own_rows_and_limits(serving: Serving, words: Path):
    document = serving(words, max_request_rows=7).get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    shown = [text for example in body["examples"].values() for text in example["value"]["texts"]]
    assert set(shown) <= set(RECORDED)
    assert body["schema"]["properties"]["texts"]["maxItems"] == 7
    responses = document["paths"]["/predict"]["post"]["responses"]
    assert "application/problem+json" in responses["429"]["content"]


def test_responses_match_the_openapi_document(serving: Serving, words: Path):
    from jsonschema import validate

    client = serving(words)
    operation = client.get("/openapi.json").json()["paths"]["/predict"]["post"]
    body, answered = operation["requestBody"]["content"]["application/json"], operation["responses"]
    for example in body["examples"].values():
        validate(example["value"], body["schema"])
        response = client.post("/predict", json=example["value"]).json()
        validate(response, answered["200"]["content"]["application/json"]["schema"])
    shown = answered["200"]["content"]["application/json"]["example"]["predictions"][0]
    given = client.post("/predict", json=body["examples"]["one row"]["value"]).json()["predictions"][0]
    assert given["label"] == shown["label"]
    assert given["score"] == pytest.approx(shown["score"], abs=1e-5)


def test_metrics_count_requests_rows_and_labels(serving: Serving, words: Path):
    client = serving(words)
    client.post("/predict", json={"texts": ["good", "bad", "fine film"]})
    client.post("/predict", json={"texts": []})
    exported = read_metrics(client.get("/metrics").text)
    assert exported["requests_total", "/predict", "200"] == 1
    assert exported["requests_total", "/predict", "422"] == 1
    assert exported["predictions_total", "positive"] == 2
    assert exported["predictions_total", "negative"] == 1
    assert exported["errors_total", "bad_request"] == 1
    assert exported["errors_total", "internal_error"] == 0
    assert exported["request_duration_seconds_count", "/predict"] == 1  # the rejection is not timed
    assert exported["requests_in_flight",] == 0  # the request for metrics is not counted
    assert exported["tokens_total",] == 4
    assert exported["parity_rows", "yes"] == 4
    assert exported["ready",] == 1
    assert exported["queue_wait_seconds_count",] == 3


def read_metrics(text: str) -> dict[tuple[str, ...], float]:
    """Return our metrics by name and labels, without those labels that all have."""
    common = {"model", "model_version", "variant"}
    return {
        (
            sample.name.removeprefix("toolchain_serving_"),
            *(v for k, v in sample.labels.items() if k not in common),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


BAD_BODIES = {
    "not JSON": (b"texts=good", 400),
    "NaN": (b'{"texts": [NaN]}', 400),
    "invalid UTF-8": (b'{"texts": ["\xff\xfe"]}', 400),
    "nothing": (b"", 400),
    "a list": (b'["good"]', 422),
    "a missing field": (b"{}", 422),
    "an unknown field": (b'{"texts": ["good"], "secret-word": 1}', 422),
    "a string in place of a list": (b'{"texts": "good"}', 422),
    "no row": (b'{"texts": []}', 422),
    "a number": (b'{"texts": [1]}', 422),
    "null": (b'{"texts": [null]}', 422),
    "an empty text": (b'{"texts": ["good", "  "]}', 422),
    "10,000 rows": (json.dumps({"texts": ["good"] * 10_000}).encode(), 422),
    "a text of 100,000 characters": (json.dumps({"texts": ["good " * 20_000]}).encode(), 422),
    "10 MB": (json.dumps({"texts": ["good " * 2_000_000]}).encode(), 413),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_text_request_is_rejected_with_a_problem(name: str, serving: Serving, words: Path):
    body, status = BAD_BODIES[name]
    response = serving(words).post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    reported = problem(response)
    assert "secret-word" not in response.text
    if name == "an empty text":
        assert reported["errors"][0]["pointer"] == "#/texts/1"


def test_an_unknown_field_is_named(serving: Serving, words: Path):
    detail = problem(serving(words).post("/predict", json={"texts": ["good"], "text": 1, "a secret": 2}))["detail"]
    assert "'text'" in detail
    assert "secret" not in detail


def test_a_chunked_body_has_the_same_limit(serving: Serving, words: Path):
    response = serving(words).post("/predict", content=(b" " * 65_536 for _ in range(40)))
    assert response.status_code == 413
    assert problem(response)["detail"].startswith("the body is larger than 1,048,576 bytes")


def bomb() -> bytes:
    """A PNG of 65,000 x 65,000 pixels that is itself a few hundred bytes."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("name", ["no base64", "a number", "no picture", "cut off", "a bomb", "empty"])
def test_a_bad_image_is_rejected_with_a_problem(name: str, serving: Serving, image_model: Path):
    files = {"no picture": b"hello", "cut off": picture(3, 50, 50)[:100], "a bomb": bomb(), "empty": b""}
    rows = {"no base64": "%%%", "a number": 3}
    row = base64.b64encode(files[name]).decode() if name in files else rows[name]
    response = serving(image_model).post("/predict", json={"images": [row]})
    assert response.status_code == 422
    assert "image" in problem(response)["detail"]


def test_a_text_model_rejects_files(serving: Serving, words: Path):
    response = serving(words).post("/predict", content=b"x", headers={"Content-Type": "image/png"})
    assert response.status_code == 415
    problem(response)


@pytest.mark.parametrize("threshold", [2, -0.1, "high", True, None])
def test_a_threshold_is_a_share(threshold: object, serving: Serving, detector: Path):
    body = {"images": [base64.b64encode(picture(1)).decode()], "threshold": threshold}
    response = serving(detector).post("/predict", json=body)
    assert response.status_code == 422
    assert problem(response)["errors"][0]["pointer"] == "#/threshold"


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/nowhere", 404)])
def test_an_unknown_route_is_a_problem(method: str, path: str, status: int, serving: Serving, words: Path):
    response = serving(words).request(method, path)
    assert response.status_code == status
    problem(response)


def test_a_token_is_needed_where_one_is_set(serving: Serving, words: Path):
    client = serving(words, tokens=("first-token-of-ours", "second-token-of-ours"))
    body = {"texts": ["good"]}
    for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic second-token-of-ours"}):
        response = client.post("/predict", json=body, headers=header)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        problem(response)
    header = {"Authorization": "Bearer second-token-of-ours"}
    assert client.post("/predict", json=body, headers=header).status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/openapi.json", headers=header).json()["components"]["securitySchemes"]


def test_a_failure_inside_shows_and_logs_nothing_of_the_request(
    serving: Serving, words: Path, capfd: pytest.CaptureFixture[str]
):
    from tests.support.responses import served_by

    client = serving(words)

    def fail(values: object) -> None:
        raise RuntimeError(f"cannot do {values}")

    served_by(client).predictor.prepare = fail  # type: ignore[assignment]
    response = client.post("/predict", json={"texts": ["my private words"]})
    assert response.status_code == 500
    problem(response)
    logged = capfd.readouterr()
    assert "private" not in response.text + logged.out + logged.err
    assert "RuntimeError at serve/versions/version.py" in logged.err


@pytest.mark.parametrize(
    ("tokens", "state", "required"), [((), "none", 0.0), (("a-token-of-tests-only",), "tokens", 1.0)]
)
def test_readyz_and_metrics_report_whether_a_token_is_required(
    tokens: tuple[str, ...], state: str, required: float, serving: Callable[..., TestClient], words: Path
):
    client = serving(words, tokens=tokens)
    assert client.get("/readyz").json()["authentication"] == state
    assert f'toolchain_serving_authentication_required{{model="reviews"}} {required}' in client.get("/metrics").text
