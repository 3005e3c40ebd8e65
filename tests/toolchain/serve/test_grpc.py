"""Test gRPC clients that send incomplete messages, as raw HTTP/2 frames, next to a well-behaved client.

Slow or hostile clients must not block others, as over HTTP.
"""

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.models import word_counter, write_model
from tests.support.triton import service_pb2, service_pb2_grpc

ROOT = Path(__file__).parents[3]
TOKEN = "a-token-of-tests-only"
INFER, CHECK = b"/inference.GRPCInferenceService/ModelInfer", b"/grpc.health.v1.Health/Check"
BODY_SECONDS = 3.0
SECONDS = 20.0
STREAMS = 100  # of a connection
MEBIBYTE = 1024**2
Status = grpc.StatusCode


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    port: int

    @property
    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.port}", [("grpc.use_local_subchannel_pool", 1)])

    def infer(self, seconds: float = SECONDS) -> Any:
        contents = service_pb2.InferTensorContents(bytes_contents=[b"good"])
        tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "contents": contents}
        request = service_pb2.ModelInferRequest(model_name="reviews", inputs=[tensor])
        with self.channel as channel:
            return service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=seconds)

    def check(self, seconds: float = SECONDS) -> int:
        with self.channel as channel:
            return int(
                health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=seconds).status
            )

    @property
    def resident(self) -> int:
        """The bytes of memory that it holds."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    folder = write_model(tmp_path_factory.mktemp("grpc") / "words", "text-classification", word_counter)
    started: list[subprocess.Popen[str]] = []

    def run(*words: str, **environment: str) -> Running:
        command = [
            sys.executable,
            "-m",
            "toolchain.serve",
            str(folder),
            "--name",
            "reviews",
            "--port",
            "0",
            "--grpc-port",
            "0",
        ]
        command += ["--body-timeout", str(BODY_SECONDS), "--drain-seconds", "0", *words]
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return Running(process, int(process.stdout.readline().rpartition(":")[2]))

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def running(start: Callable[..., Running]) -> Running:
    return start()


@pytest.fixture(scope="module")
def of_large_messages(start: Callable[..., Running]) -> Running:
    """A server that reads 16 messages at once, where ``running`` reads 256."""
    return start("--max-text-body-bytes", "16000000")


# --- Frames (RFC 9113), with headers that no table holds (RFC 7541 6.2.2) ---


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + content


def headers(stream: int, path: bytes, *more: tuple[bytes, bytes]) -> bytes:
    reported = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a")]
    reported += [(b"te", b"trailers"), (b"content-type", b"application/grpc"), *more]
    block = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in reported)
    return frame(1, 4, stream, block)


def connect(running: Running) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", running.port), SECONDS)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
    return connection


HALVES = (b"", b"\0\0\0", b"\0\0\0\1\0half")  # nothing, half a length, a length and half a message


def half_open(running: Running, stack: ExitStack, streams: int, path: bytes) -> None:
    """Open ``streams`` requests whose message never becomes whole."""
    for _ in range(streams // STREAMS):
        connection = stack.enter_context(connect(running))
        for stream in range(1, 2 * STREAMS, 2):
            content = HALVES[stream % len(HALVES)]
            connection.sendall(headers(stream, path) + (frame(0, 0, stream, content) if content else b""))


@pytest.mark.parametrize("path", [INFER, CHECK], ids=["inference", "health"])
@pytest.mark.parametrize("server", ["running", "of_large_messages"])
def test_a_thousand_incomplete_requests_block_no_other_client(server: str, path: bytes, request: pytest.FixtureRequest):
    running: Running = request.getfixturevalue(server)
    with ExitStack() as stack:
        half_open(running, stack, 1200, path)
        for _ in range(5):
            assert running.check() == 1
            assert running.infer().outputs
        half_open(running, stack, 1200, path)
        assert running.check() == 1
        assert running.infer().outputs


def received(connection: socket.socket, until: bytes) -> bytes:
    content = b""
    with suppress(TimeoutError, ConnectionResetError):
        while until not in content and (part := connection.recv(65_536)):
            content += part
    return content


def test_half_a_message_is_waited_for_as_long_as_over_http(running: Running):
    with connect(running) as connection:
        connection.sendall(headers(1, INFER) + frame(0, 0, 1, b"\0\0\0\1\0half"))
        reported = received(connection, b"grpc-message")
    assert b"grpc-status\x014" in reported.replace(b"\x0bgrpc-status", b"grpc-status"), "DEADLINE_EXCEEDED"


def test_a_token_is_checked_before_the_message(start: Callable[..., Running]):
    secured = start(TOOLCHAIN_SERVE_TOKENS=TOKEN)
    with connect(secured) as connection:
        connection.sendall(headers(1, INFER))
        assert b"missing or invalid token" in received(connection, b"TOKEN").replace(b"%20", b" ")
    with ExitStack() as stack:
        half_open(secured, stack, 1200, INFER)
        assert secured.check(BODY_SECONDS) == 1


def test_an_end_without_a_message_is_an_invalid_argument(running: Running):
    with running.channel as channel:
        call = channel.stream_unary(INFER.decode())
        with pytest.raises(grpc.RpcError) as refused:
            call(iter(()), timeout=SECONDS)
    assert refused.value.code() == Status.INVALID_ARGUMENT


def test_half_messages_are_held_up_to_a_bound(start: Callable[..., Running]):
    """1,200 requests announce a megabyte each and send nine tenths of it, as far as they may."""
    running = start("--max-inflight-bytes", str(16 * MEBIBYTE))
    before = running.resident
    with ExitStack() as stack:
        for _ in range(12):
            connection = stack.enter_context(connect(running))
            connection.setblocking(False)
            for stream in range(1, 2 * STREAMS, 2):
                reported = headers(stream, INFER) + frame(0, 0, stream, b"\0" + struct.pack(">I", MEBIBYTE - 9))
                with suppress(BlockingIOError):
                    connection.sendall(reported + frame(0, 0, stream, b"a" * 16_000) * 4)
        time.sleep(0.5)
        held = running.resident - before
        assert running.infer(BODY_SECONDS).outputs
    assert held < 200 * MEBIBYTE, "64 KiB of each at most, and what gRPC needs for a request"


def test_excess_and_silent_connections_are_closed(start: Callable[..., Running]):
    running = start("--max-connections", "20")
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port), SECONDS)) for _ in range(60)
        ]
        for connection in silent:
            received(connection, b"never")  # until it is closed
    assert running.infer().outputs


# --- Reading ---
