"""Handle one client connection, with limits on size and time before a request reaches the middleware.

Requests are processed one at a time. During a request, at most one further read is buffered; then reading is paused,
and later data stays in the kernel. Every wait has a timeout, also where uvicorn has none.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from toolchain.serve.http.admission import PROBE_TIMEOUT_S, Admission
from toolchain.serve.http.flow_control import Flow
from toolchain.serve.http.framing import MAX_HEAD_BYTES, Framing, FramingError, HeadTooLargeError
from toolchain.serve.http.request_head import body_length, check_version, origin_form
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings

CONNECTION = "toolchain.connection"  # key of the Connection in a request's state
MAX_HEADERS = 200  # per request; browsers send some 20, and proxies add a few
MAX_EMPTY_BYTES = 64  # of empty lines before a request
# Read on for a while after a rejection: a client that is still sending would otherwise not see the response.
LINGER_TIMEOUT_S, MAX_LINGER_BYTES = 2.0, 64 * 1024**2
HEAD_TOO_LARGE = 431, f"more than {MAX_HEAD_BYTES:,} bytes of headers, or {MAX_HEADERS} headers; send fewer"
NOT_HTTP = 400, "the request is not valid HTTP/1.1"
CONNECT_NOT_SUPPORTED = 501, "the method CONNECT is not supported"
UPGRADE = (b"upgrade", b"http2-settings")


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits.

    Args:
        settings: The server's settings; ``body_timeout`` applies to the head, too.
        admission: Limits the open connections; shared by all of them.
        args, named: uvicorn's arguments.
    """

    flow: Flow

    def __init__(self, settings: Settings, admission: Admission, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._settings, self._admission = settings, admission
        self.is_extra = False  # opened beyond the limit
        self._framing, self._rest = Framing(), b""  # data after the last parsed part
        self._head_parsed, self._parsed = False, False  # according to the parser
        self._length: int | None = 0  # of the body; None: chunked
        self._start: tuple[RequestResponseCycle, Any] | None = None  # a request whose head has just been parsed
        self._lingering, self._discarded = False, 0  # bytes
        self._timer: asyncio.TimerHandle | None = None  # while waiting for a head, or for the client to read

    @property
    def is_busy(self) -> bool:
        """Whether a request is in progress."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_received(self) -> bool:
        """Whether the whole request has arrived."""
        return self._framing.done

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.is_extra = len(self.connections) > self._admission.limit
        self._set_timer(PROBE_TIMEOUT_S if self.is_extra else self.timeout_keep_alive)
        if self.is_extra:
            self._admission.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_timer()
        self._rest = b""
        self._admission.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded += len(data)
            if self._discarded > MAX_LINGER_BYTES:
                self.abort()
            return
        self._unset_keepalive_if_required()
        self._process(self._rest + data if self._rest else data)

    def _process(self, data: bytes) -> None:
        """Parse ``data`` up to the end of a request that is in progress, and buffer the rest."""
        start = 0
        try:
            while start < len(data) and not (self._framing.done and self.is_busy):
                end = self._parse_part(data, start)
                if end == start:
                    break
                start = end
        except FramingError:
            self._reject(Problem(*NOT_HTTP))
        except HeadTooLargeError:
            self._reject(Problem(*HEAD_TOO_LARGE))
        except Problem as problem:
            self._reject(problem)
        else:
            self._buffer(data[start:])

    def _parse_part(self, data: bytes, start: int) -> int:
        """Parse the part of a request at ``start`` and return its end; ``start`` if more data is needed."""
        if self._framing.done:
            self._framing.begin()
            self._head_parsed = self._parsed = False
        if not self._framing.begun:
            if data[start] in b"\r\n":
                return _end_of_empty_lines(data, start)
            if not self.is_extra:
                self._set_timer()
        end = self._framing.part_end(data, start)
        if end > start:
            self._parse(data[start:end])
        return end

    def _parse(self, part: bytes) -> None:
        """Parse ``part`` and check that the parser finds the same boundaries as the framing."""
        try:
            self.parser.feed_data(part)
        except httptools.HttpParserUpgrade:
            self._parse_without_upgrade()
        except httptools.HttpParserError as error:
            raise error.__context__ if isinstance(error.__context__, Problem) else FramingError() from error
        if self._head_parsed == self._framing.in_head:
            raise FramingError
        start, self._start = self._start, None
        if start:
            self._framing.expect_body(self._length)
        if self._parsed != self._framing.done:
            raise FramingError
        if start:
            super()._start_asgi_task(*start)

    def _parse_without_upgrade(self) -> None:
        """Parse the head again without its Upgrade header, which a server may ignore (RFC 9110 7.8)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise Problem(*CONNECT_NOT_SUPPORTED)
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in UPGRADE]
        self.parser = httptools.HttpRequestParser(self)
        self._head_parsed = self._parsed = False
        try:
            self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        except httptools.HttpParserError as error:
            raise error.__context__ if isinstance(error.__context__, Problem) else FramingError() from error

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_parsed:  # a trailer, which may be ignored (RFC 9110 6.5.1)
            return
        if len(self.headers) >= MAX_HEADERS:
            raise Problem(*HEAD_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_parsed = True
        if self.parser.should_upgrade():
            return
        self._cancel_timer()
        version = self.parser.get_http_version()
        check_version(version)
        self.url = origin_form(self.url, self.headers)
        self._length = body_length(self.headers, version)
        self.expect_100_continue &= version != "1.0"
        self.scope["state"][CONNECTION] = self
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = ResponseTransport(self)  # type: ignore[assignment]  # the part of it that responses use
        self._start = cycle, app

    def on_message_complete(self) -> None:
        self._parsed = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.is_received:
            self.close_gracefully()
        if self._lingering:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._rest:
            self.loop.call_soon(self._resume)

    def _buffer(self, rest: bytes) -> None:
        """Keep ``rest`` until more data arrives, or until the request before it has its response."""
        self._rest = rest
        if rest and self.is_received:
            self.flow.hold()
        elif not self.is_busy and not self._timer:
            self._set_timer()

    def _resume(self) -> None:
        """Process the data that arrived during a request."""
        if self._lingering or self.transport.is_closing() or not self._rest:
            return
        self._unset_keepalive_if_required()
        rest, self._rest = self._rest, b""
        self._process(rest)
        if not (self._rest and self.is_received):
            self.flow.release()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_timer()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._lingering and not (self._framing.begun and self._framing.in_head):
            self._cancel_timer()

    def _set_timer(self, seconds: float = 0.0) -> None:
        self._cancel_timer()
        self._timer = self.loop.call_later(seconds or self._settings.body_timeout, self._on_timeout)

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _on_timeout(self) -> None:
        """Abort an idle connection, unless a request is in progress and its response can be written."""
        self._timer = None
        if self._lingering or not self.is_busy or self.flow.write_paused:
            self.abort()
        else:
            self._set_timer()

    def _reject(self, problem: Problem) -> None:
        """Respond with ``problem`` to a request that is not valid or not complete, and close."""
        self._start = None
        if self.is_busy:
            self.cycle.disconnected = True  # ends the reading of its body
            self.cycle.message_event.set()
        if not self.is_busy or not self.cycle.response_started:
            response = problem.response()
            response.headers["Connection"] = "close"
            head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
            first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
            self.transport.write(first + head + b"\r\n" + bytes(response.body))
        self.close_gracefully()

    def close_gracefully(self) -> None:
        """Close, but first read and discard incoming data for a while: a reset would destroy the last response."""
        if self._lingering or self.transport.is_closing():
            return
        if self.is_received and not self._rest:
            self.transport.close()
            return
        self._lingering, self._rest = True, b""
        self._set_timer(LINGER_TIMEOUT_S)
        self.flow.release()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _end_of_empty_lines(data: bytes, begin: int) -> int:
    """Return the end of the empty lines before a request; a few are allowed (RFC 9112 2.2)."""
    end = len(data) - len(data[begin:].lstrip(b"\r\n"))
    if end - begin > MAX_EMPTY_BYTES:
        raise FramingError
    return end


class ResponseTransport:
    """The part of a transport that responses use; it closes the connection gracefully."""

    def __init__(self, connection: Connection) -> None:
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing
        self.close = connection.close_gracefully
