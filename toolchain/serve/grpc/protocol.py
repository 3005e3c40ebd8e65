"""Serve the Open Inference Protocol v2 over gRPC, in the event loop of the HTTP server, with its limits and metrics.

The specification is https://github.com/kserve/open-inference-protocol. gRPC's health protocol is served too.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Any, NoReturn
from uuid import uuid4

import grpc
import grpc.aio
from google.protobuf.message import DecodeError, Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from open_inference.grpc import protocol

from toolchain.errors import ConfigError
from toolchain.serve.grpc.flow_control import MessageReader
from toolchain.serve.grpc.messages import body_of, metadata_of, response_of
from toolchain.serve.http.inference_protocol import SERVER, describe, infer, named
from toolchain.serve.http.middleware import RequestMiddleware, too_large
from toolchain.serve.problems import Problem, log_location
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.metrics import Stopwatch
from toolchain.serve.versions.router import Router
from toolchain.serve.versions.version import LoadedVersion

INFERENCE, HEALTH = "inference.GRPCInferenceService", "grpc.health.v1.Health"  # names of services
PUBLIC = ("ServerLive", "ServerReady", "Check")  # methods without authentication: they return no rows
IDENTITY_ONLY = 1  # bit set with "identity" only: a small compressed message could expand to gigabytes
MAX_CONCURRENT_STREAMS = 100  # per connection; clients queue further requests (RFC 9113 10.5)
IDLE_TIMEOUT_S = 75.0  # of a connection without requests, as over HTTP
KEEPALIVE_INTERVAL_S, KEEPALIVE_TIMEOUT_S = 60.0, 20.0  # pings detect dead clients
MIN_MESSAGE_BYTES = 64 * 1024  # accepted by gRPC, so that a body above its own limit gets an error message
MIN_CONCURRENT_READS = 16  # messages, even if the limit of bytes allows fewer
MAX_PROBE_READS, PROBE_READ_TIMEOUT_S = 4, 0.1  # a probe without a message is about the whole server
MAX_CONNECTION_AGE_S = 300.0  # clients then reconnect and reach new pods, too; no call is lost
DEADLINE_TOLERANCE_S = 0.05  # the client's deadline expires first: the server measures it from the arrival of the call
CODES = {  # by the equivalent HTTP status
    **dict.fromkeys((400, 415, 422), grpc.StatusCode.INVALID_ARGUMENT),
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    **dict.fromkeys((413, 429), grpc.StatusCode.RESOURCE_EXHAUSTED),
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
Context = grpc.aio.ServicerContext[Any, Any]
IDS = re.compile(r"[!-~]{1,128}")  # request ids that are safe in metadata and logs


async def listen(router: Router, middleware: RequestMiddleware) -> tuple[grpc.aio.Server, int]:
    """Return a gRPC server for ``router``, with the limits of ``middleware``, and its port.

    Raises:
        ConfigError: the port is in use, or the certificate is not valid.
    """
    settings = router.settings
    max_bytes = max(MIN_MESSAGE_BYTES, middleware.max_body_bytes)
    reader = MessageReader(max(MIN_CONCURRENT_READS, settings.max_inflight_bytes // max_bytes), settings.body_timeout)
    server = grpc.aio.server(
        handlers=Protocol(router, middleware, reader).handlers(), options=_options(settings, max_bytes)
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    port = _add_port(server, f"{host}:{settings.grpc_port}", settings)
    await server.start()
    return server, port


def _options(settings: Settings, max_bytes: int) -> list[tuple[str, int]]:
    """Return gRPC's options; a message may have up to ``max_bytes``."""
    seconds = {
        "grpc.server_handshake_timeout_ms": settings.body_timeout,
        "grpc.max_connection_idle_ms": IDLE_TIMEOUT_S,
        "grpc.max_connection_age_ms": MAX_CONNECTION_AGE_S,
        "grpc.max_connection_age_grace_ms": settings.body_timeout + settings.request_timeout,
        "grpc.keepalive_time_ms": KEEPALIVE_INTERVAL_S,
        "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_S,
    }
    return [
        *((name, int(1000 * value)) for name, value in seconds.items()),
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
        ("grpc.so_reuseport", 0),  # otherwise two servers can share a port by mistake
    ]


