"""Describe sampled rows and write them to files, delete old files, and read the drift verdicts. For one thread."""

import json
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from toolchain.artifacts.model import Model
from toolchain.artifacts.profile import Profile, read_profile
from toolchain.errors import ArtifactError, ToolchainError
from toolchain.inference.features import Vocabulary
from toolchain.inference.prepared import Prepared
from toolchain.inference.tasks import Task
from toolchain.lifecycle.request_samples import (
    DRIFT,
    SampledVersion,
    SampleStore,
    files_to_delete,
    header,
    new_file_name,
    version_folder,
)
from toolchain.serve.telemetry.sampling_metrics import (
    DESCRIBE_FAILED,
    QUEUE_FULL,
    WRITE_FAILED,
    WRITTEN,
    DriftVerdict,
    read_verdict,
)

MAX_FILE_ROWS = 1_000  # some 250 KB without texts: few requests to S3, and a killed server loses little
MAX_FILE_BYTES = 8 * 1024**2
MAX_FILE_AGE_S = 60.0  # until a file is written, however few rows it has
RETENTION_INTERVAL_S = 600.0  # between deletions of old files
DRIFT_POLL_INTERVAL_S = 60.0


class SampledModel(Protocol):
    """The part of a loaded version that sampling uses."""

    model: Model

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def task(self) -> Task: ...


@dataclass(frozen=True)
class PendingRow:
    """A predicted row to describe."""

    served: SampledModel
    request: str  # the first digits of a hash of the request's id
    at: float  # seconds since 1970
    value: Any  # a text; an image {"bytes": file, "path": name}; None for pixels without a file
    row: Prepared
    prediction: Any

    @property
    def size_bytes(self) -> int:
        """Approximate size in memory."""
        own = len(self.value if isinstance(self.value, str) else (self.value or {}).get("bytes", b""))
        return own + int(getattr(self.row.data, "nbytes", 8 * self.row.length))


@dataclass
class VersionSamples:
    """The samples of one version that are not written yet, and its metrics."""

    subject: SampledVersion
    vocabulary: Vocabulary | None
    threshold: float
    lines: list[bytes] = field(default_factory=list)
    bytes: int = 0
    began: float = 0.0  # of time.monotonic, at the first of ``lines``
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((WRITTEN, QUEUE_FULL, WRITE_FAILED, DESCRIBE_FAILED), 0)
    )
    verdict: DriftVerdict | None = None


class SampleWriter:
    """Writes samples to ``store``. It keeps no ``SampledModel``: the memory of a replaced version must be freed.

    Args:
        include_rows: Whether to store texts and images.
        retention_days: When files are deleted.
        max_bytes: Maximum size of a model's files.
    """

    def __init__(self, store: SampleStore, include_rows: bool, retention_days: float, max_bytes: int) -> None:
        self._store, self._include_rows = store, include_rows
        self._retention_days, self._max_bytes = retention_days, max_bytes
        self.versions: dict[str, VersionSamples] = {}  # by digest
        self._failing: set[str] = set()  # operations whose failure is logged; again only after a success
        self._retained_at = self._polled_at = float("-inf")  # of time.monotonic

    def add(self, pending: PendingRow) -> None:
        """Describe a row and add it to its version's next file."""
        version = self._version(pending.served)
        try:
            line = _line(pending, version, self._include_rows)
        except Exception as error:  # any error of one row is counted, and the next row is described
            version.counts[DESCRIBE_FAILED] += 1
            self._log("describe", f"a row cannot be described ({type(error).__name__}); such rows are counted")
            return
        if not version.lines:
            version.began = time.monotonic()
        version.lines.append(line)
        version.bytes += len(line)
        if len(version.lines) >= MAX_FILE_ROWS or version.bytes >= MAX_FILE_BYTES:
            self._write(version)

    def add_version(self, served: SampledModel) -> None:
        """Add a version without samples, and read its drift verdict."""
        self._read_verdict(self._version(served))

    def maintain(self) -> None:
        """Write files that have waited long enough, and read the drift verdicts from time to time."""
        now = time.monotonic()
        for version in self.versions.values():
            if version.lines and now - version.began >= MAX_FILE_AGE_S:
                self._write(version)
        if now - self._polled_at >= DRIFT_POLL_INTERVAL_S:
            self._polled_at = now
            for version in self.versions.values():
                self._read_verdict(version)

    def close(self) -> None:
        """Write all remaining rows."""
        for version in self.versions.values():
            self._write(version)

    def _write(self, version: VersionSamples) -> None:
        """Write the lines of ``version`` to a file, or count them as lost."""
        lines, version.lines, version.bytes = version.lines, [], 0
        if not lines:
            return
        content = header(version.subject) + b"".join(lines)
        try:
            self._store.put(new_file_name(version.subject, datetime.now(UTC)), content)
        except ToolchainError as error:
            version.counts[WRITE_FAILED] += len(lines)
            self._log("write", f"samples cannot be stored and are lost: {error}")
            return
        version.counts[WRITTEN] += len(lines)
        self._failing.discard("write")
        if time.monotonic() - self._retained_at >= RETENTION_INTERVAL_S:
            self._retained_at = time.monotonic()
            self._delete_old(version.subject.model)

    def _delete_old(self, model: str) -> None:
        try:
            files = self._store.files(model)
            self._store.delete(files_to_delete(files, self._retention_days, self._max_bytes))
        except ToolchainError as error:
            self._log("delete", f"old samples cannot be deleted: {error}")

    def _read_verdict(self, version: VersionSamples) -> None:
        try:
            content = self._store.get(f"{version_folder(version.subject.model, version.subject.digest)}/{DRIFT}")
            version.verdict = read_verdict(content, version.subject) if content else None
            self._failing.discard("verdict")
        except ToolchainError as error:
            self._log("verdict", f"the drift verdict cannot be read: {error}")

    def _version(self, served: SampledModel) -> VersionSamples:
        digest = served.model.digest
        if digest not in self.versions:
            self.versions[digest] = self._new_version(served)
        return self.versions[digest]

    def _new_version(self, served: SampledModel) -> VersionSamples:
        try:
            profile: Profile | None = read_profile(served.model.path)
        except ArtifactError as error:
            profile = None
            self._log("profile", f"samples have no surprise: {error}")
        model = served.model
        return VersionSamples(
            SampledVersion(model=served.name, model_version=served.version, variant=model.variant, digest=model.digest),
            Vocabulary(profile.tokens) if profile and profile.tokens else None,
            profile.threshold if profile else 0.5,
        )

    def _log(self, operation: str, message: str) -> None:
        """Log ``message`` unless the operation has failed since its last success."""
        if operation not in self._failing:
            self._failing.add(operation)
            print(f"sampling: {message}", file=sys.stderr, flush=True)


def _line(pending: PendingRow, version: VersionSamples, include_rows: bool) -> bytes:
    """Return a row as a line of JSON."""
    value, task = pending.value, pending.served.task
    prediction = task.output.features(pending.prediction, version.threshold)
    sample: dict[str, Any] = {
        "time": round(pending.at, 3),
        "request": pending.request,
        "label": prediction.label,
        "numbers": {**task.input.features(value, pending.row, version.vocabulary), **prediction.numbers},
    }
    if include_rows and value is not None:
        sample |= task.input.record(value)
    return json.dumps(sample).encode() + b"\n"
