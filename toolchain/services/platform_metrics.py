"""Metrics of the platform's dependencies, for Prometheus: ``python -m toolchain.services.platform_metrics``.

Checks S3, MySQL, MLflow and TLS endpoints every half minute, reads when the databases were backed up last, and serves
what it found. Environment: CHECK_MYSQL (HOST:PORT), CHECK_MLFLOW (a URL), CHECK_TLS (HOST:PORT, separated by commas),
each may be empty; TOOLCHAIN_BUCKET, BACKUP_MAX_AGE_HOURS (0: there are no backups), and what ``s3`` reads.
"""

import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from toolchain.errors import ServiceError, ToolchainError
from toolchain.progress import log_info
from toolchain.services import http
from toolchain.services.storage import backups, bucket, s3, s3_errors

PORT = 9091
CHECK_INTERVAL_S = 30.0
CHECK_TIMEOUT_S = 5.0
HOUR_S = 3600.0
MINIO = ("minio_cluster_capacity_usable_free_bytes", "minio_cluster_capacity_usable_total_bytes")
CAPACITY = re.compile(rf"^({'|'.join(MINIO)})(?:\{{[^}}]*\}})? ([0-9.e+]+)$", re.MULTILINE)

Labels = Mapping[str, str]
Sample = tuple[str, Labels, float]  # a metric's name, its labels and its value


def main() -> int:
    """Serve until the process ends; return the exit status."""
    page = Page()
    threading.Thread(target=_refresh, args=(page,), daemon=True).start()
    server = ThreadingHTTPServer(("0.0.0.0", PORT), _handler(page))
    log_info(f"serving metrics at port {PORT}")
    server.serve_forever()
    return 0


class Page:
    """The text that Prometheus reads, replaced as a whole after each round of checks; empty before the first."""

    def __init__(self) -> None:
        self.text = ""


def samples(environment: Mapping[str, str], now: float) -> Iterable[Sample]:
    """Yield the results of the checks that ``environment`` configures.

    Args:
        environment: The variables above.
        now: Seconds since 1970.
    """
    times: list[list[float]] = []  # one list, where S3 could be read
    yield _dependency("s3", lambda: times.append(backup_times(bucket.name())))
    if address := environment.get("CHECK_MYSQL"):
        yield _dependency("mysql", lambda: check_mysql(address))
    if url := environment.get("CHECK_MLFLOW"):
        yield _dependency("mlflow", lambda: check_http(f"{url.rstrip('/')}/health"))
    hours = float(environment.get("BACKUP_MAX_AGE_HOURS") or 0)
    for found in times if hours else ():
        yield from _backups(found, hours)
    for host in filter(None, environment.get("CHECK_TLS", "").split(",")):
        yield from _certificate(host)
    yield from storage_capacity(environment.get("AWS_ENDPOINT_URL", ""))
    yield "toolchain_checks_timestamp_seconds", {}, now


def exposition(found: Iterable[Sample]) -> str:
    """Return ``found`` in Prometheus' text format, all as gauges."""
    lines: dict[str, list[str]] = {}
    for name, labels, value in found:
        text = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
        lines.setdefault(name, [f"# TYPE {name} gauge"]).append(f"{name}{{{text}}} {value!r}")
    return "".join(f"{line}\n" for group in lines.values() for line in group)


def check_mysql(address: str) -> None:
    """Raise OSError unless a server greets at ``address``, HOST:PORT, as MySQL does before any request."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), CHECK_TIMEOUT_S) as connection:
        connection.settimeout(CHECK_TIMEOUT_S)
        greeting = connection.recv(5)  # a length of three bytes, a number of one, and the version of the protocol
    if greeting[4:5] != b"\x0a":  # 255 there is an error: too many connections, or a host that is blocked
        raise OSError(f"{address} does not greet as MySQL does")


def check_http(url: str) -> None:
    """Raise ServiceError unless ``url`` returns a success (2xx)."""
    response = http.request(url, timeout_s=CHECK_TIMEOUT_S)
    if not response.is_success:
        raise ServiceError(f"{url} returned {response.status_code} {response.reason_phrase}")


def certificate_expiry(host: str) -> float:
    """Return when the certificate of ``host``, HOST:PORT, expires, in seconds since 1970.

    Raises:
        OSError: it does not respond, or its certificate is not trusted, which an expired one is not.
    """
    name, _, port = host.rpartition(":")
    context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or None)
    with (
        socket.create_connection((name, int(port)), CHECK_TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        found = connection.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(found["notAfter"])))


def backup_times(name: str) -> list[float]:
    """Return when each complete backup in bucket ``name`` was begun, in seconds since 1970.

    Raises:
        ServiceError: S3 is down, or rejects the request, which is not retried.
    """
    with s3_errors.reported(f"s3://{name}/{backups.PREFIX}"):
        pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=f"{backups.PREFIX}/")
        keys = [stored["Key"] for page in pages for stored in page.get("Contents", [])]
    begun = [key.split("/")[-2] for key in keys if key.endswith(f"/{backups.COMPLETE}")]
    return [datetime.strptime(time, backups.TIME).replace(tzinfo=UTC).timestamp() for time in begun]


def storage_capacity(endpoint: str) -> Iterable[Sample]:
    """Yield what the S3 server at ``endpoint`` reports of its volume; nothing where it is not MinIO."""
    try:
        response = http.request(f"{endpoint}/minio/v2/metrics/cluster", timeout_s=CHECK_TIMEOUT_S)
    except http.UnreachableError:
        return
    found = dict(CAPACITY.findall(response.text)) if response.is_success else {}
    if found.keys() >= set(MINIO):
        yield "toolchain_volume_available_bytes", {"volume": "storage"}, float(found[MINIO[0]])
        yield "toolchain_volume_capacity_bytes", {"volume": "storage"}, float(found[MINIO[1]])


def _backups(times: list[float], hours: float) -> Iterable[Sample]:
    yield "toolchain_backups", {}, float(len(times))
    yield "toolchain_backup_max_age_seconds", {}, hours * HOUR_S
    if times:
        yield "toolchain_backup_last_success_timestamp_seconds", {}, max(times)


def _certificate(host: str) -> Iterable[Sample]:
    expiry: list[float] = []
    yield _dependency(f"tls {host}", lambda: expiry.append(certificate_expiry(host)))
    for one in expiry:
        yield "toolchain_certificate_expiry_timestamp_seconds", {"host": host}, one


def _dependency(name: str, check: Callable[[], object]) -> Sample:
    try:
        check()
    except (OSError, ValueError, ServiceError) as error:
        log_info(f"{name}: {error}")
        return "toolchain_dependency_up", {"dependency": name}, 0.0
    return "toolchain_dependency_up", {"dependency": name}, 1.0


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _refresh(page: Page) -> None:
    while True:
        page.text = exposition(samples(os.environ, time.time()))
        time.sleep(CHECK_INTERVAL_S)


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ready = self.path == "/healthz" or bool(page.text)
            body = page.text.encode() if self.path == "/metrics" else b"ok\n"
            self.send_response(200 if ready else 503)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Log nothing: Prometheus scrapes every few seconds."""

    return Handler


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolchainError as error:
        sys.exit(str(error))
