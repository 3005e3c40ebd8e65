from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.responses import problem

Serving = Callable[..., TestClient]
INFER = "/v2/models/reviews/infer"


def text_request(*texts: str, **changes: Any) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"id": "42", "inputs": [{**tensor, **changes}]}


def test_metadata_names_the_model_its_version_and_tensors(serving: Serving, words: Path):
    client = serving(words)
    for path in ("/v2/models/reviews", "/v2/models/reviews/versions/3"):
        reported = client.get(path).json()
        assert reported["name"] == "reviews"
        assert reported["versions"] == ["3"]
        assert reported["platform"] == "onnxruntime_onnx"
        assert reported["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
        assert reported["outputs"][1] == {"name": "scores", "datatype": "FP32", "shape": [-1, 2]}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready", "/v2/models/reviews/ready",
    "/v2/models/reviews/versions/3/ready", "/v2"])  # fmt: skip
def test_health_routes_respond(path: str, serving: Serving, words: Path):
    assert serving(words).get(path).status_code == 200


@pytest.mark.parametrize("path", [INFER, "/v2/models/reviews/versions/3/infer"])
def test_texts_get_predictions_as_tensors(path: str, serving: Serving, words: Path):
    reported = serving(words).post(path, json=text_request("good", "dull poor", "film")).json()
    assert reported["id"] == "42"
    assert (reported["model_name"], reported["model_version"]) == ("reviews", "3")
    label, scores = reported["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [3], "data": ["positive", "negative", "negative"]}
    assert scores["shape"] == [3, 2]
    odds = np.exp([[0, 1], [2, 0], [0, 0]])
    assert np.reshape(scores["data"], (3, 2)) == pytest.approx(odds / odds.sum(axis=1, keepdims=True))


def test_only_the_requested_outputs_are_returned(serving: Serving, words: Path):
    reported = serving(words).post(INFER, json={**text_request("good"), "outputs": [{"name": "label"}]}).json()
    assert [tensor["name"] for tensor in reported["outputs"]] == ["label"]


@pytest.mark.parametrize("nested", [True, False])
def test_pixels_may_be_flat_or_nested(nested: bool, serving: Serving, image_model: Path):
    pixels = np.stack([np.zeros((8, 8, 3), int), np.full((8, 8, 3), 255)])
    data = pixels.tolist() if nested else pixels.ravel().tolist()
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [2, 8, 8, 3], "data": data}]}
    reported = serving(image_model).post(INFER, json=body).json()
    assert reported["outputs"][0]["data"] == ["dark", "bright"]


def test_boxes_are_returned_as_tensors(serving: Serving, detector: Path):
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": [7] * 192}]}
    boxes, scores, labels = serving(detector).post(INFER, json=body).json()["outputs"]
    assert boxes["shape"] == [2, 4]
    assert boxes["data"] == [0, 0, 4, 4, 0, 0, 8, 8]
    assert scores["data"] == pytest.approx([0.9, 0.1])
    assert labels["data"] == ["thing", "whole"]


BAD = {
    "no inputs": {},
    "inputs is no list": {"inputs": {"name": "text"}},
    "two inputs": {"inputs": text_request("good")["inputs"] * 2},
    "another name": text_request("good", name="words"),
    "another datatype": text_request("good", datatype="FP32"),
    "another rank": text_request("good", shape=[1, 1]),
    "a shape that is not the data's": text_request("good", shape=[2]),
    "a negative shape": text_request("good", shape=[-1]),
    "a huge shape": text_request("good", shape=[10**12]),
    "a fraction as shape": text_request("good", shape=[1.5]),
    "true as shape": text_request("good", shape=[True]),
    "no data": text_request("good", data=None),
    "numbers as texts": text_request("good", data=[1]),
    "10,000 rows": text_request(*["good"] * 10_000),
    "unknown outputs": {**text_request("good"), "outputs": [{"name": "logits"}]},
    "an id that is a number": {**text_request("good"), "id": 42},
    "outputs is no list": {**text_request("good"), "outputs": "label"},
    "outputs that are no tensors": {**text_request("good"), "outputs": ["label"]},
    "an output's name is an object": {**text_request("good"), "outputs": [{"name": {}}]},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_rejected_with_an_error(name: str, serving: Serving, words: Path):
    response = serving(words).post(INFER, json=BAD[name])
    assert response.status_code == 422
    assert problem(response)["error"]


@pytest.mark.parametrize(
    "data",
    [
        [300] * 192,
        [-1] * 192,
        [0.5] * 192,
        ["a"] * 192,
        [[1], [1, 2]],
        [1] * 191,
        [],
        None,
        [True] * 192,
        [10**30] * 192,
        [["a" * 100_000], ["b"] * 100_000],
        {},
        [[[[[]]]]],
        [[1] * 96, 1],
    ],
)
def test_pixels_are_bytes(data: Any, serving: Serving, image_model: Path):
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 3], "data": data}]}
    response = serving(image_model).post(INFER, json=body)
    assert response.status_code == 422
    problem(response)


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/reviews/versions/4", "/v2/models/other/ready"])
def test_an_unknown_model_or_version_is_404(path: str, serving: Serving, words: Path):
    response = serving(words).get(path)
    assert response.status_code == 404
    assert "reviews" in problem(response)["detail"]


def test_the_binary_extension_is_not_supported(serving: Serving, words: Path):
    response = serving(words).post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": "2"})
    assert response.status_code == 415
    problem(response)
