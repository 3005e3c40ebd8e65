"""Image classifiers in PyTorch: built by name, saved to and loaded from a Model's folder, pruned or not.

``architecture.json`` in the model's folder describes the network. Preprocessing is a part of the module, so that no
variant of the model gets images with another normalisation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.artifacts.folder import disk_space_reported, read_json, write_json
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError, ConfigError, first_line
from toolchain.frameworks.torch.tensors import load_tensors

if TYPE_CHECKING:
    import torch

FORMAT = "toolchain.architecture"
DESCRIPTION = "architecture.json"
WEIGHTS = "model.safetensors"
EFFICIENTNET_LITE0 = "efficientnet-lite0"
BUILT_IN = ("cnn", "linear", EFFICIENTNET_LITE0)  # names without a library prefix
TORCHVISION, TIMM = "torchvision:", "timm:"
AUXILIARY_OUTPUTS = ("googlenet", "inception_v3")  # of torchvision: they return more than logits in training mode
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's weights
LITE_MEAN, LITE_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3  # (pixel - 127) / 128, as the lite models were trained


@dataclass(frozen=True)
class Architecture:
    """The architecture of an image classifier."""

    name: str  # one of BUILT_IN, torchvision:NAME or timm:NAME
    classes: int  # logits
    channels: int  # of an image: 1 (grey) or 3 (red, green, blue)
    height: int  # pixels of an image
    width: int
    mean: tuple[float, ...]  # of each channel, of values scaled to 0..1; three turn a grey image into three channels
    deviation: tuple[float, ...]  # standard deviation of each channel, above 0

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ConfigError(f"images have {self.channels} channels; a network takes 1 (grey) or 3 (colours)")
        for name in ("classes", "height", "width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; a network needs at least 1")
        if len(self.mean) != len(self.deviation) or len(self.mean) not in (self.channels, 3):
            raise ConfigError(f"mean {self.mean} and deviation {self.deviation} need a value for each channel")
        if not all(value > 0 for value in self.deviation):
            raise ConfigError(f"deviation {self.deviation} must be above 0")


def build_network(architecture: Architecture) -> "torch.nn.Module":
    """Return the network with random weights, in training mode, on the CPU, float32.

    It maps uint8 (batch, height, width, channels) to logits, float32 (batch, classes); normalisation is inside.

    Raises:
        ConfigError: there is no architecture of that name.
    """
    from toolchain.frameworks.torch.image_classifier.bodies import Network

    check_name(architecture.name)
    return Network(_body(architecture), architecture.mean, architecture.deviation)


def check_name(name: str) -> None:
    """Raise ConfigError, with the nearest names, unless ``name`` is that of an architecture."""
    known = _known(name)
    if name not in known:
        near = get_close_matches(name, known, 3, 0.5) or list(BUILT_IN)
        raise ConfigError(f"there is no architecture {name!r}; similar ones are {', '.join(near)}")


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and deviation that published weights of ``name`` were trained with; None for other networks."""
    if name.startswith(TORCHVISION):
        return IMAGENET_MEAN, IMAGENET_DEVIATION
    if name.startswith(TIMM):
        import timm

        settings: Any = timm.get_pretrained_cfg(name.removeprefix(TIMM))
        return (tuple(settings.mean), tuple(settings.std)) if settings else (IMAGENET_MEAN, IMAGENET_DEVIATION)
    return (LITE_MEAN, LITE_DEVIATION) if name == EFFICIENTNET_LITE0 else None


def save_network(module: "torch.nn.Module", architecture: Architecture, folder: Path) -> None:
    """Write ``module`` to ``folder`` as architecture.json and model.safetensors, which ``load_network`` reads."""
    from safetensors.torch import save_file

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in module.state_dict().items()}
    write_json(folder / DESCRIPTION, {"format": FORMAT, "version": 1, **asdict(architecture)})
    with disk_space_reported(folder):
        save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def read_architecture(model: Model) -> Architecture:
    """Return the architecture of the network in ``model``'s folder.

    Raises:
        ArtifactError: the folder has no architecture.json, or it is damaged or contradicts the model's labels.
    """
    found = read_json(model.path / DESCRIPTION, FORMAT)
    try:
        known = {name: found[name] for name in Architecture.__dataclass_fields__}
        known |= {name: tuple(map(float, known[name])) for name in ("mean", "deviation")}
        architecture = Architecture(**known)
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ArtifactError(f"{model.path / DESCRIPTION} is damaged: {first_line(error)}") from error
    labels = len(model.signature.labels)
    if labels != architecture.classes:
        raise ArtifactError(f"{model.path} names {labels} labels but its network has {architecture.classes} outputs")
    return architecture


