"""Test gRPC as clients use it: a server in a separate process, and Triton's client."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.models import DAMAGED, brightness, one_box, slow_counter, word_counter, write_model, write_repaired
from tests.support.triton import client as triton
from tests.support.triton import service_pb2, service_pb2_grpc
from toolchain.artifacts.model import open_model
from toolchain.lifecycle.routing import FILE, RoutingConfig, Target, as_bytes

ROOT = Path(__file__).parents[4]
TOKEN = "a-token-of-tests-only"
SERVICE = "/inference.GRPCInferenceService"
Status = grpc.StatusCode


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    http: str  # its address
    grpc: str

    @property
    def client(self) -> triton.InferenceServerClient:
        return triton.InferenceServerClient(self.grpc)

    @property
    def stub(self) -> Any:
        return service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(self.grpc))

    @property
    def exported(self) -> str:
        return urlopen(f"{self.http}/metrics", timeout=20).read().decode()


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """Return a function that starts a server of a model's folder, or of ``--model-repository`` and a path."""
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, **environment: str) -> Running:
        command = [sys.executable, "-m", "toolchain.serve", *words, "--name", "reviews", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--grpc-port", "0"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        ready, listening = process.stdout.readline(), process.stdout.readline()
        assert listening.startswith("gRPC at "), process.communicate(timeout=20)
        return Running(process, ready.split()[1].removesuffix("/docs"), listening.split()[-1])

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_model(folder / "words", "text-classification", word_counter)
    write_model(folder / "slow", "text-classification", slow_counter)
    write_model(folder / "brightness", "image-classification", brightness, ("dark", "bright"))
    write_model(folder / "box", "object-detection", one_box, ("thing", "whole"))
    return folder


@pytest.fixture(scope="module")
def words(start: Start, folders: Path) -> Running:
    return start(str(folders / "words"), "--version", "3", "--max-text-body-bytes", "2000")


def texts(*rows: str | bytes) -> triton.InferInput:
    tensor = triton.InferInput("text", [len(rows)], "BYTES")
    tensor.set_data_from_numpy(np.array([row if isinstance(row, bytes) else row.encode() for row in rows], object))
    return tensor


def pixels(rows: Any, datatype: str = "UINT8") -> triton.InferInput:
    tensor = triton.InferInput("image", list(rows.shape), datatype)
    tensor.set_data_from_numpy(rows)
    return tensor


def message(*rows: bytes, **changes: Any) -> Any:
    """Return a request with its tensor as a list, as clients other than Triton's send it."""
    contents = service_pb2.InferTensorContents(bytes_contents=rows)
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(rows)], "contents": contents}
    given = {"model_name": "reviews", "inputs": [tensor], **changes}
    return service_pb2.ModelInferRequest(**given)


