"""SamplingSettings: a share of the answered requests is described and put aside, by a thread that no request waits for.

Off unless a place is named. What is put aside are numbers that describe rows, and answers; the texts and pictures
themselves only where that is asked for too. Where the thread cannot keep up, or the place is away, rows are dropped and
counted. The last verdict on what was put aside (drift.json, there) is shown among the server's figures.
"""

import hashlib
import json
import queue
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from toolchain.artifacts.profile import Profile, read_profile
from toolchain.errors import ArtifactError, ConfigError, ToolchainError
from toolchain.inference.features import Vocabulary
from toolchain.inference.prepared import Prepared
from toolchain.lifecycle.request_samples import (
    DRIFT,
    SampledVersion,
    SampleStore,
    files_to_delete,
    header,
    new_file_name,
    open_store,
    version_folder,
)
from toolchain.serve.settings import Settings
from toolchain.serve.telemetry.sampling_metrics import KEPT, LOST, OVERRUN, UNDESCRIBED, Verdict, exposed, read_verdict
from toolchain.serve.versions.version import LoadedVersion

MEBIBYTE = 1024**2
MAX_QUEUED_ROWS = 1_000  # that wait to be described, which takes some 0.1 ms each
MAX_QUEUED_BYTES = 32 * MEBIBYTE  # of texts and pictures that wait
MAX_FILE_ROWS = 1_000  # some 250 KB without texts: few requests to S3, and little is lost when a server is killed
MAX_FILE_BYTES = 8 * MEBIBYTE
MAX_FILE_AGE_S = 60.0  # a file is written then, however few rows it has
MAINTENANCE_INTERVAL_S = 1.0  # between two looks at files that are due
RETENTION_INTERVAL_S = 600.0  # between two looks for what is too old or too much
DRIFT_POLL_INTERVAL_S = 60.0  # between two looks for a verdict
CLOSE_TIMEOUT_S = 5.0  # at the server's end, to write what is left
SALT = b"sample\0"  # the routing's choice hashes the id too: without it, samples would all come from the canary
HASH_BYTES, HASHES = 8, 2.0**64  # of the hash, what is compared, and how many values that has


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """What is put aside."""

    place: str  # a folder, or s3://BUCKET/PREFIX
    percent: float = 10.0  # of requests, 0..100
    rows: bool = False  # whether texts and pictures are kept too: they may be anybody's
    days: float = 30.0  # that files are kept
    most_bytes: int = 1024 * MEBIBYTE  # of a model's files; the oldest go first

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ConfigError(f"sample_percent is {self.percent:g}: give a share above 0 and up to 100 (%)")
        if not 0 < self.days < float("inf"):
            raise ConfigError(f"sample_retention_days is {self.days:g}: give a number of days above 0, 30 is usual")
        if self.most_bytes < MEBIBYTE:
            raise ConfigError(f"max_sample_bytes is {self.most_bytes}: give {MEBIBYTE} or more")
        open_store(self.place)


def sampling_settings(settings: Settings) -> SamplingSettings | None:
    """Return what ``settings`` ask for, None for nothing.

    Raises:
        ConfigError: a value cannot work.
    """
    if not settings.samples:
        return None
    return SamplingSettings(
        place=settings.samples,
        percent=settings.sample_percent,
        rows=settings.sample_rows,
        days=settings.sample_retention_days,
        most_bytes=settings.max_sample_bytes,
    )


@dataclass(frozen=True)
class PendingRow:
    """One answered row that is to be described."""

    served: LoadedVersion
    request: str  # of its request's id, the first digits of a hash
    at: float  # seconds since 1970
    value: Any  # a text; a picture {"bytes": file, "path": name}; None for pixels without a file
    row: Prepared
    answer: Any

    @property
    def size_bytes(self) -> int:
        """About what it holds."""
        own = len(self.value if isinstance(self.value, str) else (self.value or {}).get("bytes", b""))
        return own + int(getattr(self.row.data, "nbytes", 8 * self.row.length))


