"""Settings: what the server may spend on requests, and where it listens."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ConfigError
from toolchain.hardware.cpu import usable_cores

MEBIBYTE = 1024**2
CACHE = Path(tempfile.gettempdir()) / f"toolchain-served-{os.getuid()}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Path | None = None  # a model's folder, served as it is; or:
    traffic: str = (
        ""  # a shelf, a folder or s3://BUCKET/PREFIX, whose traffic.json says what is served, and is followed
    )
    name: str = "model"  # what callers know it by; with a shelf, its traffic.json says it
    version: str = ""  # as the registry numbers it; "": the first digits of its digest
    parity: Path | None = None  # a folder with expected.json; None: the model's own
    host: str = "127.0.0.1"  # the address to listen at; 0.0.0.0 for all
    allowed_hosts: str = ""  # names in Host, with commas; "*": all; "": all, but of this machine alone where host is
    port: int = 8080  # 0 for any that is free
    grpc_port: int | None = None  # where gRPC listens too; 0 for any that is free; None: nowhere
    metrics_port: int | None = (
        None  # where /metrics is served alone, besides at port; 0: any that is free; None: nowhere
    )
    tokens_dir: Path | None = None  # where a Secret with bearer tokens may be mounted
    require_tokens: bool = False  # whether to refuse to start without bearer tokens
    certificate: Path | None = None  # PEM files, for HTTPS; both or neither
    key: Path | None = None
    threads: int = 1  # of one inference, as the gate measures: on shared cores more would wait for each other
    streams: int = 0  # inferences side by side; 0: as many as the cores that the pod's limit grants have room for
    batch_rows: int = 8  # rows of one length that run at once: on CPUs more gain nothing, and the first one waits
    batch_wait_ms: float = 0.0  # how long the oldest row waits for others; 0: what came meanwhile runs together
    queue_rows: int = 256  # that wait; who comes then is told to come again later
    request_rows: int = 64  # texts or pictures in one request
    text_characters: int = 20_000  # of one text; a model reads 512 tokens at most, some 3,000 characters
    picture_pixels: int = 25_000_000  # of one picture: decoded 75 MB
    request_pixels: int = 100_000_000  # of all pictures in one request: decoded in some 4 s
    body_bytes: int = 16 * MEBIBYTE  # of one request with pictures
    text_body_bytes: int = MEBIBYTE  # of one request with texts
    held_bytes: int = 256 * MEBIBYTE  # of all requests that are being read or answered
    body_seconds: float = 10.0  # in which a request's body must have come
    deadline_seconds: float = 10.0  # in which a request must be answered
    drain_seconds: float = 5.0  # after SIGTERM, in which balancers notice that this server is no longer ready
    connections: int = 1024  # open at once
    look_seconds: float = 2.0  # between looks at the shelf
    cache: Path = CACHE  # of what comes from a shelf in S3
    samples: str = ""  # a folder or s3://BUCKET/PREFIX that samples of what is asked go to; "": nothing is put aside
    sample_percent: float = 10.0  # of requests that are in the sample, above 0 and up to 100
    sample_rows: bool = False  # whether texts and pictures themselves are put aside too: they may be anybody's
    sample_days: float = 30.0  # that samples are kept
    sample_bytes: int = 1024 * MEBIBYTE  # of a model's samples; the oldest go first

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.traffic):
            raise ConfigError("give a model's folder, or with --traffic a shelf: one of both")
        for name in ("threads", "batch_rows", "queue_rows", "request_rows", "text_characters", "connections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: give 1 or more")
        for name in ("body_seconds", "deadline_seconds", "look_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: give seconds above 0")
        for name in ("streams", "batch_wait_ms", "drain_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: give 0 or more")
        for name in ("port", "grpc_port", "metrics_port"):
            if not 0 <= (getattr(self, name) or 0) <= 65535:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}: give one from 1 to 65535, or 0 for any that is free"
                )
        ports = [port for port in (self.port, self.grpc_port, self.metrics_port) if port]
        if len(set(ports)) < len(ports):
            named = f"port {self.port}, grpc_port {self.grpc_port}, metrics_port {self.metrics_port}"
            raise ConfigError(f"{named}: HTTP, gRPC and metrics need a port each")
        if self.request_rows > self.queue_rows:
            raise ConfigError(
                f"request_rows is {self.request_rows}, but the queue holds {self.queue_rows} (queue_rows)"
            )
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("HTTPS needs a certificate and its key: give both files, or neither")

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names of ``allowed_hosts``."""
        return tuple(filter(None, (name.strip() for name in self.allowed_hosts.split(","))))

    @property
    def inference_streams(self) -> int:
        """How many inferences run side by side."""
        return self.streams or max(1, usable_cores() // self.threads)
