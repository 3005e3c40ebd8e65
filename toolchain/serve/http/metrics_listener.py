"""Serve metrics on a separate port, so that a network policy can allow Prometheus to reach them but not the model."""

import asyncio

from prometheus_client import CONTENT_TYPE_LATEST

from toolchain.serve.http.middleware import RequestMiddleware
from toolchain.serve.versions.router import Router

HEAD_TIMEOUT_S = 5.0
MAX_HEAD_BYTES = 8192
MAX_CONNECTIONS = 16  # Prometheus opens one or two
PATH = b"/metrics"


async def listen(router: Router, middleware: RequestMiddleware) -> tuple[asyncio.Server, int]:
    """Return a server for GET /metrics only, at ``metrics_port`` of the settings, and its port."""
    open_now: set[asyncio.StreamWriter] = set()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        try:
            if len(open_now) <= MAX_CONNECTIONS:
                writer.write(_response(await _path(reader), router, middleware))
                await asyncio.wait_for(writer.drain(), HEAD_TIMEOUT_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the connection is closed: there is no request to respond to
        finally:
            open_now.discard(writer)
            writer.close()

    settings = router.settings
    server = await asyncio.start_server(respond, settings.host, settings.metrics_port, limit=MAX_HEAD_BYTES)
    return server, int(server.sockets[0].getsockname()[1])


async def _path(reader: asyncio.StreamReader) -> bytes:
    """Return the path of a GET request, b"" for other methods."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT_S)
    method, _, rest = head.partition(b" ")
    return rest.partition(b" ")[0].partition(b"?")[0] if method == b"GET" else b""


def _response(path: bytes, router: Router, middleware: RequestMiddleware) -> bytes:
    status, media_type, body = "404 Not Found", "text/plain", b"this port serves GET /metrics only\n"
    if path == PATH:
        status, media_type, body = "200 OK", CONTENT_TYPE_LATEST, router.metrics(middleware.in_flight)
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
