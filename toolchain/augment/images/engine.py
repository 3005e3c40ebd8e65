"""Apply a policy to images: sample all random parameters first, then compute pixels in the cheapest order.

Transforms that ``native`` implements become OpenCV operations, with the first crop moved to the front; Albumentations
applies all others. Copies have the same distribution as the results of the policy in plain Albumentations.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from toolchain.augment.images import library
from toolchain.augment.images.catalog import ANY_SIZE, MOSAIC
from toolchain.augment.images.files import ImageFile
from toolchain.augment.images.native import Sampler, find_sampler
from toolchain.augment.images.objects import Object
from toolchain.augment.images.operations import Resize, Shape
from toolchain.augment.images.pending import LINEAR, NEAREST, Count, PendingCopy
from toolchain.augment.images.policy import OneOf, Step, parse
from toolchain.errors import ConfigError
from toolchain.image_decoding import Pixels

RESIZE = "Resize"  # name of the final resize to ``size``

Partners = Callable[
    [Random, int], list[tuple[Pixels, list[Object]]]
]  # returns other images of the dataset for a mosaic


@dataclass(frozen=True)
class Prepared:
    """A transform of a policy, ready to be applied."""

    name: str
    transform: Any  # of Albumentations
    sampler: Sampler | None  # None: Albumentations applies the transform
    has_free_size: bool  # the policy gives no output size
    p: float


@dataclass(frozen=True)
class Group:
    """Transforms of which one is applied."""

    members: tuple[Prepared, ...]
    p: float


@dataclass(frozen=True)
class Copy:
    """An augmented image."""

    pixels: Pixels  # (height, width) or (height, width, 3)
    objects: list[Object]
    transforms: list[str]  # applied ones, in order
    boxes: int  # number of original objects, including those of the other images of a mosaic


class Engine:
    """A validated policy."""

    def __init__(self, text: str, size: int = 0, min_visibility: float = 0.0) -> None:
        """Validate the YAML ``text``; copies are ``size`` x ``size`` pixels, or of any size for 0.

        Raises:
            ConfigError: it is not a policy, or a transform or an argument is unknown or not valid.
        """
        self.size, self.min_visibility = size, min_visibility
        self.text, self.policy = text, parse(text)
        self.steps = tuple(_prepare(step) for step in self.policy)

    @property
    def names(self) -> list[str]:
        """The transforms in order, each once, with the final resize if there is one."""
        return list(dict.fromkeys([prepared.name for prepared in self.transforms()] + ([RESIZE] if self.size else [])))

    @property
    def has_mosaic(self) -> bool:
        """Whether copies may show parts of other images."""
        return any(prepared.name == MOSAIC for prepared in self.transforms())

    def transforms(self) -> Iterator[Prepared]:
        """Yield every transform, including those in groups."""
        for step in self.steps:
            yield from step.members if isinstance(step, Group) else (step,)

    def check_preserves_labels(self) -> None:
        """Reject transforms that can change the label of a digit or letter.

        Raises:
            ConfigError: the policy has such transforms; it names them.
        """
        steps = [child for step in self.policy for child in (step.steps if isinstance(step, OneOf) else (step,))]
        found = {step.name: reason for step in steps if (reason := library.label_change(step))}
        if found:
            listed = ", ".join(f"{name} ({reason})" for name, reason in found.items())
            raise ConfigError(
                f"the policy can change the label of an image: {listed}; remove these transforms, or use policy=upright"
            )

    def copy(
        self,
        image: ImageFile | Pixels,
        rng: Random,
        objects: Sequence[Object] = (),
        partners: Partners | None = None,
        count: Count = lambda transform, outcome: None,
    ) -> Copy:
        """Return an augmented copy of ``image``; ``count`` is called with each transform, object by object, and its
        outcome.

        Raises:
            DataError: the file is damaged, or Albumentations cannot apply a transform to it.
        """
        pending = PendingCopy(image, list(objects), self.min_visibility, count)
        applied = list[str]()
        for prepared in self._sampled(rng):
            self._apply(prepared, pending, rng, partners)
            applied.append(prepared.name)
        if self.size and pending.shape != (self.size, self.size):
            pending.add(RESIZE, [Resize(self.size, self.size, LINEAR, NEAREST)])
        return Copy(pending.render(), pending.objects, applied, pending.boxes)

    def _apply(self, prepared: Prepared, pending: PendingCopy, rng: Random, partners: Partners | None) -> None:
        size: Shape | None = None
        if prepared.has_free_size:
            size = (self.size, self.size) if self.size else pending.shape
        if prepared.name == MOSAIC:
            size = size or prepared.transform.target_size
            cells = library.mosaic_cells(prepared.transform, size, rng)
            pending.mix(prepared.name, size, cells, partners(rng, len(cells) - 1) if partners else [])
        elif prepared.sampler:
            pending.add(prepared.name, prepared.sampler(prepared.transform, pending.shape, size, rng))
        else:
            pending.apply(prepared.name, prepared.transform, rng.getrandbits(31))

    def _sampled(self, rng: Random) -> Iterator[Prepared]:
        for step in self.steps:
            if step.p < 1 and not rng.random() < step.p:
                continue
            if isinstance(step, Prepared):
                yield step
            else:
                yield rng.choices(step.members, [prepared.p for prepared in step.members])[0]


def _prepare(step: Step | OneOf) -> Prepared | Group:
    if isinstance(step, OneOf):
        members = tuple(prepared for child in step.steps if isinstance(prepared := _prepare(child), Prepared))
        if not any(prepared.p for prepared in members):
            raise ConfigError("OneOf of the policy has only transforms with p=0; give one of them a probability")
        return Group(members, step.p)
    transform = library.build(step)
    has_free_size = step.name == MOSAIC and "target_size" not in step.arguments
    has_free_size = has_free_size or (step.name in ANY_SIZE and "size" not in step.arguments)
    return Prepared(step.name, transform, find_sampler(transform), has_free_size, float(transform.p))
