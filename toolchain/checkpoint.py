"""Checkpoints: what a training that was killed needs to go on as if it had not been."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.digest import digest_files, sha256_of_json
from toolchain.artifacts.folder import disk_space_reported
from toolchain.progress import say
from toolchain.services.storage import scratch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Checkpoint:
    """The place of one training's checkpoint, which only the very same training finds."""

    folder: Path

    def save(self, state: Mapping[str, Any]) -> None:
        """Write ``state``; the former one stays until this one is whole.

        Raises:
            StorageFullError: the disk is full.
        """
        import torch

        partial = self.folder / f".state.{os.getpid()}.partial"
        with disk_space_reported(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(dict(state), partial)
            os.replace(partial, self.folder / "state.pt")

    def load(self, device: "torch.device") -> dict[str, Any] | None:
        """Return the state that was saved last, its tensors on ``device``; None when there is none that can be read."""
        import torch

        try:
            state: dict[str, Any] = torch.load(self.folder / "state.pt", map_location=device, weights_only=True)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, UnpicklingError) as error:
            say(f"the checkpoint in {self.folder} cannot be read ({error}); training starts from the beginning")
            return None
        return state

    def remove(self) -> None:
        """Forget the training: it is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def checkpoint_of(code: Path, **identity: object) -> Checkpoint:
    """Return the checkpoint of the training described by ``identity`` (digests, settings, device) and by the Python
    files in the folder ``code``, a step's.
    """
    files = digest_files(code, [file.name for file in code.glob("*.py")])
    return Checkpoint(scratch() / "checkpoints" / sha256_of_json({**identity, "code": files}))
