"""Define the server's settings: what it serves, where it listens, and its limits."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import ConfigError
from toolchain.hardware.cpu import usable_cores
from toolchain.inference.requests import Limits

MEBIBYTE = 1024**2
CACHE = Path(tempfile.gettempdir()) / f"toolchain-served-{os.getuid()}"
MAX_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Settings:
    model: Path | None = None  # folder of a single model; or:
    model_repository: str = ""  # folder or s3://BUCKET/PREFIX, whose routing.json is polled for the versions to serve
    name: str = "model"  # of the model in the API; a model repository's routing.json overrides it
    version: str = ""  # the registry's number; "": the first digits of the digest
    parity: Path | None = None  # folder with expected.json; None: the model's own
    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0 for all interfaces
    allowed_hosts: str = ""  # accepted Host names, comma-separated; "*": all; "": localhost on loopback, else all
    port: int = 8080  # 0: any free port
    grpc_port: int | None = None  # 0: any free port; None: no gRPC
    metrics_port: int | None = None  # an additional port with /metrics only; 0: any free port; None: no such port
    tokens_dir: Path | None = None  # where a Secret with bearer tokens may be mounted
    require_tokens: bool = False  # exit unless bearer tokens are configured
    certificate: Path | None = None  # PEM, for HTTPS; requires key
    key: Path | None = None
    threads: int = 1  # per inference, as in the gate's measurement: on shared cores, more threads wait for each other
    workers: int = 0  # concurrent inferences; 0: as many as fit the cores of the pod's CPU limit
    max_batch_size: int = 8  # rows of equal length: larger batches gain nothing on a CPU and delay the first row
    max_batch_wait_ms: float = 0.0  # how long the oldest row waits for its batch to fill; 0: batch what has arrived
    max_queue_rows: int = 256  # beyond it, requests get 429 with Retry-After
    max_request_rows: int = 64  # texts or images per request
    max_text_characters: int = 20_000  # per text; a model reads up to 512 tokens, some 3,000 characters
    max_image_pixels: int = 25_000_000  # per image: 75 MB decoded
    max_request_pixels: int = 100_000_000  # of all images of a request: decoded in some 4 s
    max_body_bytes: int = 16 * MEBIBYTE  # per request with images
    max_text_body_bytes: int = MEBIBYTE  # per request with texts
    max_inflight_bytes: int = 256 * MEBIBYTE  # of all requests in flight
    body_timeout: float = 10.0  # seconds to receive a request's body
    request_timeout: float = 10.0  # seconds to respond to a request
    drain_seconds: float = 5.0  # between SIGTERM and the end, until load balancers see that /readyz fails
    max_connections: int = 1024  # open at once
    poll_interval: float = 2.0  # seconds between checks of the model repository
    cache: Path = CACHE  # local copies of versions in S3
    samples: str = ""  # folder or s3://BUCKET/PREFIX for samples of requests; "": no sampling
    sample_percent: float = 10.0  # of requests, above 0 and up to 100
    sample_rows: bool = False  # include texts and images, which may be personal data
    sample_retention_days: float = 30.0
    max_sample_bytes: int = 1024 * MEBIBYTE  # per model; the oldest files are deleted first

    def __post_init__(self) -> None:
        if (self.model is None) == (not self.model_repository):
            raise ConfigError("set either a model's folder or --model-repository")
        self._check_numbers()
        self._check_ports()
        if self.max_request_rows > self.max_queue_rows:
            raise ConfigError(
                f"max_request_rows is {self.max_request_rows}, above max_queue_rows ({self.max_queue_rows})"
            )
        if (self.certificate is None) != (self.key is None):
            raise ConfigError("HTTPS requires a certificate and its key: set both, or neither")

    def _check_numbers(self) -> None:
        counts = ("threads", "max_batch_size", "max_queue_rows", "max_request_rows", "max_text_characters")
        for name in (*counts, "max_connections"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: set 1 or more")
        for name in ("body_timeout", "request_timeout", "poll_interval"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: set a number of seconds above 0")
        for name in ("workers", "max_batch_wait_ms", "drain_seconds"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} is {getattr(self, name)}: set 0 or more")

    def _check_ports(self) -> None:
        ports = {name: getattr(self, name) for name in ("port", "grpc_port", "metrics_port")}
        for name, port in ports.items():
            if not 0 <= (port or 0) <= MAX_PORT:
                raise ConfigError(f"{name} is {port}: set 1 to {MAX_PORT}, or 0 for any free port")
        fixed = [port for port in ports.values() if port]
        if len(set(fixed)) < len(fixed):
            shown = ", ".join(f"{name} {port}" for name, port in ports.items())
            raise ConfigError(f"{shown}: HTTP, gRPC and metrics need different ports")

    @property
    def limits(self) -> Limits:
        """Limits of a request's rows."""
        return Limits(
            rows=self.max_request_rows,
            text_characters=self.max_text_characters,
            image_pixels=self.max_image_pixels,
            request_pixels=self.max_request_pixels,
        )

    @property
    def host_names(self) -> tuple[str, ...]:
        """The names of ``allowed_hosts``."""
        return tuple(filter(None, (name.strip() for name in self.allowed_hosts.split(","))))

    @property
    def worker_count(self) -> int:
        """The number of concurrent inferences."""
        return self.workers or max(1, usable_cores() // self.threads)