def rejection(call: Callable[[], Any]) -> Any:
    """Return the error of ``call``, and check that it exposes no internals."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    content = caught.value.details()
    assert not re.search(r"Traceback|\.py|/tmp|Unexpected", content)
    return caught.value


def test_health_and_metadata_are_those_of_http(words: Running):
    client = words.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("reviews")
    assert client.is_model_ready("reviews", "3")
    assert client.get_server_metadata(as_json=True) == {"name": "dl-toolchain", "version": "3"}
    content = client.get_model_metadata("reviews", as_json=True)
    assert (content["name"], content["versions"], content["platform"]) == ("reviews", ["3"], "onnxruntime_onnx")
    assert content["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": ["-1"]}]
    assert content["outputs"][1] == {"name": "scores", "datatype": "FP32", "shape": ["-1", "2"]}


def test_texts_in_bytes_get_bytes(words: Running):
    content = words.client.infer("reviews", [texts("good", "dull poor", "film")], model_version="3", request_id="42")
    assert content.as_numpy("label").tolist() == [b"positive", b"negative", b"negative"]
    odds = np.exp([[0, 1], [2, 0], [0, 0]])
    assert content.as_numpy("scores") == pytest.approx(odds / odds.sum(axis=1, keepdims=True))
    response = content.get_response()
    assert (response.id, response.model_name, response.model_version) == ("42", "reviews", "3")
    assert len(response.raw_output_contents) == 2


def test_texts_in_lists_get_lists(words: Running):
    content = words.stub.ModelInfer(message(b"good", "schön und dull".encode()))
    label, scores = content.outputs
    assert list(label.contents.bytes_contents) == [b"positive", b"negative"]
    assert list(scores.shape) == [2, 2]
    assert np.reshape(scores.contents.fp32_contents, (2, 2)).sum(axis=1) == pytest.approx([1, 1])
    assert not content.raw_output_contents
    assert len(content.id) == 32


def predicted(http: str, *rows: str) -> list[dict[str, float]]:
    body = json.dumps({"texts": rows}).encode()
    request = Request(f"{http}/predict", body, {"Content-Type": "application/json"})
    return [reply["scores"] for reply in json.loads(urlopen(request, timeout=20).read())["predictions"]]


def test_damaged_texts_are_repaired_over_http_and_grpc(start: Start, tmp_path: Path):
    server = start(str(write_repaired(tmp_path / "model")), "--version", "3")
    damaged, whole = list(DAMAGED), list(DAMAGED.values())
    assert predicted(server.http, *damaged) == predicted(server.http, *whole)
    assert all(max(scores.values()) > 0.7 for scores in predicted(server.http, *damaged))  # each has a word it knows
    responses = [
        server.client.infer("reviews", [texts(*rows)]).as_numpy("scores").tolist() for rows in (damaged, whole)
    ]
    assert responses[0] == responses[1]
    by_http = [list(scores.values()) for scores in predicted(server.http, *whole)]
    assert np.array(responses[0]) == pytest.approx(np.array(by_http))


def test_a_model_that_records_no_repair_reads_texts_as_they_come(start: Start, tmp_path: Path):
    server = start(str(write_repaired(tmp_path / "model", text_repair="")), "--version", "3")
    assert all(scores == {"negative": 0.5, "positive": 0.5} for scores in predicted(server.http, *list(DAMAGED)[:3]))


def test_only_the_requested_outputs_are_returned(words: Running):
    content = words.client.infer("reviews", [texts("good")], outputs=[triton.InferRequestedOutput("label")])
    assert [output.name for output in content.get_response().outputs] == ["label"]


def test_images_may_be_bytes_or_a_list(start: Start, folders: Path):
    running = start(str(folders / "brightness"))
    rows = np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)])
    assert running.client.infer("reviews", [pixels(rows)]).as_numpy("label").tolist() == [b"dark", b"bright"]
    contents = service_pb2.InferTensorContents(uint_contents=rows.ravel().tolist())
    tensor = {"name": "image", "datatype": "UINT8", "shape": rows.shape, "contents": contents}
    content = running.stub.ModelInfer(message(inputs=[tensor]))
    assert list(content.outputs[0].contents.bytes_contents) == [b"dark", b"bright"]
    contents.uint_contents[0] = 256
    tensor["contents"] = contents
    assert rejection(lambda: running.stub.ModelInfer(message(inputs=[tensor]))).code() == Status.INVALID_ARGUMENT
    few = message(inputs=[{**tensor, "contents": None}], raw_input_contents=[b"\0" * 383])
    assert "384 whole numbers" in rejection(lambda: running.stub.ModelInfer(few)).details()


def test_boxes_are_returned_as_tensors(start: Start, folders: Path):
    content = start(str(folders / "box")).client.infer("reviews", [pixels(np.full((1, 8, 8, 3), 7, np.uint8))])
    assert content.as_numpy("boxes").tolist() == [[0, 0, 4, 4], [0, 0, 8, 8]]
    assert content.as_numpy("scores") == pytest.approx([0.9, 0.1])
    assert content.as_numpy("labels").tolist() == [b"thing", b"whole"]


RAW = {"name": "text", "datatype": "BYTES", "shape": [1]}
BAD = {
    "no inputs": message(inputs=[]),
    "two inputs": message(inputs=[RAW, RAW]),
    "another name": message(inputs=[{**RAW, "name": "words"}]),
    "another datatype": message(inputs=[{**RAW, "datatype": "FP32"}]),
    "a shape that is not the data's": message(b"good", inputs=[{**RAW, "shape": [2]}]),
    "a negative shape": message(inputs=[{**RAW, "shape": [-1]}]),
    "a huge shape": message(inputs=[{**RAW, "shape": [10**12]}]),
    "no data": message(inputs=[RAW]),
    "no text that is none": message(b"   "),
    "not UTF-8": message(b"\xff"),
    "65 rows": message(*[b"good"] * 65),
    "unknown outputs": message(b"good", outputs=[{"name": "logits"}]),
    "bytes and a list": message(b"good", raw_input_contents=[b"\4\0\0\0good"]),
    "bytes for another number of tensors": message(inputs=[RAW], raw_input_contents=[b"\4\0\0\0good"] * 2),
    "a length that is cut off": message(inputs=[RAW], raw_input_contents=[b"\4\0"]),
    "a text that is cut off": message(inputs=[RAW], raw_input_contents=[b"\4\0\0\0goo"]),
    "bytes that are not UTF-8": message(inputs=[RAW], raw_input_contents=[b"\1\0\0\0\xff"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_an_invalid_argument(name: str, words: Running):
    error = rejection(lambda: words.stub.ModelInfer(BAD[name]))
    assert error.code() == Status.INVALID_ARGUMENT
    assert error.details()


def test_an_invalid_message_is_an_invalid_argument(words: Running):
    ask = grpc.insecure_channel(words.grpc).unary_unary(f"{SERVICE}/ModelInfer")
    error = rejection(lambda: ask(b"\xff\xff"))
    assert (error.code(), error.details()) == (
        Status.INVALID_ARGUMENT,
        "the message is not a valid inference.ModelInferRequest",
    )


@pytest.mark.parametrize(("name", "version"), [("other", ""), ("reviews", "4")])
def test_an_unknown_model_or_version_is_not_found(name: str, version: str, words: Running):
    asked = message(b"good", model_name=name, model_version=version)
    calls = [lambda: words.stub.ModelInfer(asked)]
    calls.append(lambda: words.stub.ModelReady(service_pb2.ModelReadyRequest(name=name, version=version)))
    calls.append(lambda: words.stub.ModelMetadata(service_pb2.ModelMetadataRequest(name=name, version=version)))
    for call in calls:
        error = rejection(call)
        assert error.code() == Status.NOT_FOUND
        assert "not found; " in error.details()


def test_large_and_compressed_messages_are_rejected(words: Running):
    error = rejection(lambda: words.stub.ModelInfer(message(b"good " * 500)))
    assert (error.code(), "2,000 bytes" in error.details()) == (Status.RESOURCE_EXHAUSTED, True)
    beyond = rejection(lambda: words.stub.ModelInfer(message(b"good " * 4_000_000)))
    assert beyond.code() == Status.RESOURCE_EXHAUSTED
    packed = rejection(lambda: words.stub.ModelInfer(message(b"good" * 100), compression=grpc.Compression.Gzip))
    assert packed.code() == Status.UNIMPLEMENTED
    assert 'type="content_too_large"' in words.exported


def test_every_response_has_the_request_id(words: Running):
    call = words.stub.ModelInfer.with_call
    _, content = call(message(b"good"), metadata=[("x-request-id", "of-metadata")])
    assert dict(content.trailing_metadata())["x-request-id"] == "of-metadata"
    _, content = call(message(b"good", id="of-message"), metadata=[("x-request-id", "of-metadata")])
    assert dict(content.trailing_metadata())["x-request-id"] == "of-message"
    error = rejection(lambda: call(message(b" "), metadata=[("x-request-id", "of-metadata")]))
    assert dict(error.trailing_metadata())["x-request-id"] == "of-metadata"
    reply, content = call(message(b"good", id="neither\nplain nor short" * 9))
    assert reply.id == "neither\nplain nor short" * 9
    assert len(dict(content.trailing_metadata())["x-request-id"]) == 32


def test_an_id_leads_to_the_same_version_as_by_http(start: Start, folders: Path, tmp_path: Path):
    repository, targets = tmp_path / "reviews", []
    for version, model in (("1", "words"), ("2", "slow")):
        digest = open_model(folders / model).digest
        targets.append(Target(version=version, digest=digest, variant="fp32"))
        repository.mkdir(exist_ok=True)
        (repository / digest).symlink_to(folders / model)
    (repository / FILE).write_bytes(
        as_bytes(RoutingConfig(model="reviews", stable=targets[0], canary=targets[1], percent=50))
    )
    running, found = start("--model-repository", str(repository)), {}
    for id_ in map(str, range(8)):
        found[id_] = running.client.infer("reviews", [texts("good")], request_id=id_).get_response().model_version
        asked = Request(f"{running.http}/predict", b'{"texts": ["good"]}', {"X-Request-Id": id_})
        asked.add_header("Content-Type", "application/json")
        assert f'"version":"{found[id_]}"' in urlopen(asked, timeout=20).read().decode()
    assert set(found.values()) == {"1", "2"}
    named = running.client.infer("reviews", [texts("good")], model_version="2", request_id="0").get_response()
    assert named.model_version == "2"


def test_a_full_queue_returns_the_seconds_to_wait(start: Start, folders: Path):
    running = start(str(folders / "slow"), "--max-queue-rows", "1", "--max-request-rows", "1", "--workers", "1")
    waiting = [running.stub.ModelInfer.future(message(b"good")) for _ in range(6)]
    errors = [future.exception(timeout=30) for future in waiting]
    full = [error for error in errors if error]
    assert full
    for error in full:
        assert isinstance(error, grpc.Call)
        assert error.code() == Status.RESOURCE_EXHAUSTED
        assert int(dict(error.trailing_metadata())["retry-after"]) >= 1
        assert int(dict(error.trailing_metadata())["grpc-retry-pushback-ms"]) >= 1000
    assert 'type="overload"' in running.exported
    assert any(error is None for error in errors)


def test_the_sooner_deadline_of_client_and_server_counts(start: Start, folders: Path):
    running = start(str(folders / "slow"), "--workers", "1")
    patient = running.stub.ModelInfer.future(message(b"good"))
    time.sleep(0.05)
    assert rejection(lambda: running.stub.ModelInfer(message(b"good"), timeout=0.1)).code() == Status.DEADLINE_EXCEEDED
    assert patient.result(timeout=30).outputs
    hasty = start(str(folders / "slow"), "--workers", "1", "--request-timeout", "0.01")
    error = rejection(lambda: hasty.stub.ModelInfer(message(b"good")))
    assert (error.code(), "no response within 0.01 s" in error.details()) == (Status.DEADLINE_EXCEEDED, True)
    for server in (running, hasty):
        assert re.search(r'errors_total{.*type="timeout".*} 1\.0', server.exported)
    assert re.search(r"tokens_total{.*} 1\.0", running.exported)  # the row of the hasty client was not run


def test_a_token_and_tls_are_required_as_over_http(start: Start, folders: Path, tmp_path: Path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--certificate", str(certificate), "--key", str(key))
    running = start(str(folders / "words"), *files, TOOLCHAIN_SERVE_TOKENS=TOKEN)
    channel = grpc.secure_channel(running.grpc, grpc.ssl_channel_credentials(certificate.read_bytes()))
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    assert stub.ServerReady(service_pb2.ServerReadyRequest()).ready
    assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest()).status == 1
    for authorization in (None, "Bearer another-token-of-tests", f"Basic {TOKEN}"):
        metadata = [("authorization", authorization)] if authorization else []
        error = rejection(lambda given=metadata: stub.ModelInfer(message(b"good"), metadata=given))
        assert error.code() == Status.UNAUTHENTICATED
        assert TOKEN not in error.details()
    assert stub.ModelInfer(message(b"good"), metadata=[("authorization", f"Bearer {TOKEN}")]).outputs


def test_grpc_health_checks_report_readiness(words: Running):
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(words.grpc))
    for service in ("", "inference.GRPCInferenceService"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
    error = rejection(lambda: health.Check(health_pb2.HealthCheckRequest(service="other")))
    assert error.code() == Status.NOT_FOUND


def test_metrics_name_the_method_as_route(words: Running):
    words.client.infer("reviews", [texts("good")])
    assert re.search(rf'requests_total{{.*route="{SERVICE}/ModelInfer",status="200"', words.exported)
    assert 'requests_in_flight{model="reviews",model_version="3",variant="fp32"} 0.0' in words.exported


def test_no_request_is_lost_at_sigterm(start: Start, folders: Path):
    """Clients go on asking until they hear that the server is not ready, as their balancer does for them."""
    running = start(str(folders / "words"), "--drain-seconds", "1")
    over, lost, responses = threading.Event(), [], []

    def keep_asking() -> None:
        stub = running.stub
        while not over.is_set():
            try:
                responses.append(stub.ModelInfer(message(b"good", b"bad film")))
            except grpc.RpcError as error:
                lost.append(error)

    clients = [threading.Thread(target=keep_asking) for _ in range(4)]
    for client in clients:
        client.start()
    time.sleep(0.5)
    running.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    health = health_pb2_grpc.HealthStub(grpc.insecure_channel(running.grpc))
    assert health.Check(health_pb2.HealthCheckRequest()).status == 2
    assert not running.client.is_server_ready()
    over.set()
    for client in clients:
        client.join()
    out, error = running.process.communicate(timeout=30)
    assert lost == []
    assert len(responses) > 20
    assert running.process.returncode == 0
    assert "shutdown complete: all requests were served" in out
    assert error == ""


def test_no_request_is_lost_when_a_connection_is_too_old(folders: Path):
    young = (
        "from toolchain.serve import __main__; from toolchain.serve.grpc import protocol;"
        "protocol.MAX_CONNECTION_AGE_S = 0.2; __main__.main()"
    )
    words_ = [str(folders / "words"), "--name", "reviews", "--port", "0", "--grpc-port", "0"]
    process = subprocess.Popen([sys.executable, "-c", young, *words_], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    address = process.stdout.readline().split()[-1]
    stub = service_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(address))
    ours, end = set(), time.monotonic() + 1.5
    try:
        while time.monotonic() < end:
            assert stub.ModelInfer(message(b"good")).outputs
            there = [one for one in psutil.Process().net_connections("tcp") if one.raddr]
            ours |= {one.laddr for one in there if str(one.raddr.port) == address.rpartition(":")[2]}
        assert len(ours) >= 3
    finally:
        process.kill()
        process.communicate()


def test_a_request_in_progress_at_shutdown_is_completed(start: Start, folders: Path):
    running = start(str(folders / "slow"), "--drain-seconds", "0")
    reply = running.stub.ModelInfer.future(message(b"good film"))
    time.sleep(0.15)
    running.process.send_signal(signal.SIGTERM)
    assert reply.result(timeout=30).outputs
    assert running.process.wait(30) == 0


def test_a_port_in_use_is_reported_before_the_model_is_loaded(words: Running):
    port = words.grpc.rpartition(":")[2]
    command = [sys.executable, "-m", "toolchain.serve", "nowhere", "--port", "0", "--grpc-port", port]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"port {port}: Address already in use; choose another with --grpc-port" in done.stderr
