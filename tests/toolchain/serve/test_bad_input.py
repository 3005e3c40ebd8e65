"""Test the real server with bad input over a socket.

It responds with a problem or closes the connection, exposes no stack trace or path, and keeps serving other clients.
"""

import base64
import io
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.model_server import ROOT, Running, begin, command, ready, refused
from tests.support.models import LABELS, brightness, picture, record, slow_counter, word_counter, write_model
from tests.support.versions import routing_of, target_of
from toolchain.artifacts.expected import Row, encode_image
from toolchain.lifecycle.routing import FILE, as_bytes
from toolchain.services.storage import s3

SECONDS = 20.0  # for an answer on a busy machine
BODY_SECONDS = 1.0  # of the servers here
INSIDE = re.compile(r"Traceback|\.py\b|/tmp|/root|/work|line \d+, in|site-packages|s3://")  # what no answer may show
JSON = b"Content-Type: application/json\r\n"


@dataclass(frozen=True)
class Answer:
    status: int  # 0: the connection was ended without one
    head: str
    body: str

    @property
    def problem(self) -> dict[str, Any]:
        """The problem details (RFC 9457)."""
        assert "content-type: application/problem+json" in self.head.lower()
        reported: dict[str, Any] = json.loads(self.body)
        assert {"type", "title", "status", "detail"} <= reported.keys()
        assert reported["status"] == self.status
        return reported


def read(connection: socket.socket) -> Answer:
    """Return what comes until the other side closes."""
    content = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            content += part
    head, _, body = content.decode().partition("\r\n\r\n")
    assert not INSIDE.search(body), body
    return Answer(int(head.split()[1]) if head else 0, head, body)


