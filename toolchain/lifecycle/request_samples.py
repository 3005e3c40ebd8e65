"""Store the requests and predictions that model servers sample, and the drift found in them, in a folder or in S3.

The store has a folder per version, ``<model>/<12 digits of its digest>/``. It holds files of sampled rows (JSON Lines,
whose first line identifies the version), named by the time they were written and never changed, and ``drift.json``, the
last drift report.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from toolchain.artifacts.digest import short_digest
from toolchain.artifacts.folder import disk_space_reported, write_file
from toolchain.errors import ConfigError, DataError, ServiceError
from toolchain.services.locations import local_path
from toolchain.services.storage import s3, s3_errors

FORMAT = "toolchain.samples"
SUFFIX = ".jsonl"
DRIFT, DRIFT_FORMAT = "drift.json", "toolchain.drift"
STAMP = "%Y%m%dT%H%M%S"  # UTC, in the name of a file; microseconds and eight random digits follow


@dataclass(frozen=True, kw_only=True)
class SampledVersion:
    """The model version that sampled rows belong to."""

    model: str  # the name that clients use
    model_version: str
    variant: str
    digest: str  # of the model's files


@dataclass(frozen=True)
class File:
    """A file in a store."""

    name: str  # relative to the store
    size_bytes: int


class SampleStore(Protocol):
    """Storage for files of samples. Methods raise ServiceError or StorageFullError when it is unavailable."""

    shown: str

    def put(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return the content of a file, None when it does not exist."""
        ...

    def files(self, folder: str) -> list[File]:
        """Return the files in ``folder`` and its subfolders, sorted by name."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; missing ones are ignored."""
        ...


def open_store(uri: str) -> SampleStore:
    """Return the store at ``uri``, a folder or s3://BUCKET[/PREFIX], without accessing it.

    Raises:
        ConfigError: ``uri`` is neither.
    """
    if uri.startswith("s3://"):
        if not uri.removeprefix("s3://").partition("/")[0]:
            raise ConfigError(f"samples is {uri!r}; write s3://BUCKET/PREFIX")
        return BucketStore(uri)
    path = local_path(uri) if uri else None
    if path is None:
        raise ConfigError(f"samples is {uri!r}; give a folder, or s3://BUCKET/PREFIX")
    return FolderStore(path)


class FolderStore:
    """A local folder."""

    def __init__(self, path: Path) -> None:
        self._path, self.shown = path, str(path)

    def put(self, name: str, content: bytes) -> None:
        file = self._path / name
        with _reported(file), disk_space_reported(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_file(file, content)

    def get(self, name: str) -> bytes | None:
        file = self._path / name
        with _reported(file):
            return file.read_bytes() if file.is_file() else None

    def files(self, folder: str) -> list[File]:
        with _reported(self._path / folder):
            found = (path for path in (self._path / folder).rglob("*") if path.is_file() and path.name[:1] != ".")
            return sorted((_file(path, self._path) for path in found), key=lambda file: file.name)

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            with _reported(self._path / name):
                (self._path / name).unlink(missing_ok=True)


class BucketStore:
    """A prefix in S3, without retries beyond boto3's: the sampler must not wait while more rows arrive."""

    def __init__(self, uri: str) -> None:
        self.shown = uri.rstrip("/")
        self._bucket, _, self._prefix = self.shown.removeprefix("s3://").partition("/")
        self._known: Any = None

    def put(self, name: str, content: bytes) -> None:
        with s3_errors.reported(self._uri(name), "written"):
            self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content)

    def get(self, name: str) -> bytes | None:
        with s3_errors.reported(self._uri(name)):
            try:
                return bytes(self._client.get_object(Bucket=self._bucket, Key=self._key(name))["Body"].read())
            except self._client.exceptions.NoSuchKey:
                return None

    def files(self, folder: str) -> list[File]:
        found = s3.listing(self._uri(folder + "/"))
        return [File(one.uri.removeprefix(self.shown + "/"), one.size_bytes) for one in found]

    def delete(self, names: Iterable[str]) -> None:
        s3.delete(self._uri(name) for name in names)

    @property
    def _client(self) -> Any:
        if self._known is None:
            self._known = s3.client()
        return self._known

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")

    def _uri(self, name: str) -> str:
        return f"{self.shown}/{name}"


def version_folder(model: str, digest: str) -> str:
    """Return the folder of a version's samples in a store."""
    return f"{model}/{short_digest(digest)}"


def new_file_name(subject: SampledVersion, at: datetime) -> str:
    """Return a unique name for a file of rows of ``subject``, written ``at``."""
    stamp = f"{at.astimezone(UTC):{STAMP}}{at.microsecond:06d}"
    return f"{version_folder(subject.model, subject.digest)}/{stamp}-{uuid4().hex[:8]}{SUFFIX}"


def written_at(name: str) -> datetime | None:
    """Return when the file ``name`` was written, None when it is not named as a file of samples."""
    stamp = name.rpartition("/")[2].partition("-")[0][: len("20260101T000000")]
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC) if name.endswith(SUFFIX) else None
    except ValueError:
        return None


def files_to_delete(files: Sequence[File], max_days: float, max_bytes: int) -> list[str]:
    """Return the names of the ``files`` to delete: older than ``max_days``, or the oldest beyond ``max_bytes``.

    Age is relative to the newest file: a clock that was set back keeps nothing longer, and the newest file stays.
    Files that are not samples stay too.
    """
    known = ((at, file) for file in files if (at := written_at(file.name)))
    dated = sorted(known, key=lambda one: one[1].name.rpartition("/")[2])  # which begins with the time
    found, left = [], sum(file.size_bytes for _, file in dated)
    for at, file in dated[:-1]:  # the newest always stays
        if at < dated[-1][0] - timedelta(days=max_days) or left > max_bytes:
            found.append(file.name)
            left -= file.size_bytes
    return found


def header(subject: SampledVersion) -> bytes:
    """Return the first line of a file of rows, which identifies their version."""
    return json.dumps({"format": FORMAT, "version": 1, **asdict(subject)}).encode() + b"\n"


def parse(content: bytes, shown: str) -> tuple[SampledVersion, list[dict[str, Any]]]:
    """Return the version and the rows in ``content``, a file called ``shown``.

    Raises:
        DataError: it is not a file of samples, or is damaged.
    """
    try:
        head, *rows = [json.loads(line) for line in content.splitlines()]
        if head.get("format") != FORMAT or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"its format is not {FORMAT}")
        subject = SampledVersion(**{name: str(head[name]) for name in SampledVersion.__dataclass_fields__})
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{shown} is not a file of samples, or is damaged: {error}") from error
    return subject, rows


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    """Raise ServiceError for an OSError inside the block."""
    try:
        yield
    except OSError as error:
        raise ServiceError(f"{file} cannot be used: {error.strerror or error}") from error


def _file(path: Path, root: Path) -> File:
    return File(path.relative_to(root).as_posix(), path.stat().st_size)
