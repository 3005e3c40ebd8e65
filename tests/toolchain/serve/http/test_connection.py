"""Test the real server with the bytes that browsers, proxies, clients and attackers send."""

import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.model_server import Running, begin, command, ready
from tests.support.models import LABELS, word_counter, write_model

SECONDS = 20.0  # for an answer on a busy machine
HOST = b"Host: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
POST = b"POST /predict HTTP/1.1\r\n" + HOST
BODY = b'{"texts": ["good film"]}'
GET = b"GET /healthz HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
MEBIBYTE = 1024**2
TOKEN = "a-token-of-tests-only"


def sized(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = write_model(tmp_path_factory.mktemp("connection") / "words", "text-classification", word_counter)
    process = begin(command(folder, "--port", "0", "--drain-seconds", "0"))
    yield ready(process)
    process.terminate()
    out, error = process.communicate(timeout=SECONDS)
    assert "failed" not in out + error


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = write_model(tmp_path_factory.mktemp("connection") / "words", "text-classification", word_counter)
    process = begin(command(folder, "--port", "0"), TOOLCHAIN_SERVE_TOKENS=TOKEN)
    yield ready(process)
    process.kill()
    process.communicate()


def read(connection: socket.socket) -> bytes:
    """Return what comes until the other side closes."""
    content = b""
    with suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            content += part
    return content


def exchange(running: Running, content: bytes) -> bytes:
    """Send ``content`` and return all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", running.port), SECONDS) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(content)
        return read(connection)


def statuses(responses: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", responses)]


# --- Memory ---

ENDLESS = {
    "trailers": (POST + JSON + CHUNKED + b"0\r\n", b"A: b\r\n" * 20_000),
    "a trailer": (POST + JSON + CHUNKED + b"0\r\nA: ", b"a" * 2**17),
    "chunk extensions": (POST + JSON + CHUNKED + b"1;", b"a" * 2**17),
    "small chunks": (POST + JSON + CHUNKED, b"1\r\n \r\n" * 20_000),
    "a body in chunks": (POST + JSON + CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "a body that a GET has": (GET + CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
    "pipelined GETs": (b"", (GET + b"\r\n") * 2_500),
    "pipelined POSTs": (b"", (POST + JSON + sized(BODY)) * 1_000),
    "requests behind half a request": (POST + JSON + b"Content-Length: 3000000\r\n\r\n", (GET + b"\r\n") * 2_500),
    "headers": (b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 20_000),
    "a path": (b"GET /", b"a" * 2**17),
    "empty lines": (b"", b"\r\n" * 2**16),
}


def resident(running: Running) -> int:
    """Return the bytes of memory that the program holds."""
    return int(Path(f"/proc/{running.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("name", ENDLESS)
def test_one_connection_never_makes_the_server_hold_more_than_a_few_megabytes(name: str, secured: Running):
    """48 MB come without a token, as far as the server takes them."""
    first, piece = ENDLESS[name]
    before, highest = resident(secured), 0
    address = ("127.0.0.1", secured.port)
    with socket.create_connection(address, 1.0) as connection, suppress(OSError):  # closed, or not read from any more
        connection.sendall(first)
        for _ in range(48 * MEBIBYTE // len(piece)):
            connection.sendall(piece)
            highest = max(highest, resident(secured))
    assert highest - before < 12 * MEBIBYTE
    assert statuses(exchange(secured, GET + b"Connection: close\r\n\r\n")) == [200]


# --- Requests one after another ---


def test_pipelined_requests_are_served_one_by_one_in_order(running: Running):
    texts = ["good", "bad", "great film", "dull"] * 25
    requests = [POST + JSON + sized(json.dumps({"texts": [text]}).encode()) for text in texts]
    responses = exchange(running, b"\r\n".join([*requests, GET + b"Connection: close\r\n\r\n"]))
    labels = [LABELS[1] if text[0] == "g" else LABELS[0] for text in texts]
    assert [
        part.split(b'"')[2].decode() for part in responses.split(b'"label":')[1:] for part in [b'"' + part]
    ] == labels
    assert responses.endswith(b"alive")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_request_may_come_in_any_pieces(size: int, running: Running):
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (1, BODY[at : at + 1]) for at in range(len(BODY)))
    content = POST + JSON + CHUNKED + chunks + b"0\r\nA: b\r\n\r\n" + GET + b"Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(content), size):
            connection.sendall(content[at : at + size])
        responses = read(connection)
    assert statuses(responses) == [200, 200]
    assert b'"label":"positive"' in responses


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400),
        (POST + b"Content-Length: 4, 4\r\n\r\nabcd", 400),
        (POST + b"Content-Length: +4\r\n\r\nabcd", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
        (POST + b"X: y\r\n Content-Length: 4\r\n\r\nabcd", 400),
        (POST.replace(b"1.1", b"1.0") + CHUNKED + b"0\r\n\r\n", 400),
        (POST.replace(b"\r\n", b"\n") + b"\n", 400),
        (POST + CHUNKED + b"1\na\n0\n\n", 400),
        (POST + CHUNKED + b"1\r\nab\r\n0\r\n\r\n", 400),
        (POST + CHUNKED + b"0001x\r\na\r\n0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (GET + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET http:///healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET ftp://127.0.0.1/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET /healthz HTTP/0.9\r\n\r\n", 505),
        (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + HOST + b"\r\n", 501),
        (GET + b"A: b\r\n" * 300 + b"\r\n", 431),
        (GET + b"A: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"b" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    ],
)  # fmt: skip
def test_an_ambiguous_or_excessive_request_is_rejected_and_no_later_one_is_read(
    head: bytes, status: int, running: Running
):
    assert statuses(exchange(running, head + GET + b"\r\n")) == [status]


def test_a_trailer_is_no_header(secured: Running):
    token = f"Authorization: Bearer {TOKEN}\r\n".encode()
    content = POST + JSON + b"Connection: close\r\n" + CHUNKED + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n" + token
    assert statuses(exchange(secured, content + b"\r\n")) == [401]


def test_a_client_that_is_still_sending_receives_an_early_rejection(secured: Running):
    body = b" " * (8 * MEBIBYTE)
    for head, status in ((POST + JSON, 401), (POST.replace(b"predict", b"nowhere"), 401)):
        responses = exchange(secured, head + b"Content-Length: 9000000\r\n\r\n" + body)
        assert statuses(responses) == [status]
        assert b"connection: close" in responses.lower()


def test_a_small_rejected_request_keeps_its_connection(secured: Running):
    responses = exchange(secured, POST + JSON + sized(BODY) + GET + b"Connection: close\r\n\r\n")
    assert statuses(responses) == [401, 200]


# --- What clients send ---

UPGRADES = {
    "Java's HttpClient": b"Connection: Upgrade, HTTP2-Settings\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\nUpgrade: h2c\r\n",
    "a websocket": b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    "TLS within HTTP": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
}


@pytest.mark.parametrize("name", UPGRADES)
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_wish_for_another_protocol_is_ignored(name: str, in_chunks: bool, running: Running):
    body = CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY) if in_chunks else sized(BODY)
    content = POST + UPGRADES[name] + JSON + body + GET + UPGRADES[name] + b"\r\n" + GET + b"Connection: close\r\n\r\n"
    responses = exchange(running, content)
    assert statuses(responses) == [200, 200, 200]
    assert b'"label":"positive"' in responses


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
@pytest.mark.parametrize(
    "options",
    [
        ["--http2"],
        ["-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked"],
        ["-H", "Content-Encoding: gzip", "--data-binary", "@body.gz"],
        ["--http1.0"],
        ["--request-target", "http://127.0.0.1/predict"],
    ],
)
def test_curl_is_served(options: list[str], running: Running, tmp_path: Path):
    (tmp_path / "body.gz").write_bytes(gzip.compress(BODY))
    data = [] if "@body.gz" in options else ["-d", BODY.decode()]
    address = f"http://127.0.0.1:{running.port}/predict"
    words = ["curl", "-sS", *options, "-H", "Content-Type: application/json", *data, address]
    reported = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True, timeout=SECONDS).stdout
    assert json.loads(reported)["predictions"][0]["label"] == "positive"


JAVA = """
import java.net.URI;
import java.net.http.*;
public class Ask {
    public static void main(String[] words) throws Exception {
        var body = HttpRequest.BodyPublishers.ofString(words[1]);
        var request = HttpRequest.newBuilder(URI.create(words[0])).POST(body);
        request.header("Content-Type", "application/json");
        var client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++)
            System.out.println(client.send(request.build(), HttpResponse.BodyHandlers.ofString()).body());
    }
}
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("javac"), reason="needs a JDK")
def test_the_java_client_is_served(running: Running, tmp_path: Path):
    (tmp_path / "Ask.java").write_text(JAVA)
    words = ["java", "Ask.java", f"http://127.0.0.1:{running.port}/predict", BODY.decode()]
    reported = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True, timeout=120).stdout
    assert [json.loads(line)["predictions"][0]["label"] for line in reported.splitlines()] == ["positive"] * 2


