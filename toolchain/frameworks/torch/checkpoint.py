"""Checkpoints: what a training that was killed needs to go on as if it had not been.

A checkpoint lies in the scratch folder, and where TOOLCHAIN_CHECKPOINTS names a place in S3 there too: a pod that is
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
from toolchain.progress import log_info
from toolchain.services import storage
from toolchain.services.storage import s3, scratch

if TYPE_CHECKING:
    import torch

STATE = "state.pt"
SAVED = "saved"  # the mark of a copy in S3: when its file was written, in nanoseconds since 1970


class Copies:
    """The copies of a checkpoint's file in S3; they are made while training goes on."""

    def __init__(self, folder: str) -> None:
        self.uri = f"{folder}/{STATE}"  # one file, which S3 holds whole or not at all
        self._copying = Thread()

    def copy(self, file: Path) -> None:
        """Begin to copy ``file``; while the copy before is still under way, this one is left out."""
        if self._copying.is_alive():
            return
        still = file.with_name(f".{file.name}.{uuid.uuid4().hex[:8]}.copying")
        link_or_copy(file, still)  # the next checkpoint takes the place of ``file``, not of this
        self._copying = Thread(target=self._copy, args=[still], daemon=True)
        self._copying.start()

    def newer_than(self, file: Path) -> bool:
        """Return whether there is a copy, and no ``file`` or one that was written before it."""
        marks = s3.marks(self.uri)
        return marks is not None and (not file.is_file() or int(marks.get(SAVED, 0)) > file.stat().st_mtime_ns)

    def fetch(self, file: Path) -> None:
        """Put the copy in the place of ``file``."""
        with disk_space_reported(file.parent):
            file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.parent / f".fetched.{os.getpid()}"
        partial.mkdir(exist_ok=True)
        try:
            os.replace(storage.fetch(self.uri, partial).files[0], file)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def wait(self) -> None:
        """Return when no copy is under way."""
        if self._copying.is_alive():
            self._copying.join()

    def remove(self) -> None:
        """Delete the copy, once none is under way."""
        self.wait()
        try:
            storage.delete([self.uri])
        except ServiceError as error:
            log_info(f"the checkpoint of this training, which is done, stays behind: {error}")

    def _copy(self, still: Path) -> None:
        try:
            storage.upload(still, self.uri, {SAVED: str(still.stat().st_mtime_ns)}, shown=False)
        except (ToolchainError, OSError) as error:
            log_info(f"this checkpoint is on this machine only, training goes on: {error}")
        finally:
            still.unlink(missing_ok=True)


@dataclass(frozen=True)
class Checkpoint:
    """The place of one training's checkpoint, which only the very same training finds."""

    folder: Path
    copies: Copies | None = field(default=None, compare=False)  # in S3

    @property
    def file(self) -> Path:
        return self.folder / STATE

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state``; the former one stays until this one is whole. S3 gets it while training goes on.

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
        """Return the state that was saved last, its tensors on ``device``; None when there is none that can be read.

        Raises:
            ServiceError: S3 is down or refuses: to begin again would throw away what may be there.
            StorageFullError: the disk is full.
        """
        if self.copies and self.copies.newer_than(self.file):
            self.copies.fetch(self.file)
            log_info(f"training goes on from {self.copies.uri}")
        return self._read(device)

    def remove(self) -> None:
        """Forget the training: it is done."""
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
            log_info(f"the checkpoint in {self.folder} cannot be read ({error}); training starts from the beginning")
            return None
        return state


def checkpoint_of(code: Path, **identity: object) -> Checkpoint:
    """Return the checkpoint of the training described by ``identity`` (digests, settings, device) and by the Python
    files in the folder ``code``, a step's.

    Raises:
        ConfigError: TOOLCHAIN_CHECKPOINTS names no place in S3.
    """
    files = digest_files(code, [file.name for file in code.glob("*.py")])
    key = sha256_of_json({**identity, "code": files})
    elsewhere = storage.checkpoints()
    return Checkpoint(scratch() / "checkpoints" / key, Copies(f"{elsewhere}/{key}") if elsewhere else None)
