"""Publish the ledger's routing to the model repository that servers poll, a folder or a prefix in S3.

Models are written first and routing.json last, atomically, so that it names complete models only. Then the ledger is
read again: of two concurrent publishers, the later one corrects a stale routing config. Models that are not named any
more stay for ``RETENTION_S``, since a server may still be loading them; a rollback's target always stays.
"""

import shutil
import time
from collections.abc import Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol
from uuid import uuid4

from toolchain.artifacts.folder import link_or_copy, new_folder, write_file
from toolchain.artifacts.model import DESCRIPTION, open_model
from toolchain.errors import ArtifactError, ServiceError
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import Ledger
from toolchain.lifecycle.registry import TAG_DIGEST
from toolchain.lifecycle.routing import DIGEST_DIGITS, FILE, HEARTBEAT, RoutingConfig, Target, as_bytes
from toolchain.progress import log_info
from toolchain.services.mlflow import Tracker
from toolchain.services.storage import s3

RETENTION_S = 3600.0  # of unused models: servers poll every 2 s, and load a model in seconds, rarely minutes
NAME = "served"  # folder in the runs, and prefix in the bucket, of the repositories of all models


class ModelRepository(Protocol):
    """The versions and the routing config of one registered model."""

    def has(self, digest: str) -> bool:
        """Return whether the model with ``digest`` is complete in the repository."""

    def put(self, folder: Path, digest: str) -> None:
        """Copy the model in ``folder`` to the repository, as ``digest``."""

    def write_routing(self, routing: bytes) -> None:
        """Replace routing.json atomically."""

    def write_heartbeat(self) -> None:
        """Write a heartbeat: servers learn that the canary is being watched."""

    def remove_unused(self, used: Set[str], before: float) -> None:
        """Remove models other than ``used`` that were written ``before``, in seconds since 1970."""


class Folder:
    """A repository in a local folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, digest: str) -> bool:
        try:
            return open_model(self.path / digest).digest == digest
        except ArtifactError:
            return False

    def put(self, folder: Path, digest: str) -> None:
        if self.has(digest):
            return
        shutil.rmtree(self.path / digest, ignore_errors=True)  # an existing one is damaged
        try:
            with new_folder(self.path / digest) as target:
                for part in folder.iterdir():
                    link_or_copy(part, target / part.name)
        except (ArtifactError, OSError):
            if not self.has(digest):  # otherwise another process has written it meanwhile
                raise

    def write_routing(self, routing: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / FILE, routing)

    def write_heartbeat(self) -> None:
        write_file(self.path / HEARTBEAT, _random_word())

    def remove_unused(self, used: Set[str], before: float) -> None:
        for folder in self.path.iterdir():
            if len(folder.name) == DIGEST_DIGITS and folder.name not in used and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


class Bucket:
    """A repository in S3, whose ``uri`` is s3://BUCKET/PREFIX/."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def has(self, digest: str) -> bool:
        return s3.exists(f"{self.uri}{digest}/{DESCRIPTION}")

    def put(self, folder: Path, digest: str) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file == folder / DESCRIPTION):  # last: it marks completion
            s3.upload(file, f"{self.uri}{digest}/{file.relative_to(folder).as_posix()}", shown=False)

    def write_routing(self, routing: bytes) -> None:
        s3.write(routing, self.uri + FILE)

    def write_heartbeat(self) -> None:
        s3.write(_random_word(), self.uri + HEARTBEAT)

    def remove_unused(self, used: Set[str], before: float) -> None:
        newest: dict[str, float] = {}
        files: dict[str, list[str]] = {}
        for file in s3.listing(self.uri):
            digest = file.uri.removeprefix(self.uri).partition("/")[0]
            newest[digest] = max(newest.get(digest, 0.0), file.changed.timestamp())
            files.setdefault(digest, []).append(file.uri)
        for digest, uris in files.items():
            if len(digest) == DIGEST_DIGITS and digest not in used and newest[digest] < before:
                s3.delete(sorted(uris, key=lambda uri: not uri.endswith(f"/{DESCRIPTION}")))


def open_repository(uri: str) -> ModelRepository:
    """Return the repository at ``uri``, a folder or s3://BUCKET/PREFIX."""
    return Bucket(f"{uri.rstrip('/')}/") if uri.startswith("s3://") else Folder(Path(uri))


def publish(tracker: Tracker, model: str, uri: str) -> RoutingConfig | None:
    """Write the routing of ``model`` to the repository at ``uri``, and return it; None before the first promotion.

    Raises:
        ArtifactError: a version's files in MLflow, or the ledger, are missing or were changed.
        ServiceError: MLflow or S3 does not respond, or rejects the request.
        StorageFullError: the disk is full.
    """
    repository = open_repository(uri)
    known = ledger.read(tracker, model)
    while routing := known.routing:
        for target in routing.targets.values():
            _upload(tracker, model, target, repository)
        repository.write_routing(as_bytes(routing))
        found = ledger.read(tracker, model)
        if found.routing == routing:
            _remove_unused(repository, found)
            return routing
        known = found
    return None


def upload_version(tracker: Tracker, model: str, target: Target, uri: str) -> None:
    """Copy the files of ``target`` to the repository at ``uri``, before routing.json names it; see ``publish``."""
    _upload(tracker, model, target, open_repository(uri))


def write_heartbeat(uri: str) -> None:
    """Signal the servers that poll the repository at ``uri`` that the canary is being watched.

    Raises:
        ServiceError: S3 does not respond, or rejects the request.
        StorageFullError: the disk is full.
    """
    open_repository(uri).write_heartbeat()


def digests_in_use(known: Ledger, since: float) -> set[str]:
    """Return the digests routed to at any time after ``since`` (seconds since 1970), or by the next rollback."""
    found = {entry.digest for entry in known.promotions[-2:]}
    ends = [line.entry.created_at / 1000 for line in known.lines[1:]] + [float("inf")]
    for number, end in enumerate(ends, 1):
        routing = Ledger(known.model, known.lines[:number]).routing if end > since else None
        found |= {target.digest for target in routing.targets.values()} if routing else set()
    return found


def _random_word() -> bytes:
    return uuid4().hex.encode()


def _upload(tracker: Tracker, model: str, target: Target, repository: ModelRepository) -> None:
    """Copy the files of ``target`` from MLflow to ``repository``, after verifying their digest."""
    if repository.has(target.digest):
        return
    version = next((one for one in tracker.versions(model) if one.tags.get(TAG_DIGEST) == target.digest), None)
    if version is None:
        raise ArtifactError(f"version {target.version} of {model} is missing from MLflow; promote another one")
    with TemporaryDirectory(prefix="served-") as folder:
        fetched = tracker.download(version.run, version.path, Path(folder))
        if open_model(fetched).digest != target.digest:
            raise ArtifactError(f"version {target.version} of {model} was changed in MLflow; register it again")
        repository.put(fetched, target.digest)


def _remove_unused(repository: ModelRepository, known: Ledger) -> None:
    """Remove unused models. A failure is only logged: the routing is published already."""
    before = time.time() - RETENTION_S
    try:
        repository.remove_unused(digests_in_use(known, before), before)
    except ServiceError as error:
        log_info(f"unused models are removed from the repository at the next promotion: {error}")
