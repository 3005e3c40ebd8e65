"""Test loading a version, its parity check, and its limits."""

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.support.models import LABELS, picture, record, save, word_counter, write_model
from tests.support.responses import problem, served_by
from toolchain.artifacts.expected import Expected, Row, read_expected, write_expected
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError, ConfigError
from toolchain.hardware.cpu import BASELINE, KINDS, describe
from toolchain.serve.server import serve
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.metrics import OBJECTIVE_S, buckets_for
from toolchain.serve.versions.parity import compare
from toolchain.serve.versions.version import load

pytestmark = pytest.mark.machine
Serving = Callable[..., TestClient]


def test_a_model_with_other_predictions_is_not_ready_and_reports_why(serving: Serving, words: Path):
    record(words, [Row(text="good", scores=(0.9, 0.1)), Row(text="film", scores=(0.5, 0.5))])
    client = serving(words)
    reason = "1 of 2 predictions differ from those recorded at evaluation (first: row 0)"
    for reply in (client.get("/readyz"), client.post("/predict", json={"texts": ["good"]})):
        assert reply.status_code == 503
        assert reason in problem(reply)["detail"]
    assert client.get("/healthz").status_code == 200
    assert client.get("/v2/health/ready").json() == {"ready": False}
    assert client.get("/v2/models/reviews/ready").status_code == 503


def test_recorded_predictions_of_another_model_are_rejected(serving: Serving, words: Path):
    known = read_expected(words)
    assert known is not None
    write_expected(words, Expected("ab" * 32, known.processor, known.rows))
    reply = serving(words).get("/readyz")
    assert "recorded predictions are of model abababababab" in problem(reply)["detail"]


@pytest.mark.parametrize("kind", [*KINDS.values(), BASELINE])
def test_another_processor_is_named_when_predictions_differ(words: Path, kind: str):
    write_expected(words, Expected(open_model(words).digest, kind, (Row(text="good", scores=(0.9, 0.1)),)))
    here, reason = describe().kind, load(Settings(model=words)).parity.reason
    assert reason.startswith("1 of 1 predictions differ from those recorded at evaluation")
    assert (f"they were recorded on {kind}, this is {here}" in reason) == (kind != here)


def test_parity_is_checked_again_on_request(serving: Serving, words: Path):
    client = serving(words)
    assert client.post("/parity").json() == {
        "rows": 4, "matching": 4, "ready": True, "message": "4 of 4 recorded predictions match",
    }  # fmt: skip


def test_a_model_without_recorded_predictions_is_served_and_reports_it(serving: Serving, words: Path):
    (words / "expected.json").unlink()
    client = serving(words)
    assert client.get("/readyz").json()["parity"] == "no recorded predictions"
    assert client.post("/predict", json={"texts": ["good"]}).status_code == 200
    assert client.get("/openapi.json").status_code == 200


def test_the_recorded_predictions_may_be_in_another_folder(words: Path, tmp_path: Path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (words / "expected.json").rename(kept / "expected.json")
    served = load(Settings(model=words, parity=kept))
    assert served.parity.matching == 4
    with pytest.raises(ArtifactError, match="has no expected"):
        load(Settings(model=words, parity=tmp_path))


def test_boxes_that_moved_are_seen(detector: Path):
    from tests.support.responses import predictor_of

    known = read_expected(detector)
    assert known is not None
    assert compare(predictor_of(detector), known).reason == ""
    for change in ({"boxes": ((0, 0, 8, 5), (0, 0, 20, 10))}, {"labels": (1, 1)}, {"scores": (0.8, 0.1)}):
        row = Row(**{**vars(known.rows[0]), **change})  # type: ignore[arg-type]
        assert compare(predictor_of(detector), Expected(known.model, known.processor, (row,), 0.5)).reason
    faint = Row(**{**vars(known.rows[0]), "scores": (0.9, 0.3)})  # boxes below the threshold are not shown
    assert compare(predictor_of(detector), Expected(known.model, known.processor, (faint,), 0.5)).reason == ""


def hold_up(client: TestClient) -> threading.Event:
    """Let the model answer only when the event is set."""
    free = threading.Event()
    batcher = served_by(client).batcher
    reply = batcher._predict

    def wait(rows: Any) -> Any:
        free.wait(20)
        return reply(rows)

    batcher._predict = wait
    return free


def test_a_full_queue_returns_429_with_retry_after(serving: Serving, words: Path):
    client = serving(words, max_queue_rows=4, max_request_rows=4, workers=1)
    free = hold_up(client)
    body = {"texts": ["good"] * 4}
    codes: list[int] = []
    callers = [
        threading.Thread(target=lambda: codes.append(client.post("/predict", json=body).status_code)) for _ in range(2)
    ]
    callers[0].start()
    while not client.app.in_flight or served_by(client).batcher.queued_rows:  # type: ignore[attr-defined]
        time.sleep(0.01)
    time.sleep(0.1)  # the first request's rows are with the model now, or about to be
    callers[1].start()
    while served_by(client).batcher.queued_rows < 4:
        time.sleep(0.01)
    reply = client.post("/predict", json=body)  # at once: those before it are held up until ``free``
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) >= 1
    problem(reply)
    free.set()
    for caller in callers:
        caller.join()
    assert codes == [200, 200]


