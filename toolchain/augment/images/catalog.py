"""List the Albumentations transforms that a policy may use, and validate their arguments."""

import sys
from inspect import Parameter, isabstract, signature
from types import ModuleType
from typing import Any

from toolchain.augment.images.policy import nearest
from toolchain.errors import ConfigError

# Unsupported transforms by reason. All other transforms of a single image are supported.
_UNSUPPORTED = {
    "the training step normalizes": ("Normalize", "ToFloat", "FromFloat"),
    "the training step makes tensors": ("ToTensorV2", "ToTensor3D"),
    "it needs images or settings besides the policy": (
        "FDA",
        "HistogramMatching",
        "PixelDistributionAdaptation",
        "TemplateTransform",
        "TextImage",
        "OverlayElements",
        "MaskDropout",
        "ConstrainedCoarseDropout",
        "RandomCropNearBBox",
        "Lambda",
    ),
    "it transforms volumes": (
        "CenterCrop3D",
        "CoarseDropout3D",
        "CubicSymmetry",
        "GridShuffle3D",
        "Pad3D",
        "PadIfNeeded3D",
        "RandomCrop3D",
    ),
    "it transforms audio": ("TimeMasking", "TimeReverse", "FrequencyMasking"),
}
ANY_SIZE = ("RandomResizedCrop", "RandomSizedCrop")  # without a size they keep the image's
MOSAIC = "Mosaic"
_OPTIONAL = {"size", "target_size", "cell_shape"}  # arguments of ANY_SIZE that the step provides


def load() -> ModuleType:
    """Return Albumentations, imported without PyTorch and without its request to a package index."""
    if "albumentations" not in sys.modules:
        sys.modules.setdefault("albumentations.pytorch", ModuleType("albumentations.pytorch"))
        no_check = ModuleType("albumentations.check_version")
        no_check.check_for_updates = lambda: None  # type: ignore[attr-defined]
        sys.modules.setdefault("albumentations.check_version", no_check)
    import albumentations

    return albumentations  # type: ignore[no-any-return]


def find_class(name: str) -> Any:
    """Return the class of the transform ``name``.

    Raises:
        ConfigError: it is unknown, or not supported in a policy.
    """
    library = load()
    known = _supported_names(library)
    for reason, names in _UNSUPPORTED.items():
        if name in names:
            raise ConfigError(f"{name} is not supported in a policy: {reason}; remove it")
    if name not in known:
        hint = nearest(name, known) or f"; its documentation lists {len(known)}"
        raise ConfigError(f"{name!r} in the policy is not a transform of Albumentations {library.__version__}{hint}")
    return getattr(library, name)


def check_arguments(name: str, transform_class: Any, arguments: dict[str, Any]) -> None:
    """Raise ConfigError when an argument of the transform ``name`` is unknown or missing."""
    accepted = signature(transform_class.__init__).parameters
    for argument in arguments:
        if not isinstance(argument, str) or argument not in accepted or argument == "self":
            known = [known for known in accepted if known != "self"]
            hint = nearest(str(argument), known) or f"; it has {', '.join(known)}"
            raise ConfigError(f"{name} of the policy has no argument {argument!r}{hint}")
    for argument, parameter in accepted.items():
        is_required = parameter.default is Parameter.empty and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
        if is_required and argument not in {"self", *arguments} and not (name in ANY_SIZE and argument in _OPTIONAL):
            raise ConfigError(f"{name} of the policy needs the argument {argument!r}")


def _supported_names(library: ModuleType) -> list[str]:
    bases = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "NoOp", "Transform3D"}
    unsupported = {name for names in _UNSUPPORTED.values() for name in names}
    return sorted(
        name
        for name, value in vars(library).items()
        if isinstance(value, type) and issubclass(value, library.BasicTransform) and not isabstract(value)
        if name not in bases | unsupported and not name.startswith(("_", "Base"))
    )
