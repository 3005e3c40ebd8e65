"""The weights before training: of a complete detector, of its backbone only, or none."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolchain.errors import ArtifactError, ConfigError
from toolchain.frameworks.torch.detector import LITE0
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.torch.weights import LITE_WEIGHTS, Weights, fetch_weights, torchvision_weights
from toolchain.progress import log_info

if TYPE_CHECKING:
    from torch import Tensor

PRETRAINED, BACKBONE = (
    "pretrained",
    "backbone",
)  # weights of torchvision: detectors trained on COCO, backbones on ImageNet
BODY = "backbone.body."  # prefix of a backbone's tensors in a detector
COUNTERS = "num_batches_tracked"  # of batch normalisation; they do not affect predictions
MAX_NAMES = 3  # of mismatched tensors in an error


def find_weights(base: str, uri: str, digest: str = "") -> Weights:
    """Return the weights at ``uri`` for the detector ``base``.

    Args:
        uri: "" for none, "pretrained" or "backbone" for torchvision's, or a file: a path, package:NAME/FILE, s3://
            or https://.
        digest: The SHA-256 that the file must have; "" accepts any.

    Raises:
        ArtifactError: the file is damaged, or holds no weights.
        ConfigError: torchvision publishes none for ``base``, or the file has another digest.
        DataError: there is no such file.
        ServiceError: torchvision's server, or that of the file, is out of reach.
    """
    if not uri:
        return Weights("", "", {})
    if uri == BACKBONE and base == LITE0:
        uri = LITE_WEIGHTS
    if uri in (PRETRAINED, BACKBONE):
        return Weights(f"torchvision: {base}, {uri}", "", _published(base, uri))
    return fetch_weights(uri, digest)


def load_weights(network: Any, weights: Weights) -> list[str]:
    """Load ``weights`` into ``network``, a detector's, in place; return the layers that stay random.

    The classification layer stays random where the weights are for other classes. Weights of a classifier go to the
    backbone, and the detection layers stay random.

    Raises:
        ArtifactError: they are of another architecture.
    """
    if not weights.tensors:
        return ["all"]
    wanted = {name: tensor for name, tensor in network.state_dict().items() if COUNTERS not in name}
    whole = any(name.startswith("backbone.") for name in weights.tensors)
    given = dict(weights.tensors) if whole else _as_body(weights.tensors, wanted)
    fits = {name: tensor for name, tensor in given.items() if name in wanted and tensor.shape == wanted[name].shape}
    expected = [
        name for name in wanted if not name.startswith(_class_prefix(wanted)) and (whole or name.startswith(BODY))
    ]
    missing = [name for name in expected if name not in fits]
    if missing or not expected:
        raise ArtifactError(
            f"{weights.uri} is of another architecture: {len(missing)} of {len(expected)} tensors are missing or "
            f"differ in shape ({', '.join(missing[:MAX_NAMES])}); set base to the detector of the weights"
        )
    load_tensors(network, fits, strict=False)
    return _log_new(wanted, fits, whole)


def _log_new(wanted: "Mapping[str, Tensor]", fits: "Mapping[str, Tensor]", whole: bool) -> list[str]:
    new = sorted({name.rsplit(".", 1)[0] for name in wanted if name not in fits})
    if whole and new:
        log_info(f"the weights are for other classes: {', '.join(new)} starts at random")
    if not whole:
        log_info(f"the weights are those of the backbone; {len(new)} detection layers start at random")
    return new


def _class_prefix(wanted: "Mapping[str, Tensor]") -> str:
    """Return the name prefix of the layers that classify."""
    head = "head.classification_head."
    return f"{head}module_list." if any(name.startswith(f"{head}module_list.") for name in wanted) else f"{head}cls_"


def _as_body(tensors: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return a classifier's ``tensors`` under the names of a detector's backbone.

    efficientnet_lite_pytorch uses other names than timm, in the same order.
    """
    given = {name: tensor for name, tensor in tensors.items() if COUNTERS not in name}
    if "_conv_stem.weight" in given:
        own = [name for name in wanted if name.startswith(BODY)]
        return dict(zip(own, given.values(), strict=False))  # the classifier's last layers are dropped
    return {BODY + name: tensor for name, tensor in given.items()}


def _published(base: str, part: str) -> "dict[str, Tensor]":
    if base == LITE0:
        raise ConfigError(f"there are no published detectors of {base}; weights 'backbone' are those of ImageNet")
    if part == BACKBONE and "resnet50" not in base:
        raise ConfigError(f"{base} needs the weights of a complete detector; give 'pretrained', a file, or none")
    return torchvision_weights(base if part == PRETRAINED else "resnet50")
