"""The one door to Albumentations: its transforms by name, checked, their random parameters, and plain application."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter, isabstract, signature
from random import Random
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.augment.images.operations import Box, Shape
from toolchain.augment.images.policy import Step, nearest
from toolchain.errors import ConfigError, DataError
from toolchain.pictures import Pixels

# What has no place in a policy, and why. All else that works on one picture has.
_UNFIT = {
    "the training normalises": ("Normalize", "ToFloat", "FromFloat"),
    "the training makes tensors": ("ToTensorV2", "ToTensor3D"),
    "it needs pictures or settings beside the policy": (
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
    "it works on volumes": (
        "CenterCrop3D",
        "CoarseDropout3D",
        "CubicSymmetry",
        "GridShuffle3D",
        "Pad3D",
        "PadIfNeeded3D",
        "RandomCrop3D",
    ),
    "it works on sound": ("TimeMasking", "TimeReverse", "FrequencyMasking"),
}
_MIRRORS = {"HorizontalFlip", "VerticalFlip", "Transpose", "D4", "SquareSymmetry", "RandomRotate90"}
_TURNS = {"Rotate": "limit", "SafeRotate": "limit", "Affine": "rotate", "ShiftScaleRotate": "rotate_limit"}
MOST_DEGREES = 30  # a turn that leaves every digit and letter what it is
ANY_SIZE = ("RandomResizedCrop", "RandomSizedCrop")  # without a size they keep the picture's
MOSAIC = "Mosaic"
_DIGITS = 3  # of a pixel's position after Albumentations, which computes boxes in 32 bits
_EDGE = 0.5  # a pixel's middle lies this far from its edge: Albumentations' keypoints count middles


@dataclass(frozen=True)
class Moved:
    """What a transform of Albumentations made of a picture and what is marked in it."""

    pixels: Pixels
    boxes: dict[int, tuple[float, ...]]  # by position in what was given; those lost are absent
    outlines: list[NDArray[np.float64]]  # (points, 2), pixels; points may lie outside the picture
    masks: list[Pixels]


def load() -> ModuleType:
    """Return Albumentations, imported without PyTorch, and without the request to a package index that it makes."""
    if "albumentations" not in sys.modules:
        sys.modules.setdefault("albumentations.pytorch", ModuleType("albumentations.pytorch"))
        quiet = ModuleType("albumentations.check_version")
        quiet.check_for_updates = lambda: None  # type: ignore[attr-defined]
        sys.modules.setdefault("albumentations.check_version", quiet)
    import albumentations

    return albumentations  # type: ignore[no-any-return]


def build(step: Step) -> Any:
    """Return the transform of Albumentations that ``step`` names; crops of any size are built for 1 x 1.

    Raises:
        ConfigError: there is none, it does not fit, or an argument is unknown or wrong.
    """
    made = _class(step.name)
    given = {name: _tuples(value) for name, value in step.arguments.items()}
    _check_arguments(step.name, made, given)
    if step.name in ANY_SIZE:
        given.setdefault("size", (1, 1))
    if step.name == MOSAIC:
        given = {"target_size": (1, 1), "cell_shape": (1, 1)} | given
    if step.name == MOSAIC and given.get("fit_mode", "cover") != "cover":
        raise ConfigError(f"{MOSAIC} of the policy has fit_mode={given['fit_mode']!r}; only 'cover' is there")
    if "InitSchema" in vars(made):
        given["strict"] = True  # or Albumentations warns of a bad argument and goes on without it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one transform is slow, or that another does the same
            return made(**given)
    except Exception as error:
        raise ConfigError(f"{step.name} of the policy does not work: {_one_line(error)}") from error


def changes_label(step: Step) -> str:
    """Return why ``step`` can change the label of a digit or letter: "mirrors", "turns by 90 degrees"; "" if not."""
    if step.name in _MIRRORS:
        return "turns" if step.name == "RandomRotate90" else "mirrors"
    if step.name in _TURNS:
        limits = getattr(build(step), _TURNS[step.name])
        widest = max(abs(limit) for limit in limits)
        return f"turns by {widest:g} degrees, more than {MOST_DEGREES}" if widest > MOST_DEGREES else ""
    return ""


def only_pixels(transform: Any) -> bool:
    """Return whether ``transform`` changes colours alone, and moves nothing."""
    return isinstance(transform, load().ImageOnlyTransform)


def parameters(transform: Any, shape: tuple[int, ...], chance: Random) -> dict[str, Any]:
    """Return random parameters of ``transform`` for an 8-bit picture of ``shape``, drawn as Albumentations does.

    Raises:
        DataError: it cannot work on a picture of this shape.
    """
    transform.set_random_state(_LazyGenerator(chance), chance)
    try:
        drawn: dict[str, Any] = transform.get_params()
        drawn["shape"] = shape
        drawn.update(transform.get_params_dependent_on_data(drawn, {"image": _STAND_IN}))
    except Exception as error:
        raise _failure(transform, shape, error) from error
    return drawn


def added(picture: Pixels, shift: float) -> Pixels:
    """Return ``picture`` with ``shift`` added as Albumentations does: rounded upwards of 0, cut off below."""
    load()
    from albumentations.augmentations.pixel import functional

    changed: Pixels = functional.add_constant(picture, shift)
    return changed


def apply(
    transform: Any,
    seed: int,
    pixels: Pixels,
    boxes: Sequence[tuple[float, float, float, float]],
    outlines: Sequence[NDArray[np.float64]],
    masks: Sequence[Pixels],
) -> Moved:
    """Return what ``transform``, seeded, makes of a picture and its marks, applied whatever its own chance is.

    Raises:
        DataError: it cannot work on this picture, or makes something that is no 8-bit picture of it.
    """
    library, name = load(), type(transform).__name__
    given: dict[str, Any] = {"image": pixels}
    settings: dict[str, Any] = {}
    if not only_pixels(transform):  # some crops look at boxes, and want them even where there are none
        given |= {"bboxes": np.array(boxes, np.float64).reshape(-1, 4), "numbers": list(range(len(boxes)))}
        settings["bbox_params"] = library.BboxParams("pascal_voc", label_fields=["numbers"], clip=True)
    if outlines:
        given["keypoints"] = np.concatenate(outlines) - _EDGE
        given["points"] = list(range(len(given["keypoints"])))
        settings["keypoint_params"] = library.KeypointParams("xy", label_fields=["points"], remove_invisible=False)
    if masks:
        given["masks"] = np.stack(masks)
    chance, transform.p = transform.p, 1.0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a picture is gray, and the like
            result = library.Compose([transform], seed=seed, **settings)(**given)
    except Exception as error:
        raise _failure(transform, pixels.shape, error) from error
    finally:
        transform.p = chance
    made = result["image"]
    if made.dtype != np.uint8 or made.ndim != pixels.ndim or made.shape[2:] != pixels.shape[2:]:
        raise DataError(f"{name} makes {made.dtype} of shape {made.shape} of a picture {pixels.shape}; leave it out")
    found = {
        int(number): tuple(round(float(edge), _DIGITS) for edge in box[:4])
        for number, box in zip(result.get("numbers", ()), result.get("bboxes", ()), strict=True)
    }
    return Moved(made, found, _outlines(result, outlines), list(result.get("masks", ())))


def mosaic_cells(transform: Any, size: Shape, chance: Random) -> list[tuple[int, Box, Box]]:
    """Return the cells of a mosaic of ``size``, drawn as Albumentations does.

    Each is the number of a picture (0: the picture itself, then its partners), the box of the cell in the mosaic, and
    the box that is cut from the picture once it covers a cell of ``size`` exactly.
    """
    load()
    from albumentations.augmentations.mixing import functional

    grid, cell = transform.grid_yx, size
    center = functional.calculate_mosaic_center_point(grid, cell, size, transform.center_range, chance)
    places = functional.calculate_cell_placements(grid, cell, size, center)
    numbers = functional.assign_items_to_grid_cells(len(places), places, chance)
    found: list[tuple[int, Box, Box]] = []
    for place, number in numbers.items():
        side = functional.get_cell_relative_position(place, size)
        shape = place[3] - place[1], place[2] - place[0]
        found.append((number, place, functional.get_opposite_crop_coords(cell, shape, side)))
    return found


def _outlines(result: dict[str, Any], before: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Return the outlines in ``result``; one whose points are all lost, in a hole that moves nothing, as it was."""
    points = np.asarray(result.get("keypoints", ()), np.float64).reshape(-1, 2) + _EDGE
    numbers = np.asarray(result.get("points", ()), np.int64)
    found, first = list[NDArray[np.float64]](), 0
    for outline in before:
        mine = points[(numbers >= first) & (numbers < first + len(outline))]
        found.append(mine if len(mine) else outline)
        first += len(outline)
    return found