@dataclass
class Call:
    """One request in progress."""

    context: Context
    id: str
    served: LoadedVersion | None = None  # the version that serves it
    bytes: int = 0
    status: int = 499  # as an HTTP status; 499 until there is a response

    def choose(self, router: Router, version: str) -> LoadedVersion:
        """Return the version that serves the request, held until its end."""
        self.served = router.choose(self.id, version)
        self.served.users += 1
        return self.served


Method = Callable[[Any, Call], Awaitable[Message]]


class Protocol:
    """The methods of the protocol, with the limits of ``middleware``."""

    def __init__(self, router: Router, middleware: RequestMiddleware, reader: MessageReader) -> None:
        self._router, self._middleware, self._reader = router, middleware, reader
        self._probes = 0  # whose messages are being read

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        """Return the handlers of a gRPC server."""
        inference: dict[str, tuple[type[Message], Method]] = {
            "ServerLive": (protocol.ServerLiveRequest, self._server_live),
            "ServerReady": (protocol.ServerReadyRequest, self._server_ready),
            "ModelReady": (protocol.ModelReadyRequest, self._model_ready),
            "ServerMetadata": (protocol.ServerMetadataRequest, self._server_metadata),
            "ModelMetadata": (protocol.ModelMetadataRequest, self._model_metadata),
            "ModelInfer": (protocol.ModelInferRequest, self._model_infer),
        }
        health: dict[str, tuple[type[Message], Method]] = {"Check": (HealthCheckRequest, self._check)}
        return tuple(
            grpc.method_handlers_generic_handler(
                service, {name: self._handler(f"/{service}/{name}", *method) for name, method in methods.items()}
            )
            for service, methods in ((INFERENCE, inference), (HEALTH, health))
        )

    def _handler(self, route: str, kind: type[Message], method: Method) -> "grpc.RpcMethodHandler[bytes, Message]":
        """Return the handler of one method.

        It receives bytes, so that an invalid message gets an error response like any other. It is a stream handler,
        which runs before the message arrives, so that the token is checked first.
        """

        async def handle(messages: object, context: Context) -> Message:
            call = Call(context, _request_id(context))
            watch = Stopwatch()
            self._middleware.in_flight += 1
            try:
                self._check_token(route, call)
                content = await self._content(route, kind, call)
                response = await method(_parsed(kind, content), call)
                call.status = 200
                return response
            except Problem as problem:
                await _reject(call, problem)
            except Exception as error:  # log the location, not the request
                log_location(error)
                await _reject(call, Problem(500, "internal error"))
            finally:
                self._leave(route, call, watch.seconds)

        return grpc.stream_unary_rpc_method_handler(handle, None, _serialized)

    def _check_token(self, route: str, call: Call) -> None:
        given = _metadata(call.context).get("authorization", "")
        if not _is_open(route) and not self._middleware.is_authorized(given.encode()):
            raise Problem(401, "missing or invalid token; send the metadata authorization: Bearer TOKEN")

    async def _content(self, route: str, kind: type[Message], call: Call) -> bytes:
        """Return the bytes of the message."""
        if not kind.DESCRIPTOR.fields:  # empty: respond at once
            return b""
        if _is_open(route):
            return await self._probe_content(call)
        content = await self._reader.read(call.context.read)
        if not isinstance(content, bytes):
            raise Problem(400, "the request has no message")
        if len(content) > self._middleware.max_body_bytes:
            raise Problem(413, too_large(self._middleware.max_body_bytes))
        self._middleware.take(len(content))
        call.bytes = len(content)
        return content

    async def _probe_content(self, call: Call) -> bytes:
        """Return the message of a probe, b"" unless it arrives at once: probes do not wait for each other."""
        if self._probes >= MAX_PROBE_READS:
            return b""
        self._probes += 1
        try:
            async with asyncio.timeout(PROBE_READ_TIMEOUT_S):
                content = await call.context.read()
            return content if isinstance(content, bytes) else b""
        except TimeoutError:
            return b""
        finally:
            self._probes -= 1

    def _leave(self, route: str, call: Call, seconds: float) -> None:
        self._middleware.in_flight -= 1
        self._middleware.held -= call.bytes
        left = call.context.time_remaining()
        if call.status == 499 and left is not None and left <= DEADLINE_TOLERANCE_S:
            call.status = 504  # the client's deadline expired
        self._middleware.count(call.served, route, call.status, seconds)

    async def _server_live(self, request: Any, call: Call) -> Message:
        return protocol.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, call: Call) -> Message:
        return protocol.ServerReadyResponse(ready=not self._router.not_ready_reason)

    async def _model_ready(self, request: Any, call: Call) -> Message:
        served = named(request.name, request.version, self._router)
        return protocol.ModelReadyResponse(ready=not (served.not_ready_reason or self._router.not_ready_reason))

    async def _server_metadata(self, request: Any, call: Call) -> Message:
        return protocol.ServerMetadataResponse(name=SERVER, version=self._router.stable.version)

    async def _model_metadata(self, request: Any, call: Call) -> Message:
        described = describe(named(request.name, request.version, self._router))
        return metadata_of({**described, "versions": self._router.versions})

    async def _model_infer(self, request: Any, call: Call) -> Message:
        named(request.model_name, request.model_version, self._router)
        if IDS.fullmatch(request.id):
            call.id = request.id
        served = call.choose(self._router, request.model_version)
        left = call.context.time_remaining()
        seconds = inf if left is None else left
        response = await infer(body_of(request), served, self._router, call.id, _never, seconds)
        call.context.set_trailing_metadata((("x-request-id", call.id),))
        return response_of(response, bool(request.raw_input_contents), request.id or call.id)

    async def _check(self, request: Any, call: Call) -> Message:
        if request.service not in ("", INFERENCE):
            raise Problem(404, f"service not found; this server serves {INFERENCE}")
        status = "NOT_SERVING" if self._router.not_ready_reason else "SERVING"
        return HealthCheckResponse(status=status)


