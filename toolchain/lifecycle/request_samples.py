"""Samples: what model servers put aside of what they were asked, in a folder or in S3, and what was found in it.

Below the place a server writes to lies a folder for each version, ``<model>/<12 digits of its digest>/``. In it are
files of rows (JSON Lines, the first line says whose rows they are), named by the time they were written and never
changed, and ``drift.json``, what the last look at them found.
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
STAMP = "%Y%m%dT%H%M%S"  # UTC, in the name of a file; six digits of a second's part and eight of chance follow


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Whose rows these are."""

    model: str  # as callers know it
    model_version: str
    variant: str
    digest: str  # of the model's files


@dataclass(frozen=True)
class File:
    """A file of a place."""

    name: str  # relative to the place
    size_bytes: int


class Place(Protocol):
    """Where files are kept. Every method raises ServiceError or StorageFullError when the place is away or refuses."""

    shown: str

    def put(self, name: str, content: bytes) -> None:
        """Write a file whole, or not at all."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return what a file holds, None when there is none."""
        ...

    def files(self, folder: str) -> list[File]:
        """Return the files in ``folder`` and below it, in the order of their names."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that are not there cost nothing."""
        ...


def open_place(uri: str) -> Place:
    """Return the place at ``uri``, a folder or s3://BUCKET[/PREFIX]; nothing is asked yet.

    Raises:
        ConfigError: it names no such place.
    """
    if uri.startswith("s3://"):
        if not uri.removeprefix("s3://").partition("/")[0]:
            raise ConfigError(f"samples is {uri!r}; write s3://BUCKET/PREFIX")
        return BucketPlace(uri)
    path = local_path(uri) if uri else None
    if path is None:
        raise ConfigError(f"samples is {uri!r}; give a folder, or s3://BUCKET/PREFIX")
    return FolderPlace(path)


class FolderPlace:
    """A folder of this machine."""

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


class BucketPlace:
    """A prefix in S3. One try of boto3's own patience: who samples has more rows to come, and must not wait."""

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


def folder_of(model: str, digest: str) -> str:
    """Return the folder of a version's samples in a place."""
    return f"{model}/{short_digest(digest)}"


def new_name(subject: Subject, at: datetime) -> str:
    """Return the name of a new file of rows of ``subject`` that is written ``at``: no other has it."""
    stamp = f"{at.astimezone(UTC):{STAMP}}{at.microsecond:06d}"
    return f"{folder_of(subject.model, subject.digest)}/{stamp}-{uuid4().hex[:8]}{SUFFIX}"


def written_at(name: str) -> datetime | None:
    """Return when the file ``name`` was written, None when its name is not of that form."""
    stamp = name.rpartition("/")[2].partition("-")[0][: len("20260101T000000")]
    try:
        return datetime.strptime(stamp, STAMP).replace(tzinfo=UTC) if name.endswith(SUFFIX) else None
    except ValueError:
        return None


def surplus(files: Sequence[File], days: float, most_bytes: int) -> list[str]:
    """Return the names of the ``files`` to delete: older than ``days``, or the oldest beyond ``most_bytes``.

    Age counts from the newest file: so a clock that was set back keeps nothing longer, and no place is ever emptied.
    What is no file of samples stays.
    """
    known = ((at, file) for file in files if (at := written_at(file.name)))
    dated = sorted(known, key=lambda one: one[1].name.rpartition("/")[2])  # which begins with the time
    found, left = [], sum(file.size_bytes for _, file in dated)
    for at, file in dated[:-1]:  # the newest always stays
        if at < dated[-1][0] - timedelta(days=days) or left > most_bytes:
            found.append(file.name)
            left -= file.size_bytes
    return found


def head_of(subject: Subject) -> bytes:
    """Return the first line of a file of rows."""
    return json.dumps({"format": FORMAT, "version": 1, **asdict(subject)}).encode() + b"\n"


def parse(content: bytes, shown: str) -> tuple[Subject, list[dict[str, Any]]]:
    """Return whose rows a file called ``shown`` holds, and the rows.

    Raises:
        DataError: it is no such file, or is damaged.
    """
    try:
        head, *rows = [json.loads(line) for line in content.splitlines()]
        if head.get("format") != FORMAT or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it does not say that it holds samples")
        subject = Subject(**{name: str(head[name]) for name in Subject.__dataclass_fields__})
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{shown} is no file of samples, or is damaged: {error}") from error
    return subject, rows


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    """Turn what the file system refuses inside the block into one line."""
    try:
        yield
    except OSError as error:
        raise ServiceError(f"{file} cannot be used: {error.strerror or error}") from error


def _file(path: Path, root: Path) -> File:
    return File(path.relative_to(root).as_posix(), path.stat().st_size)
