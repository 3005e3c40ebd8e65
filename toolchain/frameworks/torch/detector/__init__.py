"""Detectors in PyTorch: built by name, saved to and loaded from a Model's folder, with all that inference needs inside.

``detector.json`` in the model's folder describes the network. A detector takes the pixels of one image and returns
boxes: normalisation, the decoding of boxes and non-maximum suppression are parts of the module.
"""

from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.artifacts.folder import disk_space_reported, read_json, write_json
from toolchain.artifacts.model import Model, Tensor
from toolchain.errors import ArtifactError, ConfigError, first_line
from toolchain.frameworks.torch.tensors import load_tensors

if TYPE_CHECKING:
    from toolchain.frameworks.torch.detector.parts import Detector

FORMAT = "toolchain.detector"
DESCRIPTION = "detector.json"
WEIGHTS = "model.safetensors"
LITE0 = "fcos:efficientnet-lite0"
TORCHVISION = (  # single-stage detectors of torchvision, by its own names
    "fcos_resnet50_fpn",
    "retinanet_resnet50_fpn",
    "retinanet_resnet50_fpn_v2",
    "ssd300_vgg16",
    "ssdlite320_mobilenet_v3_large",
)
BASES = (LITE0, *TORCHVISION)
CELL = 32  # pixels of the coarsest feature; sides are multiples of it, so that features do not exceed the image


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The architecture of a detector."""

    base: str  # one of BASES
    classes: int  # without the background
    image_size: int  # pixels of each side of its input image, a multiple of CELL
    score_threshold: float = (
        0.05  # 0..1: boxes with a lower score are dropped; low, so that the precision-recall curve is complete
    )
    nms_threshold: float = (
        0.5  # 0..1: of two boxes of one class with a higher intersection over union, the better one is kept
    )
    max_detections: int = 300  # boxes per image, the best ones; COCO counts 100, some images hold more
    candidates: int = 1000  # best boxes before non-maximum suppression, as in torchvision

    def __post_init__(self) -> None:
        check_base(self.base)
        if self.image_size < 2 * CELL or self.image_size % CELL:
            raise ConfigError(
                f"image_size is {self.image_size} pixels; a detector takes a multiple of {CELL} from {2 * CELL} on"
            )
        for name in ("classes", "max_detections", "candidates"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a detector needs at least 1")
        if not 0 <= self.score_threshold < 1:
            raise ConfigError(
                f"score_threshold is {self.score_threshold}: give a score from 0 to below 1, such as 0.05"
            )
        if not 0 < self.nms_threshold <= 1:
            raise ConfigError(f"nms_threshold is {self.nms_threshold}: give a share above 0 and up to 1, such as 0.5")

    def inputs(self) -> tuple[Tensor, ...]:
        """The input: one image, resized."""
        return (Tensor("image", "uint8", (1, self.image_size, self.image_size, 3)),)

    def outputs(self) -> tuple[Tensor, ...]:
        """The outputs: boxes, the best first, in pixels of the input."""
        boxes = Tensor("boxes", "float32", ("objects", 4))
        return boxes, Tensor("scores", "float32", ("objects",)), Tensor("labels", "int64", ("objects",))


def check_base(base: str) -> None:
    """Raise ConfigError, with the nearest names, unless ``base`` is a known detector."""
    if base not in BASES:
        near = get_close_matches(base, BASES, 3, 0.5) or BASES
        raise ConfigError(f"there is no detector {base!r}; similar ones are {', '.join(near)}")


def build_detector(architecture: Architecture) -> "Detector":
    """Return the detector in evaluation mode, on the CPU, float32, with random weights.

    It maps uint8 (1, size, size, 3) to boxes float32 (n, 4), scores float32 (n,) and labels int64 (n,), best first.

    Raises:
        ConfigError: images of that size are too small for its convolutions.
    """
    from toolchain.frameworks.torch.detector import parts

    try:
        return parts.Detector(parts.network(architecture), architecture).eval()
    except RuntimeError as error:
        raise ConfigError(
            f"{architecture.base} cannot take images of {architecture.image_size} x {architecture.image_size} pixels "
            f"({first_line(error)}); set a larger image_size, 320 is usual"
        ) from error


def save_detector(detector: "Detector", folder: Path) -> None:
    """Write ``detector`` to ``folder`` as detector.json and model.safetensors, which ``load_detector`` reads."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in detector.network.state_dict().items()}
    write_json(folder / DESCRIPTION, {"format": FORMAT, "version": 1, **asdict(detector.architecture)})
    with disk_space_reported(folder):
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def read_architecture(model: Model) -> Architecture:
    """Return the architecture of the detector in ``model``'s folder.

    Raises:
        ArtifactError: the folder has no detector.json, or it is damaged or contradicts the model's labels.
    """
    found = read_json(model.path / DESCRIPTION, FORMAT)
    try:
        architecture = Architecture(**{name: found[name] for name in Architecture.__dataclass_fields__})
    except (KeyError, TypeError, ConfigError) as error:
        raise ArtifactError(f"{model.path / DESCRIPTION} is damaged: {first_line(error)}") from error
    labels = len(model.signature.labels)
    if labels != architecture.classes:
        raise ArtifactError(f"{model.path} names {labels} labels but its detector has {architecture.classes} classes")
    return architecture


def load_detector(model: Model) -> "Detector":
    """Return the detector in ``model``'s folder, in evaluation mode, on the CPU, float32.

    It maps uint8 (1, size, size, 3) to boxes float32 (n, 4), scores float32 (n,) and labels int64 (n,), best first.

    Raises:
        ArtifactError: the description or the weights are not those of one detector.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    architecture = read_architecture(model)
    try:
        detector = build_detector(architecture)
        load_tensors(detector.network, load_file(model.weights))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ArtifactError(f"{model.path} holds no detector that PyTorch can load: {first_line(error)}") from error
    return detector.float().eval()
