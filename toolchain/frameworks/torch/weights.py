"""Weights: trained tensors by name from a file of PyTorch or safetensors, wherever it is, read without running it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from toolchain.errors import ArtifactError, ConfigError, first_line
from toolchain.services.locations import local_path
from toolchain.services.storage import fetch

if TYPE_CHECKING:
    from torch import Tensor

INSIDE = ("state_dict", "model")  # where training scripts put the tensors


@dataclass(frozen=True)
class Weights:
    """Trained tensors, and where they came from."""

    uri: str  # "" for none
    sha256: str  # of the file; "" for none, and for those that a library fetched
    tensors: "dict[str, Tensor]"


def fetch_weights(uri: str, digest: str = "") -> Weights:
    """Return the tensors in the file at ``uri`` (.safetensors, .pt or .pth), or in the Model's folder there.

    Args:
        uri: A path, package:NAME/FILE, s3:// or https://.
        digest: The SHA-256 that the file must have; "" takes what is there.

    Raises:
        ArtifactError: the file is damaged, or holds no tensors by name.
        ConfigError: the file has another digest, or no such package is installed.
        DataError: there is no such file.
        ServiceError: a server is out of reach.
    """
    path = local_path(uri)
    inside = path / "model.safetensors" if path and path.is_dir() else None
    with TemporaryDirectory() as folder:
        found = fetch(str(inside) if inside and inside.is_file() else uri, Path(folder))
        if digest and found.sha256 != digest:
            raise ConfigError(f"{uri} has SHA-256 {found.sha256}, expected is {digest}; get the right file")
        return Weights(uri, found.sha256, _read(found.files[0], uri))


def _read(file: Path, uri: str) -> "dict[str, Tensor]":
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if file.suffix == ".safetensors":
            return load(file.read_bytes())  # not mapped: a fetched file is about to go
        found: Any = torch.load(file, map_location="cpu", weights_only=True)  # runs no code that a file brings
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError, SafetensorError) as error:
        reason = first_line(error)
        raise ArtifactError(f"{uri} holds no weights that can be read: {reason}; get the file again") from error
    for key in INSIDE:
        found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
    tensors = dict(found) if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ArtifactError(f"{uri} holds no tensors by name; save a module's state_dict")
    return {name.removeprefix("module."): value for name, value in tensors.items()}  # of DistributedDataParallel
