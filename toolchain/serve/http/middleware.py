"""Authenticate requests and limit their size and time before the application sees them. No request is logged."""

import asyncio
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolchain.serve.http.connection import CONNECTION, Connection
from toolchain.serve.http.content_encoding import GZIP, GzipDecoder, check_encoding
from toolchain.serve.http.origins import AllowedHosts, check_site
from toolchain.serve.http.response_headers import security_headers
from toolchain.serve.problems import Problem, log_location
from toolchain.serve.telemetry.metrics import Stopwatch
from toolchain.serve.versions.router import STABLE, Router
from toolchain.serve.versions.version import LoadedVersion

PUBLIC = (  # routes without authentication: they return no rows
    "/healthz",
    "/livez",
    "/readyz",
    "/metrics",
    "/v2/health/live",
    "/v2/health/ready",
)
REQUEST_ID, SERVED = "toolchain.request_id", "toolchain.served"  # keys of a request's scope
IDS = re.compile(rb"[!-~]{1,128}")  # request ids that are safe in headers and logs


class RequestMiddleware:
    """ASGI middleware around ``app``; a request needs one of ``tokens``, if there are any."""

    def __init__(self, app: ASGIApp, router: Router, tokens: Sequence[str] = ()) -> None:
        self._app, self._router, self._tokens = app, router, [token.encode() for token in tokens]
        self._hosts = AllowedHosts(router.settings.host_names, router.settings.host)
        self.in_flight, self.held = 0, 0  # requests, and bytes of their bodies
        self.authentication = "tokens" if tokens else "none"  # required of clients
        router.exposition.authentication(bool(tokens))
        self.direct: Mapping[str, Route] = {}  # by path: routes called without FastAPI's routing, which is slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = Exchange(self, scope, send, request_id(headers))
        if scope["method"] == "HEAD":  # handled like GET, without the body in the response
            scope = {**scope, "method": "GET"}
        scope[REQUEST_ID], scope[SERVED] = exchange.id, None
        self.in_flight += 1
        try:
            self._check(scope, headers)
            await self._dispatch(scope, exchange.limited(receive, headers), exchange.send)
        except Problem as problem:
            await exchange.reject(scope, receive, problem)
        except Exception as error:  # the client has its response; log the location only
            log_location(error)
            await exchange.reject(scope, receive, Problem(500, "internal error"))
        finally:
            self.in_flight -= 1
            self.held -= exchange.bytes
            route, seconds = _route(scope), exchange.watch.seconds
            soon(lambda: self.count(scope[SERVED], route, exchange.status, seconds))

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, or the endpoint directly: FastAPI's routing would double the cost of a request."""
        route = self.direct.get(scope["path"])
        if route is None or scope["method"] not in (route.methods or ()):
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        response: Response = await route.endpoint(Request(scope, receive))
        await response(scope, receive, send)

    @property
    def max_body_bytes(self) -> int:
        return self._router.max_body_bytes

    @property
    def body_timeout(self) -> float:
        return self._router.settings.body_timeout

    @property
    def draining(self) -> bool:
        return self._router.draining

    def take(self, size: int) -> None:
        """Reserve ``size`` bytes for a body; the caller subtracts them from ``held`` at the end."""
        if self.held + size > self._router.settings.max_inflight_bytes:
            raise Problem(429, "too many bytes in flight; retry in 1 s", retry_after=1)
        self.held += size

    def _check(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        self._hosts.check(headers)
        connection = _connection(scope)
        if connection and connection.is_extra and scope["path"] not in PUBLIC:
            raise Problem(429, "too many open connections; retry in 1 s", retry_after=1)
        if scope["path"] not in PUBLIC and not self.is_authorized(headers.get(b"authorization", b"")):
            raise Problem(401, "missing or invalid token; send Authorization: Bearer TOKEN")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self.max_body_bytes:
            raise Problem(413, too_large(self.max_body_bytes))
        check_site(scope["method"], headers)
        check_encoding(headers.get(b"content-encoding", b""))

    def is_authorized(self, authorization: bytes) -> bool:
        """Return whether the value of an Authorization header is valid."""
        scheme, _, token = authorization.partition(b" ")
        found = [hmac.compare_digest(token.strip(), known) for known in self._tokens]  # compare all, in constant time
        return not self._tokens or (scheme.lower() == b"bearer" and any(found))

    def count(self, served: LoadedVersion | None, route: str, status: int, seconds: float) -> None:
        """Release ``served`` and count the request as its own, or as the stable version's if none was chosen."""
        if served:
            served.users -= 1
        if served := served or self._router.roles.get(STABLE):
            served.metrics.request(route, status, seconds)


class Exchange:
    """One request and its response."""

    def __init__(self, middleware: RequestMiddleware, scope: Scope, send: Send, id_: str) -> None:
        self._middleware, self._send, self.id = middleware, send, id_
        self._connection, self._is_head = _connection(scope), scope["method"] == "HEAD"
        self._security_headers = security_headers(scope["path"])
        self.watch, self.bytes, self.status = Stopwatch(), 0, 0

    def limited(self, receive: Receive, headers: Mapping[bytes, bytes]) -> Receive:
        """Return ``receive`` with limits on the body's size, chunked or not, and on its duration."""
        whole = False
        encoding = headers.get(b"content-encoding")
        decoder = GzipDecoder() if encoding and encoding.strip().lower() in GZIP else None

        async def limited() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            left = self._middleware.body_timeout - self.watch.seconds
            try:
                async with asyncio.timeout(max(0.001, left)):
                    message = await receive()
            except TimeoutError as error:
                seconds = f"{self._middleware.body_timeout:g}"
                raise Problem(408, f"the body was incomplete after {seconds} s") from error
            if message["type"] == "http.disconnect":
                raise Problem(499, "the client closed the connection")
            whole = not message.get("more_body", False)
            if decoder:
                message["body"] = decoder.decode(
                    message.get("body", b""), self._middleware.max_body_bytes - self.bytes + 1
                )
            self._count(len(message.get("body", b"")))
            if decoder and whole:
                decoder.check_end()
            return message

        return limited

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            added = [(b"x-request-id", self.id.encode()), *self._security_headers]
            message["headers"] = [*message.get("headers", []), *added]
            if self._middleware.draining or self._is_last or self.status in (408, 413):
                message["headers"].append((b"connection", b"close"))
        elif self._is_head:
            message["body"] = b""
        await self._send(message)

    @property
    def _is_last(self) -> bool:
        """Whether to close the connection: it is reserved for probes, or the rest of a body would follow."""
        return self._connection is not None and (self._connection.is_extra or not self._connection.is_received)

    async def reject(self, scope: Scope, receive: Receive, problem: Problem) -> None:
        """Respond with ``problem``, unless a response has started."""
        if self.status:
            return
        response = problem.response()
        if problem.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, self.send)

    def _count(self, size: int) -> None:
        if self.bytes + size > self._middleware.max_body_bytes:
            raise Problem(413, too_large(self._middleware.max_body_bytes))
        self._middleware.take(size)
        self.bytes += size


def soon(note: Callable[[], None]) -> None:
    """Call ``note`` after the response is sent: clients do not wait for our bookkeeping."""

    def noted() -> None:
        try:
            note()
        except Exception as error:  # the response was sent; log the location
            log_location(error)

    asyncio.get_running_loop().call_soon(noted)


def request_id(headers: Mapping[bytes, bytes]) -> str:
    """Return the X-Request-Id header if it is valid, else a new id."""
    given = headers.get(b"x-request-id", b"")
    return given.decode() if IDS.fullmatch(given) else uuid4().hex


def _connection(scope: Scope) -> Connection | None:
    found: Connection | None = scope.get("state", {}).get(CONNECTION)
    return found


def _route(scope: Scope) -> str:
    """Return the pattern of the path, which bounds the number of label values."""
    return str(getattr(scope.get("route"), "path", "none"))


def too_large(max_bytes: int) -> str:
    return f"the body is larger than {max_bytes:,} bytes; send fewer or smaller rows"
