"""Sample a share of the requests and their predictions, in a thread that no request waits for.

Sampling is off unless ``--samples`` is set. A sample holds numbers that describe a row, and its prediction; texts and
images only if ``--sample-rows`` is set. When the queue is full or the store is unavailable, rows are dropped and
counted. The last drift verdict (drift.json in the store) is exported with the server's metrics.
"""

import hashlib
import queue
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from toolchain.errors import ConfigError
from toolchain.inference.prepared import Prepared
from toolchain.lifecycle.request_samples import open_store
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.sample_writer import PendingRow, SampledModel, SampleWriter, VersionSamples
from toolchain.serve.telemetry.sampling_metrics import QUEUE_FULL, sampling_text

MEBIBYTE = 1024**2
MAX_QUEUED_ROWS = 1_000  # to be described, which takes some 0.1 ms each
MAX_QUEUED_BYTES = 32 * MEBIBYTE  # of texts and images
MAINTENANCE_INTERVAL_S = 1.0
CLOSE_TIMEOUT_S = 5.0  # for the last files
SALT = b"sample\0"  # routing hashes the id, too: without a salt, all samples would come from the canary
HASH_BYTES, HASHES = 8, 2.0**64  # of the hash that are compared, and the number of their values


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    uri: str  # a folder, or s3://BUCKET/PREFIX
    percent: float = 10.0  # of requests, 0..100
    include_rows: bool = False  # store texts and images, which may be personal data
    retention_days: float = 30.0
    max_bytes: int = 1024 * MEBIBYTE  # per model; the oldest files are deleted first

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ConfigError(f"sample_percent is {self.percent:g}: set a percentage above 0 and up to 100")
        if not 0 < self.retention_days < float("inf"):
            raise ConfigError(f"sample_retention_days is {self.retention_days:g}: set a number above 0, such as 30")
        if self.max_bytes < MEBIBYTE:
            raise ConfigError(f"max_sample_bytes is {self.max_bytes}: set {MEBIBYTE} or more")
        open_store(self.uri)


def sampling_settings(settings: Settings) -> SamplingSettings | None:
    """Return the sampling part of ``settings``, None if sampling is off.

    Raises:
        ConfigError: a value is not valid.
    """
    if not settings.samples:
        return None
    return SamplingSettings(
        uri=settings.samples,
        percent=settings.sample_percent,
        include_rows=settings.sample_rows,
        retention_days=settings.sample_retention_days,
        max_bytes=settings.max_sample_bytes,
    )


class Sampler:
    """Queues rows for a thread that writes them. Its methods never block; rows that do not fit are counted."""

    def __init__(self, settings: SamplingSettings) -> None:
        self._percent = settings.percent
        self._writer = SampleWriter(
            open_store(settings.uri), settings.include_rows, settings.retention_days, settings.max_bytes
        )
        self._queue: queue.Queue[PendingRow] = queue.Queue(MAX_QUEUED_ROWS)
        self._queued_bytes, self._lock = 0, threading.Lock()
        self._dropped: dict[str, int] = {}  # rows that did not fit into the queue, by digest
        self._new: dict[str, SampledModel] = {}  # versions that the thread does not know yet, by digest
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sampling", daemon=True)
        self._thread.start()

    def selects(self, request_id: str) -> bool:
        """Return whether the request is sampled: the same for the same id, on every server."""
        digest = hashlib.sha256(SALT + request_id.encode("utf-8", "surrogatepass")).digest()
        share = int.from_bytes(digest[:HASH_BYTES], "big") / HASHES
        return share < self._percent / 100

    def offer(
        self,
        served: SampledModel,
        request_id: str,
        values: Sequence[Any] | None,
        rows: Sequence[Prepared],
        predictions: Sequence[Any],
    ) -> None:
        """Queue the rows of a request if it is selected and they fit.

        Args:
            served: The version that made the predictions.
            values: The rows in the request (texts, or images as files); None if it had pixels only.
        """
        if self._closed.is_set() or not self.selects(request_id):
            return
        request = hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        now = time.time()
        for value, row, prediction in zip(values or [None] * len(rows), rows, predictions, strict=True):
            self._put(PendingRow(served, request, now, value, row, prediction))

    def text(self, loaded: Iterable[SampledModel]) -> bytes:
        """Return the metrics of the ``loaded`` versions in Prometheus' text format."""
        present = {served.model.digest: served for served in loaded}
        known = self._writer.versions
        self._new |= {digest: present[digest] for digest in present.keys() - known.keys()}
        shown = [known[digest] for digest in present if digest in known]
        return sampling_text([(version.subject, self._counts(version), version.verdict) for version in shown])

    def close(self) -> None:
        """Write the queued rows, for at most CLOSE_TIMEOUT_S."""
        self._closed.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _put(self, pending: PendingRow) -> None:
        size = pending.size_bytes
        with self._lock:
            if self._queued_bytes + size <= MAX_QUEUED_BYTES and not self._queue.full():
                self._queued_bytes += size
                self._queue.put_nowait(pending)
            else:
                digest = pending.served.model.digest
                self._dropped[digest] = self._dropped.get(digest, 0) + 1

    def _counts(self, version: VersionSamples) -> dict[str, int]:
        return {**version.counts, QUEUE_FULL: self._dropped.get(version.subject.digest, 0)}

    def _work(self) -> None:
        """Describe and write rows until the sampler is closed. Runs in the thread."""
        while not (self._closed.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                self._take(self._queue.get(timeout=MAINTENANCE_INTERVAL_S))
            while self._new:
                self._writer.add_version(self._new.popitem()[1])
            self._writer.maintain()
        self._writer.close()

    def _take(self, pending: PendingRow) -> None:
        with self._lock:
            self._queued_bytes -= pending.size_bytes
        self._writer.add(pending)
