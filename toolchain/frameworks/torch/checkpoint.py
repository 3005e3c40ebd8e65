"""Checkpoints, from which a killed training resumes with the result of an uninterrupted one.

A checkpoint is kept in the scratch folder and, if TOOLCHAIN_CHECKPOINTS is an S3 location, in S3: a pod that is
restarted on another node begins with an empty disk.
"""

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from threading import Thread
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.digest import digest_files, sha256_of_json
from toolchain.artifacts.folder import disk_space_reported, link_or_copy
from toolchain.errors import ServiceError, ToolchainError
from toolchain.frameworks.torch.device import TrainingDevice
from toolchain.import_closure import ROOT, import_closure
from toolchain.progress import log_info
from toolchain.services import storage
from toolchain.services.storage import s3, scratch

if TYPE_CHECKING:
    import torch

STATE = "state.pt"
SAVED = "saved"  # the mark of a copy in S3: when its file was written, in nanoseconds since 1970


class Copies:
    """The copies of a checkpoint's file in S3, uploaded in the background."""

    def __init__(self, folder: str) -> None:
        self.uri = f"{folder}/{STATE}"  # one file, which S3 holds whole or not at all
        self._copying = Thread()

    def copy(self, file: Path) -> None:
        """Start to upload ``file``; skip it while the previous upload is still running."""
        if self._copying.is_alive():
            return
        link = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.copying")
        link_or_copy(file, link)  # the next checkpoint replaces ``file``, not this link
        self._copying = Thread(target=self._copy, args=[link], daemon=True)
        self._copying.start()

    def newer_than(self, file: Path) -> bool:
        """Return whether the copy exists and is newer than ``file``, or ``file`` is missing."""
        marks = s3.metadata(self.uri)
        return marks is not None and (not file.is_file() or int(marks.get(SAVED, 0)) > file.stat().st_mtime_ns)

    def fetch(self, file: Path) -> None:
        """Replace ``file`` by the copy."""
        with disk_space_reported(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.parent / f".fetched.{os.getpid()}"
        partial.mkdir(exist_ok=True)
        try:
            os.replace(storage.fetch(self.uri, partial).files[0], file)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def wait(self) -> None:
        """Wait for the running upload."""
        if self._copying.is_alive():
            self._copying.join()

    def remove(self) -> None:
        """Delete the copy, after the running upload."""
        self.wait()
        try:
            storage.delete([self.uri])
        except ServiceError as error:
            log_info(f"the checkpoint of this finished training could not be deleted: {error}")

    def _copy(self, link: Path) -> None:
        try:
            storage.upload(link, self.uri, {SAVED: str(link.stat().st_mtime_ns)}, shown=False)
        except (ToolchainError, OSError) as error:
            log_info(f"checkpoint not copied to S3, training continues: {error}")
        finally:
            link.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint of one training; another dataset, setting, machine or code has another one."""

    folder: Path
    copies: Copies | None = field(default=None, compare=False)  # in S3

    @property
    def file(self) -> Path:
        return self.folder / STATE

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state``, which replaces the previous one when it is complete; upload it in the background.

        Raises:
            StorageFullError: the disk is full.
        """
        import torch

        partial = self.folder / f".state.{os.getpid()}.partial"
        with disk_space_reported(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state), partial)
            os.replace(partial, self.file)
            if self.copies:
                self.copies.copy(self.file)

    def load(self, device: "torch.device") -> dict[str, Any] | None:
        """Return the state that was saved last, its tensors on ``device``; None when there is none, or it is damaged.

        Raises:
            ServiceError: S3 is down or denies access; starting over would discard a checkpoint that may exist.
            StorageFullError: the disk is full.
        """
        if self.copies and self.copies.newer_than(self.file):
            self.copies.fetch(self.file)
            log_info(f"resuming training from {self.copies.uri}")
        return self._read(device)

    def remove(self) -> None:
        """Delete the checkpoint of a finished training."""
        if self.copies:
            self.copies.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, device: "torch.device") -> dict[str, Any] | None:
        import torch

        try:
            state: dict[str, Any] = torch.load(self.file, map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            log_info(f"the checkpoint in {self.folder} cannot be read ({error}); training starts over")
            return None
        return state


def find_checkpoint(module: str, device: TrainingDevice, **identity: object) -> Checkpoint:
    """Return the checkpoint of the training that ``module`` runs on ``device``, further described by ``identity``.

    It depends on the source of every module that ``module`` imports, on the version of PyTorch, and on ``identity``:
    digests and settings.

    Raises:
        ConfigError: TOOLCHAIN_CHECKPOINTS is not an S3 location.
    """
    import torch

    code = digest_files(ROOT, [str(path.relative_to(ROOT)) for path in import_closure(module)])
    key = sha256_of_json({**identity, "code": code, "device": device.fingerprint(), "torch": torch.__version__})
    remote = storage.checkpoints()
    return Checkpoint(scratch() / "checkpoints" / key, Copies(f"{remote}/{key}") if remote else None)
