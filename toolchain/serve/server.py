"""Program: load what is to be served, listen, answer, and end so that no request is lost."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from types import FrameType

import uvicorn

from toolchain.errors import ConfigError
from toolchain.serve.http import metrics_listener
from toolchain.serve.http.admission import Admission, connections_within, raise_open_files_limit
from toolchain.serve.http.application import build
from toolchain.serve.http.connection import Connection
from toolchain.serve.http.middleware import RequestMiddleware
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.sampling import Sampler, sampling_of
from toolchain.serve.versions.batching import CLOSE_SECONDS
from toolchain.serve.versions.router import Router, fixed
from toolchain.serve.versions.version import load
from toolchain.serve.versions.watcher import VersionWatcher, told
from toolchain.services.auth import serving_tokens

SECONDS_FOR_THE_LOADER = 0.5  # to see that it is to end
SECONDS_TO_FINISH = 5  # beyond the deadline of requests: for answers on their way out
BACKLOG = 1024  # connections that wait to be accepted
KEEP_ALIVE_SECONDS = 75  # longer than the 60 s that most balancers keep a quiet connection: they close first


def serve(settings: Settings) -> None:
    """Serve what ``settings`` name until SIGTERM or Ctrl-C.

    Raises:
        AbsentError: the repository holds no routing.json.
        ArtifactError: the model's folder is damaged, or nothing here runs it.
        ConfigError: the port is taken, or a file for HTTPS is not there.
    """
    tokens, sampling = serving_tokens(settings.tokens_dir, settings.require_tokens), sampling_of(settings)
    _check_files(settings)
    settings = _within_open_files(settings)
    with _bound(settings.host, settings.port, "--port") as listener:
        if settings.grpc_port:
            _bound(settings.host, settings.grpc_port, "--grpc-port").close()  # gRPC takes no socket, only its number
        if settings.metrics_port:
            _bound(settings.host, settings.metrics_port, "--metrics-port").close()  # refused before the time of loading
        watcher = VersionWatcher(settings) if settings.model_repository else None
        router = watcher.router if watcher else fixed(load(settings))
        router.sampler = Sampler(sampling) if sampling else None
        middleware = build(router, tokens, watcher)
        listener.listen(BACKLOG)  # whoever reads the line and asks at once waits a moment, and is not refused
        _tell(router, listener, middleware)
        DrainingServer(_config(middleware, settings), router, middleware).run(sockets=[listener])
    print("ended: every request that came was answered", flush=True)
    if router.is_at_work or (watcher and watcher.is_at_work(SECONDS_FOR_THE_LOADER)):
        sys.stderr.flush()
        os._exit(0)  # a thread within a library cannot be ended otherwise, and nobody wants what it makes any more


class DrainingServer(uvicorn.Server):
    """A server that, told to end by SIGTERM, answers for a while yet: until balancers know that it is going."""

    def __init__(self, config: uvicorn.Config, router: Router, middleware: RequestMiddleware) -> None:
        super().__init__(config)
        self._router, self._middleware = router, middleware
        self._stop_grpc: Callable[[float], Awaitable[None]] | None = None
        self._metrics: asyncio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._listen(sockets or [])
        if self._router.settings.grpc_port is not None:
            from toolchain.serve.grpc.protocol import listen  # here: it takes a while, and most serve without it

            server, port = await listen(self._router, self._middleware)
            self._stop_grpc = server.stop
            print(f"gRPC at {_shown(self._router.settings.host)}:{port}", flush=True)
        if self._router.settings.metrics_port is not None:
            self._metrics, port = await metrics_listener.listen(self._router, self._middleware)
            print(f"metrics at {_shown(self._router.settings.host)}:{port}", flush=True)

    async def _listen(self, sockets: list[socket.socket]) -> None:
        """Do as uvicorn's startup does, with an end to the time for a TLS handshake, which is 60 s there."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(uvicorn.config.STARTUP_FAILURE)
        config, state = self.config, self.lifespan.state

        def connection() -> asyncio.Protocol:
            made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]  # it is a partial
                config=config, server_state=self.server_state, app_state=state
            )
            return made

        seconds = self._router.settings.body_timeout if config.ssl else None
        listen = partial(asyncio.get_running_loop().create_server, connection, ssl=config.ssl, backlog=config.backlog)
        self.servers = [await listen(sock=one, ssl_handshake_timeout=seconds) for one in sockets]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        clock = threading.Timer(_seconds_to_finish(self._router.settings) + CLOSE_SECONDS + SECONDS_TO_FINISH, _give_up)
        clock.daemon = True
        clock.start()
        if self._stop_grpc:
            await self._stop_grpc(_seconds_to_finish(self._router.settings))
        if self._metrics:
            self._metrics.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._router.draining or sig == signal.SIGINT:  # told twice, or by a person who waits
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
            return
        seconds = self._router.settings.drain_seconds
        self._router.draining = True
        print(f"told to end: not ready any more, answering for {seconds:g} s yet", flush=True)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _give_up() -> None:
    """End the process although something of it has not ended."""
    os.write(2, b"ended: something still ran when its time was over\n")  # print may be under way in another thread
    os._exit(1)


def _check_files(settings: Settings) -> None:
    for file in (settings.certificate, settings.key):
        if file and not file.is_file():
            raise ConfigError(f"{file} is not there; HTTPS needs a certificate and its key as PEM files")


def _within_open_files(settings: Settings) -> Settings:
    """Return ``settings`` with as many connections as this process may have open files for."""
    open_files, listeners = raise_open_files_limit(), 1 if settings.grpc_port is None else 2
    listeners += 0 if settings.metrics_port is None else 1
    connections = connections_within(open_files, settings.max_connections, listeners)
    if connections < settings.max_connections:
        limited = f"max_connections is {connections}, not {settings.max_connections}"
        print(f"{limited}: the limit of open files is {open_files}; raise `ulimit -n`", file=sys.stderr, flush=True)
    return replace(settings, max_connections=connections)


def _bound(host: str, port: int, option: str) -> socket.socket:
    """Return a socket at the address that ``option`` names, before the time of loading is spent."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise ConfigError(f"cannot listen at {host} port {port}: {why}; name another with {option}") from error
    return listener


def _config(middleware: RequestMiddleware, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        middleware,
        http=partial(Connection, settings, Admission(settings.max_connections)),  # type: ignore[arg-type]  # uvicorn only calls it
        log_level="error",
        access_log=False,  # nothing of a request is logged
        lifespan="on",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_seconds_to_finish(settings),
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def _seconds_to_finish(settings: Settings) -> int:
    return int(settings.request_timeout) + SECONDS_TO_FINISH


def _shown(host: str) -> str:
    """Return an address that can be asked for one that is listened at."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _tell(router: Router, listener: socket.socket, middleware: RequestMiddleware) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "https" if router.settings.certificate else "http"
    what = told(router.routing, router.roles) if router.routing else router.name
    state = f"{what}; {router.unready or router.stable.parity.told}; authentication: {middleware.authentication}"
    begins, stream = ("not ready", sys.stderr) if router.unready else ("ready", sys.stdout)
    print(f"{begins}: {scheme}://{_shown(host)}:{port}/docs  ({state})", file=stream, flush=True)