def test_100_continue_is_sent_to_clients_that_expect_it_if_the_body_is_accepted(secured: Running):
    head = POST + JSON + b"Expect: 100-continue\r\nContent-Length: %d\r\n" % len(BODY)
    assert statuses(exchange(secured, head + b"\r\n")) == [401]
    with socket.create_connection(("127.0.0.1", secured.port), SECONDS) as connection:
        connection.sendall(head + f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert statuses(read(connection)) == [200]


def test_an_absolute_target_is_a_path_and_its_host_counts(running: Running):
    close = b"Host: other.example\r\nConnection: close\r\n\r\n"
    for target, status in (("127.0.0.1/healthz", 200), ("localhost:80/v2?a=b", 200), ("127.0.0.1", 404),
                           ("other.example/healthz", 421)):  # fmt: skip
        assert statuses(exchange(running, f"GET http://{target} HTTP/1.1\r\n".encode() + close)) == [status]


# --- Connections ---


def test_probes_are_served_at_the_limit_of_open_files(tmp_path: Path):
    """With 256 open files at most, 300 clients connect and say nothing, or half a request."""
    folder = write_model(tmp_path / "words", "text-classification", word_counter)
    limited = ["prlimit", "--nofile=256:256", *command(folder, "--port", "0", "--drain-seconds", "0")]
    process = begin(limited)
    try:
        running, idle = ready(process), []
        assert process.stderr is not None
        assert "max_connections is 128, not 1024: the limit of open files is 256" in process.stderr.readline()
        for count in range(300):
            idle.append(socket.create_connection(("127.0.0.1", running.port), SECONDS))
            if count % 2:
                idle[-1].sendall(b"POST /predict HT")
        for path in (b"livez", b"healthz", b"readyz", b"metrics", b"v2/health/ready"):
            assert statuses(exchange(running, b"GET /%s HTTP/1.1\r\n%s\r\n" % (path, HOST))) == [200]
        refused = exchange(running, POST + JSON + sized(BODY))
        assert statuses(refused) == [429]
        assert b"connection: close" in refused.lower()
        for connection in idle:
            connection.close()
    finally:
        process.kill()
        process.communicate()


def test_the_limit_of_open_files_is_raised_as_far_as_allowed(tmp_path: Path):
    folder = write_model(tmp_path / "words", "text-classification", word_counter)
    process = begin(["prlimit", "--nofile=64:4000", *command(folder, "--port", "0")])
    try:
        running = ready(process)
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        assert limits.split("Max open files")[1].split()[:2] == ["4000", "4000"]
    finally:
        process.kill()
        process.communicate()


def test_too_few_open_files_are_not_valid(tmp_path: Path):
    done = subprocess.run(
        ["prlimit", "--nofile=100:100", *command(tmp_path, "--port", "0")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "the limit of open files is 100, at least 129 are needed" in done.stderr


def test_clients_that_connect_at_once_are_all_served(running: Running):
    responses: list[list[int]] = []

    def ask() -> None:
        responses.append(statuses(exchange(running, POST + JSON + b"Connection: close\r\n" + sized(BODY))))

    clients = [threading.Thread(target=ask) for _ in range(50)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert responses == [[200]] * 50