def exchange(port: int, content: bytes) -> Answer:
    """Send ``content``, which requests that the connection be closed, and return the response."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all of it was sent
            connection.sendall(content)
        return read(connection)


def post(port: int, body: bytes, path: str = "/predict", headers: bytes = JSON) -> Answer:
    length = f"Content-Length: {len(body)}\r\nConnection: close\r\nHost: 127.0.0.1\r\n\r\n".encode()
    return exchange(port, f"POST {path} HTTP/1.1\r\n".encode() + headers + length + body)


def get(port: int, path: str) -> Answer:
    return exchange(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


def serve(folder: Path, *words: str) -> Iterator[Running]:
    process = begin(command(folder, "--port", "0", "--body-timeout", str(BODY_SECONDS), "--drain-seconds", "0", *words))
    running = ready(process)
    yield running
    code, printed = running.end()
    assert code == 0
    assert "a request failed" not in printed, printed
    assert not INSIDE.search(printed), printed


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = write_model(tmp_path_factory.mktemp("bad") / "words", "text-classification", word_counter)
    record(folder, [Row(text="good", scores=(0.2689414, 0.7310586))])
    yield from serve(folder, "--version", "3")


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("bad") / "bright"
    write_model(folder, "image-classification", brightness, ("dark", "bright"))
    record(folder, [Row(image=encode_image(picture(255)), scores=(0.2689414, 0.7310586))])
    yield from serve(folder)


def works(running: Running) -> bool:
    return running.ask("good film")[1]["predictions"][0]["label"] == "positive"


# --- Bodies ---

BODIES = {
    "not JSON": (b"texts=good", 400),
    "half of it": (b'{"texts": ["goo', 400),
    "NaN": (b'{"texts": [NaN]}', 400),
    "invalid UTF-8": (b'{"texts": ["\xff\xfe"]}', 400),
    "half a surrogate pair": (b'{"texts": ["\\ud800"]}', 400),
    "nothing": (b"", 400),
    "brackets without end": (b"[" * 500_000, 400),
    "a list": (b'["good"]', 422),
    "a number": (b"7", 422),
    "a missing field": (b"{}", 422),
    "an unknown field": (b'{"texts": ["good"], "text": "good"}', 422),
    "a text in place of a list": (b'{"texts": "good"}', 422),
    "a number as text": (b'{"texts": [1]}', 422),
    "no row": (b'{"texts": []}', 422),
    "an empty text": (b'{"texts": [""]}', 422),
    "10,000 rows": (json.dumps({"texts": ["good"] * 10_000}).encode(), 422),
    "a text of 100,000 characters": (json.dumps({"texts": ["good " * 20_000]}).encode(), 422),
    "10 MB of text": (json.dumps({"texts": ["good " * 2_000_000]}).encode(), 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_rejected(name: str, texts: Running):
    body, status = BODIES[name]
    response = post(texts.port, body)
    assert response.status == status
    assert response.problem["detail"]
    assert works(texts)


def test_a_chunked_body_of_10_mb_is_rejected(texts: Running):
    piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n" + JSON + b"\r\n"
    response = exchange(texts.port, head + piece * 160 + b"0\r\n\r\n")
    assert response.status in (413, 0), "the answer may be lost where the client goes on sending"
    assert works(texts)


@pytest.mark.parametrize("kind", [b"text/plain", b"image/png", b"multipart/form-data; boundary=a", b"\xff"])
def test_another_content_type_is_rejected(kind: bytes, texts: Running):
    response = post(texts.port, b'{"texts": ["good"]}', headers=b"Content-Type: " + kind + b"\r\n")
    assert response.status == 415
    assert response.problem


def tensor(**changes: Any) -> bytes:
    usual = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    return json.dumps({"inputs": [{**usual, **changes}]}).encode()


TENSORS = {
    "another name": tensor(name="image"),
    "another datatype": tensor(datatype="FP32"),
    "a datatype that is none": tensor(datatype=None),
    "another rank": tensor(shape=[1, 1]),
    "another shape than the data's": tensor(shape=[2]),
    "a shape below 0": tensor(shape=[-1]),
    "a shape of 10^30": tensor(shape=[10**30]),
    "numbers": tensor(data=[1]),
    "10,000 rows": tensor(shape=[10_000], data=["a"] * 10_000),
    "no tensor": b'{"inputs": []}',
    "an output that is none": b'{"inputs": [], "outputs": [{"name": {}}]}',
}


@pytest.mark.parametrize("name", TENSORS)
def test_a_tensor_of_another_form_is_rejected(name: str, texts: Running):
    response = post(texts.port, TENSORS[name], "/v2/models/reviews/infer")
    assert response.status == 422
    assert response.problem["error"]


@pytest.mark.parametrize(
    "path",
    ["/v2/models/others", "/v2/models/reviews/versions/4", "/v2/models/reviews/versions/champion", "/v2/models/%ff",
        "/docs-files/../../../etc/passwd", "/docs-files/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/docs-files/nothing.js",
        "/%00", "//", "/predict/", "/openapi.json/x"],
)  # fmt: skip
def test_what_is_not_there_is_a_problem(path: str, texts: Running):
    response = get(texts.port, path)
    assert response.status in (404, 405)
    assert response.problem["detail"]
    assert "root:" not in response.body


# --- Images ---


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, packed: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def large() -> bytes:
    """A black PNG of 24.9 million pixels, the most but a few that are allowed, in 72 KB."""
    return png(4990, 4990, zlib.compress(b"\0" * ((4990 * 3 + 1) * 4990), 9))


def gif(frames: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


IMAGES = {
    "65,000 x 65,000 pixels in 100 bytes": png(65_000, 65_000, zlib.compress(b"\0" * 100)),
    "less than it says": png(1000, 1000, zlib.compress(b"\0" * 100)),
    "no picture": b"hello",
    "empty": b"",
    "a text that grows": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(b"a" * 90_000_000)),
    "900,000 frames": gif(900_000),
    "a program for a printer": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n",
}


@pytest.mark.parametrize("kind", ["file", "json"])
@pytest.mark.parametrize("name", IMAGES)
def test_a_bad_image_is_rejected_quickly(name: str, kind: str, bright: Running):
    file = IMAGES[name]
    began = time.monotonic()
    if kind == "file":
        response = post(bright.port, file, headers=b"Content-Type: image/png\r\n")
    else:
        response = post(bright.port, json.dumps({"images": [base64.b64encode(file).decode()]}).encode())
    assert response.status in ((413, 422) if len(file) > 12_000_000 else (422,))
    assert response.problem["detail"]
    assert time.monotonic() - began < 3, "it took less than 0.1 s on a quiet machine"


def test_images_above_the_total_size_are_rejected_before_decoding(bright: Running):
    body = json.dumps({"images": [base64.b64encode(large()).decode()] * 5}).encode()
    response = post(bright.port, body)
    assert response.status == 422
    assert "more than 100,000,000 pixels" in response.problem["detail"]


def test_an_image_of_many_scans_is_rejected_by_its_cost_not_its_size(bright: Running):
    """A progressive JPEG of 150 KB and 25 million pixels, over which a decoder would go 60 times."""
    file = io.BytesIO()
    Image.new("RGB", (4990, 4990)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    assert post(bright.port, content, headers=b"Content-Type: image/jpeg\r\n").status == 200
    last = content[content.rindex(b"\xff\xda") : -2]
    response = post(bright.port, content[:-2] + last * 50 + b"\xff\xd9", headers=b"Content-Type: image/jpeg\r\n")
    assert response.status == 422
    assert "takes as long to decode as 149,400,600 pixels" in response.problem["detail"]


def test_a_large_image_does_not_delay_other_requests(bright: Running):
    body = json.dumps({"images": [base64.b64encode(large()).decode()] * 4}).encode()
    ended: list[float] = []

    def ask() -> None:
        assert post(bright.port, body).status in (200, 504)
        ended.append(time.monotonic())

    asker = threading.Thread(target=ask)
    asker.start()
    time.sleep(0.3)
    waited = []
    while asker.is_alive():
        began = time.monotonic()
        assert get(bright.port, "/healthz").status == 200
        waited.append(time.monotonic() - began)
    asker.join()
    assert len(waited) > 3, "all were held up until the large ones were done"


# --- Requests ---

POST = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n"
NO_REQUESTS = {
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\n\n",
    "a path that is no UTF-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "two lengths": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a length below 0": POST + b"Content-Length: -4\r\n\r\n",
    "a length without end": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a piece without a length": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
}


@pytest.mark.parametrize("name", NO_REQUESTS)
def test_an_invalid_request_gets_400_and_the_connection_is_closed(name: str, texts: Running):
    response = exchange(texts.port, NO_REQUESTS[name])
    assert response.status == 400
    assert response.problem["detail"]


@pytest.mark.parametrize("line", [b"X-A: " + b"a" * 40_000_000 + b"\r\n", b"A: b\r\n" * 2_000_000])
def test_a_head_without_end_is_cut_off(line: bytes, texts: Running):
    before = held(texts)
    response = exchange(texts.port, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + line)
    assert response.status in (431, 0), "the answer may be lost where the client goes on sending"
    assert held(texts) - before < 8 * 1024**2
    assert works(texts)


def held(running: Running) -> int:
    """Return the bytes of memory that the program has."""
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (POST, 0),
        (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET", 200),  # the second one
        (POST + b'Content-Length: 100\r\n\r\n{"texts"', 408),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", 408),
        (POST.replace(b"/predict", b"/nowhere") + b"Content-Length: 100\r\n\r\n{", 404),  # a response, then no end
    ],
)
def test_a_client_that_is_too_slow_is_not_waited_for(content: bytes, status: int, texts: Running):
    """It goes on sending, a byte each tenth of a second: what counts is when it is done."""
    over = threading.Event()
    with socket.create_connection(("127.0.0.1", texts.port), SECONDS) as connection:
        connection.sendall(content)

        def trickle() -> None:
            while not over.wait(0.1):
                try:
                    connection.sendall(b"a")
                except OSError:
                    return

        slow = threading.Thread(target=trickle)
        slow.start()
        began = time.monotonic()
        response = read(connection)
        over.set()
        slow.join()
    assert time.monotonic() - began < BODY_SECONDS + 4
    assert response.status == status
    assert works(texts)


def test_a_client_that_does_not_read_its_response_is_disconnected(texts: Running):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(SECONDS)
        connection.connect(("127.0.0.1", texts.port))
        wanted = b"GET /docs-files/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"  # 1.5 MB each
        connection.sendall(wanted * 20)
        time.sleep(BODY_SECONDS + 2)
        assert is_ended(connection, wanted)
    assert works(texts)


def is_ended(connection: socket.socket, content: bytes) -> bool:
    """Return whether the other side has ended ``connection``, which is known once something was sent in vain."""
    try:
        for _ in range(100):
            connection.sendall(content)
            time.sleep(0.05)
    except OSError:
        return True
    return False


def test_clients_that_disconnect_do_not_affect_others(texts: Running, tmp_path: Path):
    for content in (b"", b"POST /pre", POST + b'Content-Length: 100\r\n\r\n{"te'):
        connection = socket.create_connection(("127.0.0.1", texts.port), SECONDS)
        connection.sendall(content)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # by a reset
        connection.close()
    assert works(texts)


def test_a_client_that_disconnects_before_its_response_is_counted_and_not_logged(
    start: Callable[..., Running], tmp_path: Path
):
    running = start(write_model(tmp_path / "slow", "text-classification", slow_counter), "--drain-seconds", "0")
    body = b'{"texts": ["good private film"]}'
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", running.port), SECONDS) as connection:
            connection.sendall(POST + JSON + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            time.sleep(0.05)
    assert running.ask("good")[0] == 200
    counted = re.search(r'errors_total\{.*type="client_disconnected".*\} (\d)', get(running.port, "/metrics").body)
    assert counted
    assert int(counted[1]) >= 2, "one of them may have been in time"
    assert "private" not in running.end()[1]


def test_excess_connections_get_429_and_probes_are_served(start: Callable[..., Running], words: Path):
    running = start(words, "--max-connections", "3")
    idle = [socket.create_connection(("127.0.0.1", running.port), SECONDS) for _ in range(3)]
    for connection in idle:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while b"alive" not in connection.recv(65_536):
            pass
    response = post(running.port, b'{"texts": ["good"]}')
    assert response.status == 429
    assert "retry-after: 1" in response.head.lower()
    assert response.problem
    assert get(running.port, "/healthz").status == 200
    for connection in idle:
        connection.close()
    time.sleep(0.2)
    assert works(running)


# --- What is served ---


def damaged(folder: Path, how: str) -> Path:
    graphs = {
        "no graph": lambda path: path.write_bytes(b"no graph") and None,
        "an opset that is not supported": lambda path: word_counter(path, opset=99),
    }
    model = write_model(folder / "words", "text-classification", graphs.get(how, word_counter))
    weights, description = model / "model.onnx", model / "model.json"
    if how == "another byte":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    if how == "cut off":
        weights.write_bytes(weights.read_bytes()[:-10])
    if how == "no weights":
        weights.unlink()
    if how == "another digest":
        reported = json.loads(description.read_text())
        description.write_text(json.dumps({**reported, "digest": "0" * 64}))
    if how == "other labels":
        description.write_text(description.read_text().replace(LABELS[0], "rude"))
    if how == "no JSON":
        description.write_text("{")
    return model


@pytest.mark.parametrize(
    "how",
    ["another byte", "cut off", "no weights", "another digest", "other labels", "no JSON", "no graph",
        "an opset that is not supported"],
)  # fmt: skip
def test_a_damaged_model_is_reported_in_one_line(how: str, tmp_path: Path):
    code, printed = refused(damaged(tmp_path, how), "--port", "0")
    assert code == 1
    assert printed.startswith("error: ")


def test_a_clock_that_jumps_is_ignored(start: Callable[..., Running], words: Path, tmp_path: Path):
    """The real program with a wall clock that is a day off, one way or the other, each time that it is read."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(
        "import itertools, time\n"
        "now, days = time.time, itertools.cycle((-86400, 86400))\n"
        "time.time = lambda: now() + next(days)\n"
    )
    running = start(words, "--drain-seconds", "0", PYTHONPATH=f"{tmp_path / 'clock'}:{ROOT}")
    for _ in range(20):
        assert works(running)
    assert get(running.port, "/readyz").status == 200
    text = get(running.port, "/metrics").body
    took = re.search(r'request_duration_seconds_sum\{.*route="/predict".*\} (\S+)', text)
    assert took
    assert 0 < float(took[1]) < 20
    assert running.end()[0] == 0