def _failure(transform: Any, shape: tuple[int, ...], error: Exception) -> DataError:
    return DataError(f"{type(transform).__name__} fails on a picture of {shape[1]} x {shape[0]}: {_one_line(error)}")


class _LazyGenerator:
    """NumPy's generator, made when it is first used: few transforms need one, and it costs as much as they do."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def __getattr__(self, name: str) -> Any:
        generator = np.random.Generator(np.random.PCG64(self._chance.getrandbits(64)))
        self.__dict__ |= {method: getattr(generator, method) for method in ("integers", "uniform", "choice", "random")}
        return getattr(generator, name)


_STAND_IN = np.zeros((1, 1, 3), np.uint8)  # parameters depend on a picture's type and shape, not on what it shows


def _class(name: str) -> Any:
    library = load()
    known = _names(library)
    for reason, names in _UNFIT.items():
        if name in names:
            raise ConfigError(f"{name} does not fit into a policy: {reason}; leave it out")
    if name not in known:
        hint = nearest(name, known) or f"; its {len(known)} are in its documentation"
        raise ConfigError(f"{name!r} in the policy is no transform of Albumentations {library.__version__}{hint}")
    return getattr(library, name)


def _names(library: ModuleType) -> list[str]:
    """Return the transforms that a policy may name."""
    bases = {"BasicTransform", "DualTransform", "ImageOnlyTransform", "NoOp", "Transform3D"}
    unfit = {name for names in _UNFIT.values() for name in names}
    return sorted(
        name
        for name, value in vars(library).items()
        if isinstance(value, type) and issubclass(value, library.BasicTransform) and not isabstract(value)
        if name not in bases | unfit and not name.startswith(("_", "Base"))
    )


def _check_arguments(name: str, made: Any, given: dict[str, Any]) -> None:
    accepted = signature(made.__init__).parameters
    for argument in given:
        if not isinstance(argument, str) or argument not in accepted or argument == "self":
            known = [known for known in accepted if known != "self"]
            hint = nearest(str(argument), known) or f"; it has {', '.join(known)}"
            raise ConfigError(f"{name} of the policy has no argument {argument!r}{hint}")
    free = {"size", "target_size", "cell_shape"}
    for argument, parameter in accepted.items():
        required = parameter.default is Parameter.empty and parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
        if required and argument not in {"self", *given} and not (name in ANY_SIZE and argument in free):
            raise ConfigError(f"{name} of the policy needs the argument {argument!r}")


def _tuples(value: Any) -> Any:
    """Return YAML's lists as the tuples that Albumentations wants."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value


def _one_line(error: Exception) -> str:
    """Return what ``error`` says; of pydantic's several lines the argument and what is wrong with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) >= 3 and "validation error" in lines[0]:
        return f"{lines[1]}: {lines[2].partition(' [type=')[0]}"
    return lines[0] if lines else type(error).__name__
