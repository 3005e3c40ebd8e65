"""Handle one client connection, with limits on size and time before a request reaches the middleware.

Requests are taken one at a time. While one is answered, at most one read of what follows it is kept and reading stops:
the rest waits in the kernel. Everything that uvicorn would wait for without end has a deadline here.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from toolchain.serve.http.admission import EXTRA_SECONDS, Admission
from toolchain.serve.http.flow_control import Flow
from toolchain.serve.http.framing import HEAD_BYTES, Framing, FramingError, HeadTooLargeError
from toolchain.serve.http.request_head import body_length, check_version, origin_form
from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings

CONNECTION = "toolchain.connection"  # in a request's state: the Connection that it came by
MAX_HEADERS = 200  # of a request; browsers send some 20, and proxies add a few
MAX_EMPTY_BYTES = 64  # of empty lines before a request
LINGER_SECONDS, LINGER_BYTES = 2.0, 64 * 1024**2  # to read on after a refusal: who still sends would not see it else
TOO_LARGE = 431, f"the request's head has more than {HEAD_BYTES:,} bytes or {MAX_HEADERS} headers; send fewer headers"
NO_REQUEST = 400, "this is no HTTP request"
NO_TUNNEL = 501, "this server opens no tunnels"
UPGRADE = (b"upgrade", b"http2-settings")


class Connection(HttpToolsProtocol):
    """uvicorn's connection with limits. Its arguments are uvicorn's, but for:

    Args:
        settings: The server's; ``body_timeout`` is the time for a head too.
        admission: How many connections may be open; shared by all of them.
    """

    flow: Flow

    def __init__(self, settings: Settings, admission: Admission, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._settings, self._admission = settings, admission
        self.full = False  # whether it came when too many were open
        self._framing, self._rest = Framing(), b""  # what came after the part that was parsed last
        self._head_parsed, self._parsed = False, False  # as the parser sees it
        self._length: int | None = 0  # of the body, None for one in chunks
        self._start: tuple[RequestResponseCycle, Any] | None = None  # a request whose head was parsed just now
        self._lingering, self._discarded = False, 0  # bytes
        self._waiting: asyncio.TimerHandle | None = None  # for a head, or to be read from

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def whole(self) -> bool:
        """Whether all of the request has come."""
        return self._framing.done

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.full = len(self.connections) > self._admission.limit
        self._wait(EXTRA_SECONDS if self.full else self.timeout_keep_alive)
        if self.full:
            self._admission.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        self._rest = b""
        self._admission.remove(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._lingering:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.abort()
            return
        self._unset_keepalive_if_required()
        self._take(self._rest + data if self._rest else data)

    def _take(self, data: bytes) -> None:
        """Parse ``data`` up to the end of a request that is not answered yet, and keep the rest."""
        at = 0
        try:
            while at < len(data) and not (self._framing.done and self.busy):
                end = self._part_end(data, at)
                if end == at:
                    break
                at = end
        except FramingError:
            self._reject(Problem(*NO_REQUEST))
        except HeadTooLargeError:
            self._reject(Problem(*TOO_LARGE))
        except Problem as problem:
            self._reject(problem)
        else:
            self._keep(data[at:])

    def _part_end(self, data: bytes, at: int) -> int:
        """Parse the part of a request that starts at ``at``, and return its end; ``at`` when more must come first."""
        if self._framing.done:
            self._framing.begin()
            self._head_parsed = self._parsed = False
        if not self._framing.begun:
            if data[at] in b"\r\n":
                return _end_of_empty_lines(data, at)
            if not self.full:
                self._wait()
        end = self._framing.part_end(data, at)
        if end > at:
            self._parse(data[at:end])
        return end

    def _parse(self, part: bytes) -> None:
        """Parse ``part``, which ends where the framing says that something ends; the parser must see it so too."""
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
        """Parse the head again without its wish for another protocol, which may be ignored (RFC 9110 7.8)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise Problem(*NO_TUNNEL)
        lines = [b"%s %s HTTP/%s" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in UPGRADE]
        self.parser = httptools.HttpRequestParser(self)
        self._head_parsed = self._parsed = False
        try:
            self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
        except httptools.HttpParserError as error:
            raise error.__context__ if isinstance(error.__context__, Problem) else FramingError() from error

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_parsed:  # a trailer: nothing here reads any (RFC 9110 6.5.1)
            return
        if len(self.headers) >= MAX_HEADERS:
            raise Problem(*TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_parsed = True
        if self.parser.should_upgrade():
            return
        self._wait_no_more()
        version = self.parser.get_http_version()
        check_version(version)
        self.url = origin_form(self.url, self.headers)
        self._length = body_length(self.headers, version)
        self.expect_100_continue &= version != "1.0"
        self.scope["state"][CONNECTION] = self
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.transport = Outgoing(self)  # type: ignore[assignment]  # what a response needs of one
        self._start = cycle, app

    def on_message_complete(self) -> None:
        self._parsed = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if not self.whole:
            self.close_gently()
        if self._lingering:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        if self._rest:
            self.loop.call_soon(self._resume)

    def _keep(self, rest: bytes) -> None:
        """Keep ``rest`` until more comes, or until the request before it is answered."""
        self._rest = rest
        if rest and self.whole:
            self.flow.hold()
        elif not self.busy and not self._waiting:
            self._wait()

    def _resume(self) -> None:
        """Go on with what came while a request was answered."""
        if self._lingering or self.transport.is_closing() or not self._rest:
            return
        self._unset_keepalive_if_required()
        rest, self._rest = self._rest, b""
        self._take(rest)
        if not (self._rest and self.whole):
            self.flow.release()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._lingering and not (self._framing.begun and self._framing.in_head):
            self._wait_no_more()

    def _wait(self, seconds: float = 0.0) -> None:
        self._wait_no_more()
        self._waiting = self.loop.call_later(seconds or self._settings.body_timeout, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting:
            self._waiting.cancel()
        self._waiting = None

    def _give_up(self) -> None:
        """End a connection that nothing comes from, unless a request of it is being answered and can be written."""
        self._waiting = None
        if self._lingering or not self.busy or self.flow.write_paused:
            self.abort()
        else:
            self._wait()

    def _reject(self, problem: Problem) -> None:
        """Answer with ``problem`` what is no whole request, and close."""
        self._start = None
        if self.busy:
            self.cycle.disconnected = True  # whoever reads its body hears that no more comes
            self.cycle.message_event.set()
        if not self.busy or not self.cycle.response_started:
            response = problem.response()
            response.headers["Connection"] = "close"
            head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
            first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
            self.transport.write(first + head + b"\r\n" + bytes(response.body))
        self.close_gently()

    def close_gently(self) -> None:
        """Close, but read and drop for a while what is still being sent: a reset would destroy the last response."""
        if self._lingering or self.transport.is_closing():
            return
        if self.whole and not self._rest:
            self.transport.close()
            return
        self._lingering, self._rest = True, b""
        self._wait(LINGER_SECONDS)
        self.flow.release()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _end_of_empty_lines(data: bytes, begin: int) -> int:
    """Return the end of the empty lines before a request, of which a few are allowed (RFC 9112 2.2)."""
    end = len(data) - len(data[begin:].lstrip(b"\r\n"))
    if end - begin > MAX_EMPTY_BYTES:
        raise FramingError
    return end


class Outgoing:
    """The transport as a response sees it."""

    def __init__(self, connection: Connection) -> None:
        self.write, self.is_closing = connection.transport.write, connection.transport.is_closing
        self.close = connection.close_gently