# --- The repository, away or on a full disk ---


@pytest.fixture
def start_not_ready() -> Iterator[Callable[..., tuple["subprocess.Popen[str]", int, str]]]:
    """Return a function that starts the program with a repository, and gives its port and its line, ready or not."""
    started: list[subprocess.Popen[str]] = []

    def run(repository: str, cache: Path, **environment: str) -> tuple["subprocess.Popen[str]", int, str]:
        words = ["--model-repository", repository, "--cache", str(cache), "--port", "0", "--poll-interval", "0.3"]
        started.append(begin([*command(Path("any"))[:3], "--name", "reviews", *words], **environment))
        assert started[-1].stderr is not None
        line = next(line for line in started[-1].stderr if "ready: " in line)
        return started[-1], int(line.split("/docs")[0].rsplit(":", 1)[1]), line

    yield run
    for process in started:
        process.kill()
        process.communicate()


def put_in_s3(bucket: str, versions: dict[str, Path]) -> str:
    uri, digest = f"s3://{bucket}/served/reviews/", target_of(versions, "1").digest
    for file in versions["1"].iterdir():
        s3.upload(file, f"{uri}{digest}/{file.name}", shown=False)
    s3.write(as_bytes(routing_of(versions, "1")), uri + FILE)
    return uri


def test_a_start_without_s3_is_logged_and_the_server_waits(
    start_not_ready: Callable[..., Any], s3_bucket: str, versions: dict[str, Path], tmp_path: Path
):
    uri = put_in_s3(s3_bucket, versions)
    _, port, line = start_not_ready(uri, tmp_path / "cache", AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "the model repository is unavailable" in line
    assert get(port, "/healthz").status == 200
    for response in (get(port, "/readyz"), post(port, b'{"texts": ["good"]}'), get(port, "/openapi.json")):
        assert response.status == 503
        assert "no version is loaded yet" in response.problem["detail"]


@pytest.mark.slow
def test_a_full_disk_is_reported_and_the_version_is_downloaded_later(
    start_not_ready: Callable[..., Any], s3_bucket: str, versions: dict[str, Path], tmp_path: Path
):
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", str(cache)], check=False)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        _, port, line = start_not_ready(put_in_s3(s3_bucket, versions), cache)
        assert "no space left on device" in line
        assert "no space left" in get(port, "/readyz").problem["detail"]
        subprocess.run(["mount", "-o", "remount,size=10m", str(cache)], check=True)
        until = time.monotonic() + 60
        while get(port, "/readyz").status != 200 and time.monotonic() < until:
            time.sleep(0.5)
        assert post(port, b'{"texts": ["good"]}').status == 200
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)
