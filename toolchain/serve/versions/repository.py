"""Read a model repository: ``routing.json`` and the folders of the versions that it names."""

import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

from toolchain.artifacts.folder import new_folder, write_file
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError, ConfigError, DataError, ServiceError, ToolchainError
from toolchain.lifecycle.routing import FILE, HEARTBEAT, RoutingConfig, Target
from toolchain.serve.settings import Settings

URI_DIGITS = 8  # of the SHA-256 of a repository's URI
PRIVATE = 0o700  # mode of the cache: files that other users can change are not served


class NotFoundError(ToolchainError):
    """A file or folder is not in the model repository."""


def open_repository(settings: Settings) -> "Folder | Bucket":
    """Open ``settings.model_repository``."""
    if settings.model_repository.startswith("s3://"):
        return Bucket(settings.model_repository.rstrip("/"), settings.cache)
    return Folder(Path(settings.model_repository))


class Folder:
    """A local repository."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, path.absolute().name  # the name of its model
        self.shown = str(path / FILE)

    def document(self) -> bytes:
        """Return the current routing.json.

        Raises:
            NotFoundError: there is none.
            ServiceError: it cannot be read.
        """
        try:
            return (self._path / FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"{self._path} has no {FILE}; promote a model first, or name another repository"
            ) from error
        except OSError as error:
            raise ServiceError(f"{self._path / FILE} cannot be read: {error.strerror or error}") from error

    def heartbeat(self) -> bytes:
        """Return the last heartbeat of a canary's promotion; b"" if there is none."""
        try:
            return (self._path / HEARTBEAT).read_bytes()
        except OSError:
            return b""

    def folder(self, target: Target) -> Path:
        """Return the folder of a version. Raises NotFoundError when there is none."""
        folder = self._path / target.digest
        if not folder.is_dir():
            raise NotFoundError(f"{folder} does not exist, but {FILE} names it; promote again")
        return folder

    def applied(self, document: bytes, routing: RoutingConfig) -> None:
        """Do nothing: ``document`` is local already."""


class Bucket:
    """A repository in S3. Versions are cached by digest in a local folder, so that the server starts without S3."""

    def __init__(self, uri: str, cache: Path) -> None:
        from toolchain.services import storage  # boto3 takes a third of a second to import, and a folder needs none

        self._uri, self.name, self.shown = uri, uri.rpartition("/")[2], f"{uri}/{FILE}"
        self._storage, self._routing_file = storage, storage.PolledFile(self.shown)
        self._heartbeat_file = storage.PolledFile(f"{uri}/{HEARTBEAT}")
        # models in different buckets may have the same name
        self._cache = _private(cache / f"{self.name}-{sha256(uri.encode()).hexdigest()[:URI_DIGITS]}")
        self._reached, self._warned = False, False  # S3 has been reached, and its absence has been logged
        self._named = set[str]()  # digests in the current routing config

    def document(self) -> bytes:
        """Return the current routing.json, or the cached one if S3 has never been reached.

        Raises:
            ServiceError: S3 is unavailable, or there is no such file.
        """
        cached = self._cache / FILE
        try:
            found = self._routing_file.content()
        except ServiceError as error:
            if self._reached or not cached.is_file():
                raise
            if not self._warned:
                print(f"{error}; serving the cached versions", file=sys.stderr, flush=True)
            self._warned = True
            return cached.read_bytes()
        self._reached = True
        return found

    def heartbeat(self) -> bytes:
        """Return the last heartbeat of a canary's promotion; b"" if there is none."""
        try:
            return self._heartbeat_file.content()
        except ServiceError:
            return b""

    def folder(self, target: Target) -> Path:
        """Return the local folder of a version, downloaded unless the cache has it.

        Raises:
            NotFoundError: S3 has no such folder.
            ServiceError: S3 is unavailable, or denies access.
            StorageFullError: the disk is full.
        """
        folder = self._cache / target.digest
        if not _is_whole(folder, target.digest):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                with new_folder(folder) as fetched:
                    self._storage.fetch_s3_prefix(f"{self._uri}/{target.digest}/", fetched)
            except DataError as error:
                raise NotFoundError(f"{self._uri}/{target.digest}/ does not exist, but {FILE} names it") from error
        return folder

    def applied(self, document: bytes, routing: RoutingConfig) -> None:
        """Cache ``document``, the applied routing.json, and remove versions that neither it nor the last one names.

        Raises:
            StorageFullError: the disk is full.
        """
        write_file(self._cache / FILE, document)
        before, self._named = self._named, {target.digest for target in routing.targets.values()}
        for folder in self._cache.iterdir():
            if folder.is_dir() and folder.name not in before | self._named:
                shutil.rmtree(folder, ignore_errors=True)


def _private(folder: Path) -> Path:
    """Create ``folder`` if necessary, and check that no other user can write to it."""
    try:
        folder.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE, exist_ok=True)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"{folder} cannot be created: {why}; choose another folder with --cache") from error
    if {folder.stat().st_uid, folder.parent.stat().st_uid} != {os.getuid()}:
        raise ConfigError(f"{folder.parent} belongs to another user; choose another folder with --cache")
    return folder


def _is_whole(folder: Path, digest: str) -> bool:
    try:
        return open_model(folder).digest == digest
    except ArtifactError:
        return False
