"""Publish what the ledger says serves to the model repository that servers poll, a folder or a prefix in S3.

Models are written first and routing.json last, by one rename or one request, so that what it names is there. Then the
ledger is read again: of two who publish at once, whoever is late sets right what it undid. What is not named any more
stays for ``KEPT_SECONDS``, since a server may be loading it still, and what a rollback leads to stays always.
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

KEPT_SECONDS = 3600.0  # of what nothing names any more: a server looks every 2 s, and loads in seconds, rarely minutes
NAME = "served"  # the folder in the runs, and the prefix in the bucket, that the shelves of all models are in


class ModelRepository(Protocol):
    """A place for the models and the routing of one registered model."""

    def has(self, digest: str) -> bool:
        """Return whether the model with ``digest`` is there, whole."""

    def put(self, folder: Path, digest: str) -> None:
        """Put the model in ``folder`` there, as ``digest``."""

    def tell(self, routing: bytes) -> None:
        """Replace the document at once."""

    def beat(self) -> None:
        """Tell servers that somebody watches the canary."""

    def clear(self, kept: Set[str], before: float) -> None:
        """Remove models other than ``kept`` that were put there ``before``, in seconds since 1970."""


class Folder:
    """A repository on this machine."""

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
        shutil.rmtree(self.path / digest, ignore_errors=True)  # what is there is damaged
        try:
            with new_folder(self.path / digest) as target:
                for part in folder.iterdir():
                    link_or_copy(part, target / part.name)
        except (ArtifactError, OSError):
            if not self.has(digest):  # else another process has put it there in between
                raise

    def tell(self, routing: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / FILE, routing)

    def beat(self) -> None:
        write_file(self.path / HEARTBEAT, _word())

    def clear(self, kept: Set[str], before: float) -> None:
        for folder in self.path.iterdir():
            if len(folder.name) == DIGEST_DIGITS and folder.name not in kept and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


class Bucket:
    """A repository in S3, whose ``uri`` is s3://BUCKET/PREFIX/."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def has(self, digest: str) -> bool:
        return s3.exists(f"{self.uri}{digest}/{DESCRIPTION}")

    def put(self, folder: Path, digest: str) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file == folder / DESCRIPTION):  # last: it says that all are there
            s3.upload(file, f"{self.uri}{digest}/{file.relative_to(folder).as_posix()}", shown=False)

    def tell(self, routing: bytes) -> None:
        s3.write(routing, self.uri + FILE)

    def beat(self) -> None:
        s3.write(_word(), self.uri + HEARTBEAT)

    def clear(self, kept: Set[str], before: float) -> None:
        newest: dict[str, float] = {}
        files: dict[str, list[str]] = {}
        for file in s3.listing(self.uri):
            digest = file.uri.removeprefix(self.uri).partition("/")[0]
            newest[digest] = max(newest.get(digest, 0.0), file.changed.timestamp())
            files.setdefault(digest, []).append(file.uri)
        for digest, uris in files.items():
            if len(digest) == DIGEST_DIGITS and digest not in kept and newest[digest] < before:
                s3.delete(sorted(uris, key=lambda uri: not uri.endswith(f"/{DESCRIPTION}")))


def open_repository(place: str) -> ModelRepository:
    """Return the repository at ``place``, a folder or s3://BUCKET/PREFIX."""
    return Bucket(f"{place.rstrip('/')}/") if place.startswith("s3://") else Folder(Path(place))


def publish(tracker: Tracker, model: str, place: str) -> RoutingConfig | None:
    """Put in the repository at ``place`` what the ledger says of ``model``, and return it; None where nothing serves.

    Raises:
        ArtifactError: a version's files in MLflow, or the ledger, were changed, or are gone.
        ServiceError: MLflow or S3 does not answer, or refuses.
        StorageFullError: the disk is full.
    """
    repository = open_repository(place)
    known = ledger.read(tracker, model)
    while routing := known.routing:
        for target in routing.targets.values():
            _bring(tracker, model, target, repository)
        repository.tell(as_bytes(routing))
        found = ledger.read(tracker, model)
        if found.routing == routing:
            _clear(repository, found)
            return routing
        known = found
    return None


def bring(tracker: Tracker, model: str, target: Target, place: str) -> None:
    """Copy the files of ``target`` to the repository at ``place``, before routing.json names it; see ``publish``."""
    _bring(tracker, model, target, open_repository(place))


def beat(place: str) -> None:
    """Tell the servers that look at ``place`` that somebody watches the canary.

    Raises:
        ServiceError: S3 does not answer, or refuses.
        StorageFullError: the disk is full.
    """
    open_repository(place).beat()


def needed(known: Ledger, since: float) -> set[str]:
    """Return the digests that ``known`` named at any time after ``since`` (seconds since 1970), and by a rollback."""
    found = {entry.digest for entry in known.promotions[-2:]}
    ends = [line.entry.created_at / 1000 for line in known.lines[1:]] + [float("inf")]
    for place, end in enumerate(ends, 1):
        routing = Ledger(known.model, known.lines[:place]).routing if end > since else None
        found |= {target.digest for target in routing.targets.values()} if routing else set()
    return found


def _word() -> bytes:
    return uuid4().hex.encode()


def _bring(tracker: Tracker, model: str, target: Target, repository: ModelRepository) -> None:
    """Fetch the files of ``target`` from MLflow and put them on ``repository``, if they are what they were."""
    if repository.has(target.digest):
        return
    version = next((one for one in tracker.versions(model) if one.tags.get(TAG_DIGEST) == target.digest), None)
    if version is None:
        raise ArtifactError(f"version {target.version} of {model} is gone from MLflow; promote another one")
    with TemporaryDirectory(prefix="served-") as folder:
        fetched = tracker.download(version.run, version.path, Path(folder))
        if open_model(fetched).digest != target.digest:
            raise ArtifactError(f"version {target.version} of {model} was changed in MLflow; register it again")
        repository.put(fetched, target.digest)


def _clear(repository: ModelRepository, known: Ledger) -> None:
    """Remove what nobody needs; that it cannot be removed now is no reason to fail what was published."""
    before = time.time() - KEPT_SECONDS
    try:
        repository.clear(needed(known, before), before)
    except ServiceError as error:
        log_info(f"old models stay in the repository until the next time: {error}")
