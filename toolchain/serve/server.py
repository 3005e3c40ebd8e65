"""Run the server: load, listen, serve, and shut down without losing a request."""

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
from toolchain.serve.telemetry.sampling import Sampler, sampling_settings
from toolchain.serve.versions.batching import CLOSE_TIMEOUT_S
from toolchain.serve.versions.router import Router, static_router
from toolchain.serve.versions.version import load
from toolchain.serve.versions.watcher import VersionWatcher, describe
from toolchain.services.auth import serving_tokens

WATCHER_STOP_TIMEOUT_S = 0.5
FLUSH_TIMEOUT_S = 5  # after the request timeout, for responses being sent
BACKLOG = 1024  # connections waiting to be accepted
KEEP_ALIVE_TIMEOUT_S = 75  # longer than the 60 s of most load balancers, so that they close first


def serve(settings: Settings) -> None:
    """Serve the model or model repository of ``settings`` until SIGTERM or Ctrl-C.

    Raises:
        NotFoundError: the repository has no routing.json.
        ArtifactError: the model's folder is damaged, or no installed runtime runs it.
        ConfigError: a port is in use, or a TLS file is missing.
    """
    tokens, sampling = serving_tokens(settings.tokens_dir, settings.require_tokens), sampling_settings(settings)
    _check_files(settings)
    settings = _within_open_files(settings)
    with _bound(settings.host, settings.port, "--port") as listener:
        if settings.grpc_port:
            _bound(settings.host, settings.grpc_port, "--grpc-port").close()  # gRPC takes a port number, not a socket
        if settings.metrics_port:
            _bound(settings.host, settings.metrics_port, "--metrics-port").close()  # fail before loading
        watcher = VersionWatcher(settings) if settings.model_repository else None
        router = watcher.router if watcher else static_router(load(settings))
        router.sampler = Sampler(sampling) if sampling else None
        middleware = build(router, tokens, watcher)
        listener.listen(BACKLOG)  # from the ready line on, connections wait instead of failing
        _print_ready(router, listener, middleware)
        DrainingServer(_config(middleware, settings), router, middleware).run(sockets=[listener])
    print("shutdown complete: all requests were served", flush=True)
    if router.is_busy or (watcher and watcher.is_busy(WATCHER_STOP_TIMEOUT_S)):
        sys.stderr.flush()
        os._exit(0)  # a thread inside a library cannot be stopped otherwise


class DrainingServer(uvicorn.Server):
    """A uvicorn server that keeps serving after SIGTERM until load balancers have noticed that it is not ready."""

    def __init__(self, config: uvicorn.Config, router: Router, middleware: RequestMiddleware) -> None:
        super().__init__(config)
        self._router, self._middleware = router, middleware
        self._stop_grpc: Callable[[float], Awaitable[None]] | None = None
        self._metrics: asyncio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._listen(sockets or [])
        if self._router.settings.grpc_port is not None:
            from toolchain.serve.grpc.protocol import listen  # slow to import, and optional

            server, port = await listen(self._router, self._middleware)
            self._stop_grpc = server.stop
            print(f"gRPC at {_reachable(self._router.settings.host)}:{port}", flush=True)
        if self._router.settings.metrics_port is not None:
            self._metrics, port = await metrics_listener.listen(self._router, self._middleware)
            print(f"metrics at {_reachable(self._router.settings.host)}:{port}", flush=True)

    async def _listen(self, sockets: list[socket.socket]) -> None:
        """Start as uvicorn does, with a shorter timeout for TLS handshakes than its 60 s."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(uvicorn.config.STARTUP_FAILURE)
        config, state = self.config, self.lifespan.state

        def connection() -> asyncio.Protocol:
            protocol: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]  # it is a partial
                config=config, server_state=self.server_state, app_state=state
            )
            return protocol

        seconds = self._router.settings.body_timeout if config.ssl else None
        listen = partial(asyncio.get_running_loop().create_server, connection, ssl=config.ssl, backlog=config.backlog)
        self.servers = [await listen(sock=listener, ssl_handshake_timeout=seconds) for listener in sockets]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        timer = threading.Timer(
            _graceful_timeout_s(self._router.settings) + CLOSE_TIMEOUT_S + FLUSH_TIMEOUT_S, _exit_forcibly
        )
        timer.daemon = True
        timer.start()
        if self._stop_grpc:
            await self._stop_grpc(_graceful_timeout_s(self._router.settings))
        if self._metrics:
            self._metrics.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._router.draining or sig == signal.SIGINT:  # a second signal, or Ctrl-C
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
            return
        seconds = self._router.settings.drain_seconds
        self._router.draining = True
        print(f"SIGTERM received, draining for {seconds:g} s.", flush=True)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _exit_forcibly() -> None:
    """Exit although a thread is still running."""
    os.write(2, b"shutdown timed out: some work was still running\n")  # print is not reentrant
    os._exit(1)


def _check_files(settings: Settings) -> None:
    for file in (settings.certificate, settings.key):
        if file and not file.is_file():
            raise ConfigError(f"{file} does not exist; HTTPS requires a certificate and its key as PEM files")


def _within_open_files(settings: Settings) -> Settings:
    """Return ``settings`` with max_connections reduced to the process's limit of open files."""
    open_files, listeners = raise_open_files_limit(), 1 if settings.grpc_port is None else 2
    listeners += 0 if settings.metrics_port is None else 1
    connections = connections_within(open_files, settings.max_connections, listeners)
    if connections < settings.max_connections:
        limited = f"max_connections is {connections}, not {settings.max_connections}"
        print(f"{limited}: the limit of open files is {open_files}; raise `ulimit -n`", file=sys.stderr, flush=True)
    return replace(settings, max_connections=connections)


def _bound(host: str, port: int, option: str) -> socket.socket:
    """Return a socket bound to the address, so that a port in use fails before loading."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise ConfigError(f"cannot listen at {host} port {port}: {why}; choose another with {option}") from error
    return listener


def _config(middleware: RequestMiddleware, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        middleware,
        http=partial(Connection, settings, Admission(settings.max_connections)),  # type: ignore[arg-type]  # uvicorn only calls it
        log_level="error",
        access_log=False,  # requests are not logged
        lifespan="on",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
        timeout_graceful_shutdown=_graceful_timeout_s(settings),
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def _graceful_timeout_s(settings: Settings) -> int:
    return int(settings.request_timeout) + FLUSH_TIMEOUT_S


def _reachable(host: str) -> str:
    """Return the address for clients: a wildcard address is not one."""
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _print_ready(router: Router, listener: socket.socket, middleware: RequestMiddleware) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "https" if router.settings.certificate else "http"
    what = describe(router.routing, router.roles) if router.routing else router.name
    reason = router.not_ready_reason
    state = f"{what}; {reason or router.stable.parity.summary}; authentication: {middleware.authentication}"
    prefix, stream = ("not ready", sys.stderr) if reason else ("ready", sys.stdout)
    print(f"{prefix}: {scheme}://{_reachable(host)}:{port}/docs  ({state})", file=stream, flush=True)