@dataclass
class Version:
    """What is known of one version, and its rows on the way to a file. It belongs to the thread."""

    subject: SampledVersion
    labels: tuple[str, ...]
    vocabulary: Vocabulary | None
    threshold: float
    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    began: float = 0.0  # of time.monotonic, when the first of ``lines`` came
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((KEPT, OVERRUN, LOST, UNDESCRIBED), 0))
    verdict: Verdict | None = None


class Sampler:
    """Takes rows from any thread and never makes one wait; what it cannot take is counted."""

    def __init__(self, settings: SamplingSettings) -> None:
        self.settings = settings
        self._place: SampleStore = open_store(settings.place)
        self._queue: queue.Queue[PendingRow] = queue.Queue(MAX_QUEUED_ROWS)
        self._held, self._lock = 0, threading.Lock()
        self._versions: dict[str, Version] = {}  # by digest
        self._overrun: dict[str, int] = {}  # rows that found no room, by digest
        self._new: dict[str, LoadedVersion] = {}  # loaded, and nothing is known of them yet; by digest
        self._closed = threading.Event()
        self._ill: set[str] = set()  # what has been told to fail, and is not told again until it works
        self._swept = self._looked = float("-inf")
        self._thread = threading.Thread(target=self._work, name="sampling", daemon=True)
        self._thread.start()

    def wants(self, request_id: str) -> bool:
        """Return whether the request is in the sample: the same for the same id, on every server."""
        digest = hashlib.sha256(SALT + request_id.encode("utf-8", "surrogatepass")).digest()
        share = int.from_bytes(digest[:HASH_BYTES], "big") / HASHES
        return share < self.settings.percent / 100

    def offer(
        self,
        served: LoadedVersion,
        request_id: str,
        values: Sequence[Any] | None,
        rows: Sequence[Prepared],
        answers: Sequence[Any],
    ) -> None:
        """Take the answered ``rows`` of a request if it is in the sample and there is room. Returns at once.

        ``values`` are the rows as they came (texts, or pictures as files); None when only pixels did.
        """
        if self._closed.is_set() or not self.wants(request_id):
            return
        request = hashlib.sha256(request_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
        now = time.time()
        for value, row, answer in zip(values or [None] * len(rows), rows, answers, strict=True):
            self._put(PendingRow(served, request, now, value, row, answer))

    def text(self, loaded: Iterable[LoadedVersion]) -> bytes:
        """Return the figures of the versions that are ``loaded``, in Prometheus' text format."""
        present = {served.model.digest: served for served in loaded}
        self._new |= {digest: present[digest] for digest in present.keys() - self._versions.keys()}
        shown = [self._versions[digest] for digest in present if digest in self._versions]
        return exposed([(version.subject, self._counts(version), version.verdict) for version in shown])

    def close(self) -> None:
        """Write what is left, for as long as that may take at a server's end."""
        self._closed.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def _put(self, waiting: PendingRow) -> None:
        size = waiting.size_bytes
        with self._lock:
            room = self._held + size <= MAX_QUEUED_BYTES and not self._queue.full()
            if room:
                self._held += size
                self._queue.put_nowait(waiting)
            else:
                digest = waiting.served.model.digest
                self._overrun[digest] = self._overrun.get(digest, 0) + 1

    def _counts(self, version: Version) -> dict[str, int]:
        return {**version.counts, OVERRUN: self._overrun.get(version.subject.digest, 0)}

    # --- the thread ---

    def _work(self) -> None:
        while not (self._closed.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                self._take(self._queue.get(timeout=MAINTENANCE_INTERVAL_S))
            self._tend()
        for version in self._versions.values():
            self._write(version)

    def _take(self, waiting: PendingRow) -> None:
        """Describe a row and add it to its version's next file."""
        with self._lock:
            self._held -= waiting.size_bytes
        version = self._version(waiting.served)
        try:
            line = _line(waiting, version, self.settings.rows)
        except Exception as error:  # whatever is wrong with one row, the next ones are still to be described
            version.counts[UNDESCRIBED] += 1
            self._tell("describe", f"a row cannot be described ({type(error).__name__}); such rows are counted")
            return
        if not version.lines:
            version.began = time.monotonic()
        version.lines.append(line)
        version.bytes += len(line)
        if len(version.lines) >= MAX_FILE_ROWS or version.bytes >= MAX_FILE_BYTES:
            self._write(version)

    def _tend(self) -> None:
        """Do what is due by now."""
        now = time.monotonic()
        for version in list(self._versions.values()):
            if version.lines and now - version.began >= MAX_FILE_AGE_S:
                self._write(version)
        if now - self._looked >= DRIFT_POLL_INTERVAL_S or self._new:
            self._looked = now
            self._look()

    def _write(self, version: Version) -> None:
        """Write the rows of ``version`` that wait to a file, or count them as lost."""
        lines, version.lines, version.bytes = version.lines, [], 0
        if not lines:
            return
        content = header(version.subject) + b"".join(lines)
        try:
            self._place.put(new_file_name(version.subject, datetime.now(UTC)), content)
        except ToolchainError as error:
            version.counts[LOST] += len(lines)
            self._tell("write", f"samples are lost until this is mended: {error}")
            return
        version.counts[KEPT] += len(lines)
        self._ill.discard("write")
        if time.monotonic() - self._swept >= RETENTION_INTERVAL_S:
            self._swept = time.monotonic()
            self._sweep(version.subject.model)

    def _sweep(self, model: str) -> None:
        """Delete what is too old, and the oldest of what is too much."""
        try:
            files = self._place.files(model)
            self._place.delete(files_to_delete(files, self.settings.days, self.settings.most_bytes))
        except ToolchainError as error:
            self._tell("sweep", f"old samples are not deleted: {error}")

    def _look(self) -> None:
        """Read the last verdict on each version. A version that is replaced must end: no ``LoadedVersion`` is kept."""
        while self._new:
            self._version(self._new.popitem()[1])
        for version in self._versions.values():
            try:
                content = self._place.get(f"{version_folder(version.subject.model, version.subject.digest)}/{DRIFT}")
                version.verdict = read_verdict(content, version.subject) if content else None
                self._ill.discard("look")
            except ToolchainError as error:
                self._tell("look", f"the last verdict on drift cannot be read: {error}")

    def _version(self, served: LoadedVersion) -> Version:
        digest = served.model.digest
        if digest not in self._versions:
            self._versions[digest] = self._new_version(served)
        return self._versions[digest]

    def _new_version(self, served: LoadedVersion) -> Version:
        try:
            profile: Profile | None = read_profile(served.model.path)
        except ArtifactError as error:
            profile = None
            self._tell("profile", f"samples will lack their surprise: {error}")
        model = served.model
        return Version(
            SampledVersion(model=served.name, model_version=served.version, variant=model.variant, digest=model.digest),
            model.signature.labels,
            Vocabulary(profile.tokens) if profile and profile.tokens else None,
            profile.threshold if profile else 0.5,
        )

    def _tell(self, what: str, sentence: str) -> None:
        if what not in self._ill:
            self._ill.add(what)
            print(f"sampling: {sentence}", file=sys.stderr, flush=True)


def _line(waiting: PendingRow, version: Version, rows: bool) -> bytes:
    """Return a row as a line of JSON."""
    value, task = waiting.value, waiting.served.task
    prediction = task.output.features(waiting.answer, version.threshold)
    sample: dict[str, Any] = {
        "time": round(waiting.at, 3),
        "request": waiting.request,
        "label": prediction.label,
        "numbers": {**task.input.features(value, waiting.row, version.vocabulary), **prediction.numbers},
    }
    if rows and value is not None:
        sample |= task.input.record(value)
    return json.dumps(sample).encode() + b"\n"