def hold_up_decoding(client: TestClient) -> threading.Event:
    """Let images be decoded only when the event is set."""
    free = threading.Event()
    predictor = served_by(client).predictor
    prepare = predictor.prepare

    def wait(values: Any) -> Any:
        free.wait(20)
        return prepare(values)

    predictor.prepare = wait  # type: ignore[method-assign]
    return free


def test_images_count_as_queued_while_they_are_decoded(serving: Serving, image_model: Path):
    client = serving(image_model, max_queue_rows=4, max_request_rows=4)
    free = hold_up_decoding(client)
    body = {"images": [base64.b64encode(picture(255)).decode()] * 3}
    codes: list[int] = []
    caller = threading.Thread(target=lambda: codes.append(client.post("/predict", json=body).status_code))
    caller.start()
    while served_by(client).preparation.rows < 3:
        time.sleep(0.01)
    reply = client.post("/predict", json=body)
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) >= 1
    problem(reply)
    free.set()
    caller.join()
    assert codes == [200]
    assert served_by(client).preparation.rows == 0
    assert client.post("/predict", json=body).status_code == 200


def test_images_that_take_too_long_to_decode_are_504(serving: Serving, image_model: Path):
    client = serving(image_model, request_timeout=0.3)
    free = hold_up_decoding(client)
    reply = client.post("/predict", json={"images": [base64.b64encode(picture(255)).decode()]})
    assert reply.status_code == 504
    assert "no response within 0.3 s" in problem(reply)["detail"]
    assert served_by(client).preparation.rows == 1, "a thread is still at it"
    free.set()
    while served_by(client).preparation.rows:
        time.sleep(0.01)


def test_a_prediction_that_takes_too_long_is_504(serving: Serving, words: Path):
    client = serving(words, request_timeout=0.3)
    free = hold_up(client)
    reply = client.post("/predict", json={"texts": ["good"]})
    free.set()
    assert reply.status_code == 504
    assert "no response within 0.3 s" in problem(reply)["detail"]


