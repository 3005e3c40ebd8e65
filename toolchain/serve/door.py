"""Door: who may ask, how much and how long, before anything else sees a request. It logs nothing of one."""

import asyncio
import hmac
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from toolchain.serve.metrics import Stopwatch
from toolchain.serve.problems import Problem
from toolchain.serve.served import Served

OPEN = ("/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")  # what needs no token: no row passes
PACKAGE = Path(__file__).parents[1]


class Door:
    """An ASGI application around ``app``; ``tokens`` are those of which a caller must bring one, none for all."""

    def __init__(self, app: ASGIApp, served: Served, tokens: Sequence[str] = ()) -> None:
        self._app, self._served, self._tokens = app, served, [token.encode() for token in tokens]
        self.in_flight, self.held = 0, 0  # requests, and bytes of their bodies
        settings = served.settings
        self._most = settings.text_body_bytes if served.takes_texts else settings.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = Passage(self, send)
        self.in_flight += 1
        try:
            self._check(scope)
            await self._app(scope, passage.limited(receive), passage.send)
        except Problem as problem:
            await passage.refuse(scope, receive, problem)
        except Exception as error:  # the application has told the caller; an operator needs the place, not the request
            tell_place(error)
            await passage.refuse(scope, receive, Problem(500, "the server failed on this request"))
        finally:
            self.in_flight -= 1
            self.held -= passage.bytes
            self._served.metrics.request(_route(scope), passage.status, passage.watch.seconds)

    @property
    def most_body_bytes(self) -> int:
        return self._most

    @property
    def body_seconds(self) -> float:
        return self._served.settings.body_seconds

    @property
    def draining(self) -> bool:
        return self._served.draining

    def take(self, size: int) -> None:
        """Hold ``size`` more bytes of bodies, or refuse."""
        if self.held + size > self._served.settings.held_bytes:
            raise Problem(429, "too much is being read already; come again in 1 s", retry_after=1)
        self.held += size

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        if self._tokens and scope["path"] not in OPEN and not self._knows(headers.get(b"authorization", b"")):
            raise Problem(401, "send a known token as Authorization: Bearer TOKEN")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            raise Problem(413, _too_large(self._most))

    def _knows(self, header: bytes) -> bool:
        kind, _, token = header.partition(b" ")
        found = [hmac.compare_digest(token.strip(), known) for known in self._tokens]  # all of them: time tells nothing
        return kind.lower() == b"bearer" and any(found)


class Passage:
    """One request on its way through the door."""

    def __init__(self, door: Door, send: Send) -> None:
        self._door, self._send = door, send
        self.watch, self.bytes, self.status = Stopwatch(), 0, 0

    def limited(self, receive: Receive) -> Receive:
        """Return ``receive`` with an end to the body's size, chunked or not, and to the time that it may take."""
        whole = False

        async def limited() -> Message:
            nonlocal whole
            if whole:
                return await receive()
            left = self._door.body_seconds - self.watch.seconds
            try:
                async with asyncio.timeout(max(0.001, left)):
                    message = await receive()
            except TimeoutError as error:
                seconds = f"{self._door.body_seconds:g}"
                raise Problem(408, f"the body was not whole after {seconds} s; send it faster") from error
            if message["type"] == "http.disconnect":
                raise Problem(499, "the client has gone")
            whole = not message.get("more_body", False)
            self._count(len(message.get("body", b"")))
            return message

        return limited

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._door.draining or self.status in (408, 413):
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, problem: Problem) -> None:
        """Answer with ``problem``, unless an answer is on its way already."""
        if self.status:
            return
        response = problem.response()
        if problem.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        await response(scope, receive, self.send)

    def _count(self, size: int) -> None:
        if self.bytes + size > self._door.most_body_bytes:
            raise Problem(413, _too_large(self._door.most_body_bytes))
        self._door.take(size)
        self.bytes += size


def tell_place(error: BaseException) -> None:
    """Print the kind of ``error`` and where in this package it rose, without its text, which may hold a request's."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    last = frames[-1] if frames else None
    place = f"{Path(last.filename).relative_to(PACKAGE)}:{last.lineno}" if last else "elsewhere"
    print(f"a request failed with {type(error).__name__} at {place}", file=sys.stderr, flush=True)


def _route(scope: Scope) -> str:
    """Return the path's pattern: few values, whatever is asked."""
    return str(getattr(scope.get("route"), "path", "none"))


def _too_large(most: int) -> str:
    return f"the body has more than the {most:,} bytes allowed; send fewer or smaller rows"
