"""Connection: what a client may do before a request is whole enough for the door, in size and in time.

uvicorn alone would wait for ever for the head of a request, and hold as much of it as is sent.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from toolchain.serve.problems import Problem
from toolchain.serve.settings import Settings

HEAD_BYTES = 64 * 1024  # of a request line and headers; four times what common clients and balancers send at most
FULL = "toolchain.full"  # in a request's state: whether too many connections are open
TOO_LARGE = Problem(431, f"the request's head has more than the {HEAD_BYTES:,} bytes allowed; send fewer headers")
NO_REQUEST = Problem(400, "this is no HTTP request")


class Connection(HttpToolsProtocol):
    """uvicorn's connection with an end to everything that it waits for. Its arguments are uvicorn's, but for:

    Args:
        settings: The server's; ``body_seconds`` is the time for a head too, ``connections`` how many may be open.
    """

    def __init__(self, settings: Settings, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._settings = settings
        self._in_head, self._begun, self._head_bytes = False, 0, 0  # begun: requests
        self._waiting: asyncio.TimerHandle | None = None  # for a head, for the rest of a body, or to be read from
        self._running: RequestResponseCycle | None = None  # what is answered, while others may have come after it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._wait(self.timeout_keep_alive)  # as one that is idle between requests

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        if self._running:  # uvicorn tells only the one that came last that nobody listens any more
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        begun = self._begun
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            self._wait_for_head(0 if self._begun > begun else len(data))
        elif not self._answering and not self.timeout_keep_alive_task and not self._waiting:
            self._wait()  # the rest of a body whose request was answered already

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._begun += 1

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._wait_no_more()
        self.scope["state"][FULL] = len(self.connections) > self._settings.connections
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if not self._answering:  # its answer came before its end; from now on the connection is idle
            self._wait_no_more()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._in_head:
            self._wait_no_more()

    def send_400_response(self, msg: str) -> None:
        self._refuse(NO_REQUEST)

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self, size: int) -> None:
        """Go on waiting for a head of which ``size`` more bytes came; 0: it has only begun."""
        self._head_bytes += size
        if not size:
            self._wait()
        elif self._head_bytes > HEAD_BYTES:
            self._refuse(TOO_LARGE)

    def _wait(self, seconds: float = 0.0) -> None:
        self._wait_no_more()
        self._waiting = self.loop.call_later(seconds or self._settings.body_seconds, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting:
            self._waiting.cancel()
        self._waiting = None

    def _give_up(self) -> None:
        """End a connection that nothing comes from, unless a request of it is being answered and can be written."""
        self._waiting = None
        if not self._answering or self.flow.write_paused:
            self.transport.abort()
        else:
            self._wait()

    def _refuse(self, problem: Problem) -> None:
        """Answer with ``problem`` what never became a request, and close."""
        response = problem.response()
        response.headers["Connection"] = "close"
        head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
        first = f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}\r\n".encode()
        self.transport.write(first + head + b"\r\n" + bytes(response.body))
        self.transport.close()