async def _never() -> None:
    """Never return: gRPC itself cancels a call whose client has disconnected."""
    await asyncio.Event().wait()


def _add_port(server: grpc.aio.Server, address: str, settings: Settings) -> int:
    try:
        if settings.certificate and settings.key:
            pair = settings.key.read_bytes(), settings.certificate.read_bytes()
            return int(server.add_secure_port(address, grpc.ssl_server_credentials([pair])))
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise ConfigError(f"cannot listen for gRPC at {address}: choose another with --grpc-port") from error


def _is_open(route: str) -> bool:
    return route.rpartition("/")[2] in PUBLIC


def _request_id(context: Context) -> str:
    """Return the x-request-id of the metadata if it is valid, else a new id."""
    given = _metadata(context).get("x-request-id", "")
    return given if IDS.fullmatch(given) else uuid4().hex


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _parsed(kind: type[Message], content: bytes) -> Message:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise Problem(400, f"the message is not a valid {kind.DESCRIPTOR.full_name}") from error


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


async def _reject(call: Call, problem: Problem) -> NoReturn:
    """Abort the call with ``problem``."""
    call.status = problem.status
    metadata = [("x-request-id", call.id)]
    if problem.retry_after:  # the HTTP header, and the metadata that gRPC clients read (gRFC A6)
        metadata += [("retry-after", str(problem.retry_after))]
        metadata += [("grpc-retry-pushback-ms", str(1000 * problem.retry_after))]
    code = CODES.get(problem.status, grpc.StatusCode.INTERNAL)
    await call.context.abort(code, problem.detail, tuple(metadata))
    raise AssertionError("gRPC's abort always raises")
