"""The network before training: an architecture by name, and weights from a library, a file or a Python package."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from toolchain.errors import ArtifactError, ConfigError, first_line
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
from toolchain.frameworks.torch.weights import LITE_WEIGHTS, Weights, fetch_weights, timm_weights, torchvision_weights
from toolchain.progress import log_info

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PRETRAINED = "pretrained"  # the weights that the library, or a Python package, has for the architecture
MAX_NAMES = 3  # of missing tensors in an error


def build(architecture: Architecture) -> "Module":
    """Return the network with random weights, after a trial run on one image: some accept certain sizes only.

    Raises:
        ConfigError: it does not accept images of that size, or its pooling has no operator in ONNX.
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
            f"{architecture.name} cannot take images of {size[0]} x {size[1]} pixels ({uneven[-1]}); set height and "
            f"width, for example to {DEFAULT_SIZE}"
        )
    return network


@contextmanager
def _pooling(network: "Module", uneven: list[str]) -> Iterator[None]:
    """Append to ``uneven`` each pooling of ``network`` into cells of different sizes, as VGG's of small images.

    ONNX has no operator for it, and export would fail after training.
    """
    import torch

    def check(layer: "Module", inputs: "tuple[Tensor, ...]", output: "Tensor") -> None:
        before, after = tuple(inputs[0].shape[-2:]), tuple(output.shape[-2:])
        if any(size % cells for size, cells in zip(before, after, strict=True)):
            uneven.append(f"it pools {before[0]} x {before[1]} values into {after[0]} x {after[1]}, which ONNX cannot")

    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.AdaptiveAvgPool2d)]
    hooks = [layer.register_forward_hook(check) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def find_weights(name: str, uri: str, digest: str = "") -> Weights:
    """Return the weights at ``uri`` for the architecture ``name``.

    Args:
        uri: "" for none, "pretrained", or a .safetensors or .pth file: a path, package:NAME/FILE, s3:// or https://.
        digest: The SHA-256 that the file must have; "" accepts any.

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
    return fetch_weights(uri, digest)


def load_weights(network: "Module", weights: Weights, classes: int) -> bool:
    """Load ``weights`` into ``network``, in place; return whether its head stays random because of other classes.

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
            f"{len(foreign)} are foreign ({', '.join((missing + foreign)[:MAX_NAMES])}); set "
            f"base to the architecture of the weights"
        )
    load_tensors(network, fits, strict=False)
    if new:
        log_info(f"the weights are for other classes: {head[:-1]} starts at random for the {classes} of this dataset")
    return bool(new)


def _renamed(tensors: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "Mapping[str, Tensor]":
    """Return ``tensors`` under our names: efficientnet_lite_pytorch names its parts otherwise, in the same order."""
    given = {name: tensor for name, tensor in tensors.items() if "num_batches_tracked" not in name}
    if "_conv_stem.weight" not in given or len(given) != len(wanted):
        return given
    return dict(zip(wanted, given.values(), strict=True))


def _from_library(name: str) -> "dict[str, Tensor]":
    library, _, short = name.partition(":")
    download = {TORCHVISION: torchvision_weights, TIMM: timm_weights}.get(f"{library}:")
    if download is None:
        raise ConfigError(f"there are no pretrained weights for {name}; leave weights empty, or give a file")
    return download(short)
