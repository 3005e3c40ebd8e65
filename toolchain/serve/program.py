"""Program: load the model, listen, answer, and end so that no request is lost."""

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn

from toolchain.errors import ConfigError
from toolchain.serve.application import build
from toolchain.serve.door import Door
from toolchain.serve.served import Served, load
from toolchain.serve.settings import Settings
from toolchain.services.tokens import serving_tokens

SECONDS_TO_FINISH = 5  # beyond the deadline of requests: for answers on their way out
BACKLOG = 1024  # connections that wait to be accepted
KEEP_ALIVE_SECONDS = 75  # longer than the 60 s that most balancers keep a quiet connection: they close first


def serve(settings: Settings) -> None:
    """Serve the model of ``settings`` until SIGTERM or Ctrl-C.

    Raises:
        ArtifactError: the model's folder is damaged, or nothing here runs it.
        ConfigError: the port is taken, or a file for HTTPS is not there.
    """
    tokens = serving_tokens()
    _check_files(settings)
    with _bound(settings) as listener:
        served = load(settings)
        door = build(served, tokens)
        listener.listen(BACKLOG)  # whoever reads the line and asks at once waits a moment, and is not refused
        _tell(served, listener)
        DrainingServer(_config(door, settings), served).run(sockets=[listener])
    print("ended: every request that came was answered", flush=True)


class DrainingServer(uvicorn.Server):
    """A server that, told to end by SIGTERM, answers for a while yet: until balancers know that it is going."""

    def __init__(self, config: uvicorn.Config, served: Served) -> None:
        super().__init__(config)
        self._served = served

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._served.draining or sig == signal.SIGINT:  # told twice, or by a person who waits
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True
            return
        seconds = self._served.settings.drain_seconds
        self._served.draining = True
        print(f"told to end: not ready any more, answering for {seconds:g} s yet", flush=True)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, seconds, self._end)

    def _end(self) -> None:
        self.should_exit = True


def _check_files(settings: Settings) -> None:
    for file in (settings.certificate, settings.key):
        if file and not file.is_file():
            raise ConfigError(f"{file} is not there; HTTPS needs a certificate and its key as PEM files")


def _bound(settings: Settings) -> socket.socket:
    """Return a socket at the address of ``settings``, before the time of loading is spent."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise ConfigError(
            f"cannot listen at {settings.host} port {settings.port}: {why}; name another with --port"
        ) from error
    return listener


def _config(door: Door, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        door,
        log_level="error",
        access_log=False,  # nothing of a request is logged
        lifespan="on",
        ws="none",
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=settings.connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.deadline_seconds) + SECONDS_TO_FINISH,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


def _tell(served: Served, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
    scheme = "https" if served.settings.certificate else "http"
    state = "not ready" if served.parity.reason else "ready"
    what = f"{served.name} {served.version}, {served.model.variant}"
    stream = sys.stderr if served.parity.reason else sys.stdout
    print(f"{state}: {scheme}://{shown}:{port}/docs  ({what}; {served.parity.told})", file=stream, flush=True)