def load_network(model: Model) -> "torch.nn.Module":
    """Return the network in ``model``'s folder, in evaluation mode, on the CPU, float32.

    It maps uint8 (batch, height, width, channels) to logits, float32 (batch, classes); normalisation is inside.
    Layers have the shapes of the saved weights, which pruning may have made smaller than the architecture's.

    Raises:
        ArtifactError: the architecture or the weights are not those of one image classifier.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    architecture = read_architecture(model)
    try:
        module = build_network(architecture)
        weights = load_file(model.weights)
        resize(module, weights)
        load_tensors(module, weights)
    except (OSError, ValueError, RuntimeError, KeyError, ConfigError, SafetensorError) as error:
        raise ArtifactError(f"{model.path} holds no network that PyTorch can load: {first_line(error)}") from error
    return module.float().eval()


def head_name(module: "torch.nn.Module", classes: int) -> str:
    """Return the name of the layer in ``module`` that computes the logits, such as "body.fc".

    Raises:
        ArtifactError: no layer has ``classes`` outputs.
    """
    import torch

    for name, layer in reversed(list(module.named_modules())):
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d) and len(layer.weight) == classes:
            return str(name)
    raise ArtifactError(f"the network has no layer with {classes} outputs, so its head is not known")


def resize(module: "torch.nn.Module", weights: "Mapping[str, torch.Tensor]") -> None:
    """Give the layers of ``module`` the shapes of ``weights`` (by name, as in a state), in place; values come later."""
    import torch

    for name, layer in module.named_modules():
        weight = weights.get(f"{name}.weight")
        if weight is None or not hasattr(layer, "weight") or layer.weight.shape == weight.shape:
            continue
        if isinstance(layer, torch.nn.Conv2d) and weight.ndim == 4:
            _resize_convolution(layer, weight.shape)
        elif isinstance(layer, torch.nn.Linear) and weight.ndim == 2:
            layer.out_features, layer.in_features = weight.shape
        elif isinstance(layer, torch.nn.BatchNorm2d) and weight.ndim == 1:
            layer.num_features = len(weight)
            layer.running_mean, layer.running_var = torch.zeros(len(weight)), torch.ones(len(weight))
        else:
            continue  # loading reports the different shapes
        layer.weight = torch.nn.Parameter(torch.empty(weight.shape))
        if layer.bias is not None:
            layer.bias = torch.nn.Parameter(torch.zeros(len(weight)))


def _resize_convolution(layer: "torch.nn.Conv2d", shape: "torch.Size") -> None:
    """Set the channels; a depthwise convolution has one group per input, other convolutions keep their groups."""
    if layer.groups == layer.in_channels > 1:
        layer.groups = shape[0] * layer.in_channels // layer.out_channels
    layer.out_channels, layer.in_channels = shape[0], shape[1] * layer.groups


def _known(name: str) -> tuple[str, ...]:
    """Return the names of architectures, with those of the library that ``name`` begins with."""
    if name.startswith(TORCHVISION):
        from torchvision import models

        return tuple(TORCHVISION + each for each in models.list_models(module=models) if each not in AUXILIARY_OUTPUTS)
    if name.startswith(TIMM):
        import timm

        return tuple(TIMM + each for each in timm.list_models())
    return (*BUILT_IN, f"{TORCHVISION}resnet18", f"{TIMM}resnet18")


def _body(architecture: Architecture) -> "torch.nn.Module":
    from toolchain.frameworks.torch.image_classifier import bodies

    name, classes, height, width = architecture.name, architecture.classes, architecture.height, architecture.width
    if name.startswith(TORCHVISION):
        return bodies.from_torchvision(name.removeprefix(TORCHVISION), classes)
    if name.startswith(TIMM):
        return bodies.from_timm(name.removeprefix(TIMM), classes, height, width)
    if name == EFFICIENTNET_LITE0:
        return bodies.from_timm("tf_efficientnet_lite0", classes, height, width)
    own = bodies.linear if name == "linear" else bodies.compact
    return own(classes, len(architecture.mean), height, width)
