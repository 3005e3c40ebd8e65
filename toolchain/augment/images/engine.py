"""Make copies of a picture by a policy: chance is drawn first, then pixels are computed in the cheapest order.

Transforms that are known here (see ``draws``) become operations of OpenCV, with the first crop in front; all others
are applied by Albumentations as they come. What a copy looks like is distributed as the plain policy's results are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from toolchain.augment.images import library
from toolchain.augment.images.draws import Draw, draw_of
from toolchain.augment.images.files import File
from toolchain.augment.images.objects import (
    CLIPPED,
    HIDDEN,
    OUTSIDE,
    Object,
    area,
    clipped,
    corners,
    displaced,
    envelope,
    inside,
    move,
)
from toolchain.augment.images.operations import Cut, Operation, Place, Scale, Shape, crop_first, shape_after
from toolchain.augment.images.policy import OneOf, Step, parse
from toolchain.errors import ConfigError
from toolchain.pictures import Pixels

RESIZE = "Resize"  # what is done at the end where all copies shall have one size
_ROUNDING = 1e-3  # of a box's area, which Albumentations computes in 32 bits
_LINEAR, _NEAREST = 1, 0  # cv2.INTER_LINEAR, cv2.INTER_NEAREST

Partners = Callable[[Random, int], list[tuple[Pixels, list[Object]]]]  # so many other pictures of the data set


@dataclass(frozen=True)
class Ready:
    """A transform of a policy, ready to be applied."""

    name: str
    transform: Any  # of Albumentations
    draw: Draw | None  # None: Albumentations applies it
    free: bool  # has no size of its own
    p: float


@dataclass(frozen=True)
class Group:
    """Transforms of which one is applied."""

    members: tuple[Ready, ...]
    p: float


@dataclass(frozen=True)
class Copy:
    """A changed picture."""

    pixels: Pixels  # (height, width) or (height, width, 3)
    objects: list[Object]
    transforms: list[str]  # that were applied, in order
    boxes: int  # objects that it began with, those of a mosaic's other pictures too


class Engine:
    """A policy that was checked, ready for pictures."""

    def __init__(self, text: str, size: int = 0, minimum_visibility: float = 0.0) -> None:
        """Check the YAML ``text``; copies are ``size`` x ``size`` pixels, or of any size for 0.

        Raises:
            ConfigError: it is no policy, or a transform or an argument is unknown or wrong.
        """
        self.size, self.minimum = size, minimum_visibility
        self.text, self.policy = text, parse(text)
        self.steps = tuple(_ready(step) for step in self.policy)

    @property
    def names(self) -> list[str]:
        """The transforms in order, each once, with the last scaling where there is one."""
        return list(dict.fromkeys([ready.name for ready in self.all()] + ([RESIZE] if self.size else [])))

    @property
    def mixes(self) -> bool:
        """Whether copies may show parts of other pictures."""
        return any(ready.name == library.MOSAIC for ready in self.all())

    def all(self) -> Iterator[Ready]:
        """Yield every transform, those in groups too."""
        for step in self.steps:
            yield from step.members if isinstance(step, Group) else (step,)

    def refuse_mirrors(self) -> None:
        """Refuse transforms that can change the label of a digit or letter.

        Raises:
            ConfigError: there are some; it names them.
        """
        steps = [child for step in self.policy for child in (step.steps if isinstance(step, OneOf) else (step,))]
        found = {step.name: reason for step in steps if (reason := library.changes_label(step))}
        if found:
            listed = ", ".join(f"{name} ({reason})" for name, reason in found.items())
            raise ConfigError(
                f"the policy changes what these pictures mean: {listed}; leave that out, or take policy=upright"
            )

    def copy(
        self,
        picture: File | Pixels,
        chance: Random,
        objects: Sequence[Object] = (),
        partners: Partners | None = None,
        count: Callable[[str, str], None] = lambda transform, fate: None,
    ) -> Copy:
        """Return a changed copy of ``picture``; ``count`` is told for each transform and object what became of it.

        Raises:
            DataError: the file is damaged, or Albumentations cannot apply a transform to it.
        """
        work = _Work(picture, list(objects), self.minimum, count)
        applied = list[str]()
        for ready in self._chosen(chance):
            wanted = ((self.size, self.size) if self.size else work.shape) if ready.free else None
            if ready.name == library.MOSAIC:
                work.mix(ready, wanted, chance, partners)
            elif ready.draw:
                work.add(ready.name, ready.draw(ready.transform, work.shape, wanted, chance))
            else:
                work.apply(ready, chance.getrandbits(31))
            applied.append(ready.name)
        if self.size and work.shape != (self.size, self.size):
            work.add(RESIZE, [Scale(self.size, self.size, _LINEAR, _NEAREST)])
        return Copy(work.done(), work.objects, applied, work.boxes)

    def _chosen(self, chance: Random) -> Iterator[Ready]:
        for step in self.steps:
            if step.p < 1 and not chance.random() < step.p:
                continue
            if isinstance(step, Ready):
                yield step
            else:
                yield chance.choices(step.members, [ready.p for ready in step.members])[0]


class _Work:
    """A copy that is being made: operations are gathered, and done when pixels are needed."""

    def __init__(
        self, picture: File | Pixels, objects: list[Object], minimum: float, count: Callable[[str, str], None]
    ) -> None:
        self.objects, self.shape = objects, (picture.shape[0], picture.shape[1])
        self.boxes = len(objects)
        self._picture, self._start, self._minimum, self._count = picture, self.shape, minimum, count
        self._waiting: list[Operation] = []

    def add(self, name: str, operations: list[Operation]) -> None:
        """Do ``operations``, which are the transform ``name``'s."""
        if self.objects:
            self.objects = move(
                self.objects, operations, self.shape, self._minimum, lambda fate: self._count(name, fate)
            )
        self._waiting += operations
        self.shape = shape_after(operations, self.shape)

    def apply(self, ready: Ready, seed: int) -> None:
        """Let Albumentations apply a transform."""
        boxes = [item.box for item in self.objects]
        outlines = [outline for item in self.objects for outline in (corners(item.box), *item.outlines)]
        masks = [item.mask for item in self.objects if item.mask is not None]
        pixels = self.done()
        if library.only_pixels(ready.transform):
            self._restart(library.apply(ready.transform, seed, pixels, (), (), ()).pixels)
            return
        moved = library.apply(ready.transform, seed, pixels, boxes, outlines, masks)
        self._restart(moved.pixels)
        self.objects = self._found(ready.name, moved)

    def mix(self, ready: Ready, size: Shape | None, chance: Random, partners: Partners | None) -> None:
        """Make a mosaic of the picture and its partners."""
        size = size or ready.transform.target_size
        cells = library.mosaic_cells(ready.transform, size, chance)
        pictures = [(self.done(), self.objects)]
        pictures += partners(chance, len(cells) - 1) if partners else []
        mosaic, objects, entered = None, list[Object](), 0
        for number, (left, top, right, bottom), cut in cells:
            pixels, marked = pictures[number % len(pictures)]
            shape = (pixels.shape[0], pixels.shape[1])
            scale = max(size[0] / shape[0], size[1] / shape[1])
            covering = Scale(round(shape[0] * scale), round(shape[1] * scale), _LINEAR, _NEAREST)
            operations: list[Operation] = [covering, Cut(cut), Place(left, top, *size)]
            entered += len(marked)
            objects += move(marked, operations, shape, self._minimum, lambda fate: self._count(ready.name, fate))
            part = Cut(cut).pixels(covering.pixels(pixels))
            if mosaic is None:
                mosaic = Place(left, top, *size).pixels(part)
            mosaic[top:bottom, left:right] = part
        assert mosaic is not None
        self.boxes += entered - len(self.objects)
        self.objects = objects
        self._restart(mosaic)

    def done(self) -> Pixels:
        """Return the pixels, with all operations done."""
        operations, picture = crop_first(self._waiting, self._start), self._picture
        if isinstance(picture, File):
            picture, operations = _opened(picture, operations)
        for operation in operations:
            picture = operation.pixels(picture)
        self._restart(picture)
        return picture

    def _restart(self, picture: Pixels) -> None:
        self._picture, self._waiting = picture, []
        self._start = self.shape = (picture.shape[0], picture.shape[1])

    def _found(self, name: str, moved: library.Moved) -> list[Object]:
        outlines, masks, kept = iter(moved.outlines), iter(moved.masks), list[Object]()
        for number, item in enumerate(self.objects):
            whole = envelope(next(outlines))
            mine = tuple(next(outlines) for _ in item.outlines)
            mask = next(masks) if item.mask is not None else None
            box = moved.boxes.get(number)
            if box is None:
                left_over = clipped(replace(item, box=whole, outlines=(), mask=None), self.shape, 0.0)[0]
                self._count(name, HIDDEN if left_over else OUTSIDE)
                continue
            edges = (box[0], box[1], box[2], box[3])
            left = min(area(edges) / area(whole), 1.0) if area(whole) else 1.0
            cut = left < 1 - _ROUNDING
            row = displaced(item.row) | ({"truncated": True} if cut else {})
            seen = Object(row, edges, inside(mine, self.shape), mask, item.visible * (left if cut else 1.0))
            found, fate = clipped(seen, self.shape, self._minimum)
            self._count(name, CLIPPED if found and cut else fate)
            kept += [found] if found else []
        return kept


def _opened(file: File, operations: list[Operation]) -> tuple[Pixels, list[Operation]]:
    """Return the picture, decoded no larger than ``operations`` need it, and those that are left to do."""
    if len(operations) >= 2 and isinstance(cut := operations[0], Cut) and isinstance(scale := operations[1], Scale):
        pixels, box = file.smaller(cut.box, scale.height, scale.width)
        return pixels, [Cut(box), *operations[1:]]
    return file.pixels(), operations


def _ready(step: Step | OneOf) -> Ready | Group:
    if isinstance(step, OneOf):
        members = tuple(ready for child in step.steps if isinstance(ready := _ready(child), Ready))
        if not any(ready.p for ready in members):
            raise ConfigError("OneOf of the policy holds transforms with p=0 alone; give one of them a chance")
        return Group(members, step.p)
    transform = library.build(step)
    free = step.name == library.MOSAIC and "target_size" not in step.arguments
    free = free or (step.name in library.ANY_SIZE and "size" not in step.arguments)
    return Ready(step.name, transform, draw_of(transform), free, float(transform.p))