def call(client: TestClient, messages: list[dict[str, Any] | float]) -> list[dict[str, Any]]:
    """Send ``messages`` to /predict (numbers are pauses), and return the messages of the response."""
    sent: list[dict[str, Any]] = []
    scope = {"type": "http", "method": "POST", "path": "/predict", "raw_path": b"/predict", "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        "http_version": "1.1", "scheme": "http"}  # fmt: skip

    async def ask() -> None:
        left = iter(messages)

        async def receive() -> dict[str, Any]:
            for message in left:
                if isinstance(message, dict):
                    return message
                await asyncio.sleep(message)
            await asyncio.sleep(60)
            raise AssertionError("another message was requested")

        async def send(message: Any) -> None:
            sent.append(message)

        await client.app(scope, receive, send)  # type: ignore[arg-type]

    client.portal.call(ask)  # type: ignore[union-attr]
    return sent


def test_a_body_that_comes_too_slowly_is_408_and_the_connection_is_closed(serving: Serving, words: Path):
    client = serving(words, body_timeout=0.3)
    began = time.monotonic()
    sent = call(client, [{"type": "http.request", "body": b'{"texts"', "more_body": True}, 60.0])
    assert time.monotonic() - began < 30
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["status"] == 408


def test_a_disconnected_client_counts_as_such(serving: Serving, words: Path):
    client = serving(words)
    free = hold_up(client)
    body = {"type": "http.request", "body": b'{"texts": ["good"]}', "more_body": False}
    sent = call(client, [body, 0.1, {"type": "http.disconnect"}])
    assert sent[0]["status"] == 499
    free.set()
    assert client.post("/predict", json={"texts": ["good"]}).status_code == 200


def test_the_bytes_in_flight_are_limited(serving: Serving, words: Path):
    client = serving(words, max_inflight_bytes=50)
    reply = client.post("/predict", json={"texts": ["good " * 20]})
    assert reply.status_code == 429
    problem(reply)
    assert client.post("/predict", json={"texts": ["good"]}).status_code == 200
    assert client.app.held == 0  # type: ignore[attr-defined]


def test_changed_weights_are_rejected(words: Path):
    (words / "model.onnx").write_bytes((words / "model.onnx").read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        serve(Settings(model=words, port=0))


def test_invalid_weights_are_reported_in_one_line(tmp_path: Path):
    folder = write_model(tmp_path / "broken", "text-classification", lambda path: path.write_bytes(b"no graph"))
    with pytest.raises(ArtifactError, match=r"does not run in ONNX Runtime: [^\n]*$"):
        serve(Settings(model=folder, port=0))


def test_an_unsupported_opset_is_reported_in_one_line(tmp_path: Path):
    folder = write_model(tmp_path / "future", "text-classification", lambda path: word_counter(path, opset=99))
    with pytest.raises(ArtifactError, match=r"does not run in ONNX Runtime: [^\n]*$"):
        serve(Settings(model=folder, port=0))


def test_a_changed_description_is_rejected(words: Path):
    text = (words / "model.json").read_text()
    (words / "model.json").write_text(text.replace(LABELS[0], "rude"))
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        serve(Settings(model=words, port=0))


def test_a_folder_that_is_not_a_model_is_rejected(tmp_path: Path):
    with pytest.raises(ArtifactError, match=r"has no model\.json"):
        serve(Settings(model=tmp_path, port=0))


def test_a_model_that_returns_nan_is_rejected(tmp_path: Path):
    from onnx import TensorProto, helper

    from tests.support.models import constant, value

    def nothing(path: Path) -> None:
        nodes = [
            helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["numbers", "nan"], ["logits"]),
        ]
        inputs = [value("input_ids", TensorProto.INT64, ["batch", 15])]
        outputs = [value("logits", TensorProto.FLOAT, ["batch", 2])]
        nan = constant("nan", np.full((15, 2), np.nan, np.float32))
        save(helper.make_graph(nodes, "nothing", inputs, outputs, [nan]), path)

    folder = write_model(tmp_path / "nan", "text-classification", nothing)
    with pytest.raises(ArtifactError):
        load(Settings(model=folder))


@pytest.mark.parametrize(
    "settings",
    [{"port": 70_000}, {"workers": -1}, {"threads": 0}, {"request_timeout": 0}, {"body_timeout": float("nan")},
        {"max_request_rows": 500}, {"certificate": Path("a.pem")}, {"drain_seconds": float("inf")}],
)  # fmt: skip
def test_bad_settings_are_not_valid(settings: dict[str, Any]):
    with pytest.raises(ConfigError):
        Settings(model=Path("any"), **settings)


@pytest.mark.parametrize(("seconds", "first", "last"), [(0.004, 0.002, 2.0), (1e-6, 0.0001, 1.0), (100.0, 0.07, 70.0)])
def test_buckets_fit_the_model_and_hold_the_objective_of_the_latency(seconds: float, first: float, last: float):
    bounds = buckets_for(seconds)
    assert bounds == sorted(set(bounds))
    assert len([bound for bound in bounds if bound != OBJECTIVE_S]) in (18, 19)
    assert (bounds[0], bounds[-1]) == (first, last)
    assert OBJECTIVE_S in bounds
