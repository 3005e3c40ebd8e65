"""Key points in YOLO's pose lines: how many an object has, of how many numbers each, and their names in data.yaml.

A line has a key point for each of ``kpt_shape[0]``: x and y in fractions of the picture, and, where ``kpt_shape[1]`` is
3, COCO's visibility (0: not marked, 1: hidden, 2: visible). Without it all are visible, as Ultralytics reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.annotations.model import KEYPOINTS, YOLO, Collection, Outline, Thing, of_format
from toolchain.annotations.shapes import POINT_PARTS
from toolchain.errors import DataError

POINT_KEYS = ("kpt_shape", "kpt_names", "flip_idx")  # of data.yaml: what it says of key points
VISIBLE = 2.0
SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))


@dataclass(frozen=True)
class Points:
    """The form of the key points in the lines of a collection."""

    count: int  # of each object
    has_visibility: bool

    @classmethod
    def of(cls, collection: Collection) -> "Points":
        """Return the form that holds all key points of ``collection``, that of its own data.yaml where that does."""
        shape = of_format(collection.about, YOLO).get("kpt_shape")
        count = max(_count(shape), *(len(names) for names in _names(collection).values()), 0)
        lengths, seen = set[int](), set[float]()
        for picture in collection.pictures():
            for thing in picture.things:
                lengths.add(len(thing.keypoints) // POINT_PARTS)
                seen |= set(thing.keypoints[2::POINT_PARTS])
        count = max((count, *lengths))
        all_are_visible = lengths <= {count} and seen <= {VISIBLE}
        return cls(count, not (numbers_of_a_point(shape) == 2 and all_are_visible))

    def numbers(self, thing: Thing, width: int, height: int) -> list[float]:
        """Return the numbers of the key points of ``thing``; those that it lacks are not marked."""
        values = [*thing.keypoints, *[0.0] * (POINT_PARTS * self.count - len(thing.keypoints))]
        triples = zip(values[0::3], values[1::3], values[2::3], strict=True)
        scaled = ((x / width, y / height, seen) for x, y, seen in triples)
        return [number for triple in scaled for number in (triple if self.has_visibility else triple[:2])]

    def config(self, collection: Collection) -> dict[str, Any]:
        """Return what data.yaml says of them."""
        names = _names(collection)
        first = next((each for each in names.values() if len(each) == self.count), [])
        flips = flipped(first)
        positions = {label: position for position, label in enumerate(collection.labels)}
        said: dict[str, Any] = {"kpt_shape": [self.count, 3 if self.has_visibility else 2]}
        said |= {"flip_idx": flips} if flips and all(flipped(each) == flips for each in names.values()) else {}
        known = {positions[label]: list(each) for label, each in names.items() if label in positions}
        return said | ({"kpt_names": known} if known else {}) | _kept(collection, self.count)


def keypoints_of(values: Outline, size: tuple[int, int], parts: int) -> tuple[float, ...]:
    """Return the key points ``values`` of a line in pixels, with their visibility.

    Args:
        values: The numbers behind the box.
        size: Width and height of the picture.
        parts: Numbers of a key point, 2 or 3; 0: 3 where the third ones are visibilities, else 2.

    Raises:
        DataError: there are too many or too few for that.
    """
    if not parts:
        is_three = len(values) % 3 == 0 and all(value in (0, 1, 2) for value in values[2::3])
        parts = 3 if is_three else 2
    if len(values) % parts:
        raise DataError(f"{len(values)} numbers behind the box, not {parts} for each key point")
    points = [values[at : at + parts] for at in range(0, len(values), parts)]
    width, height = size
    return tuple(v for x, y, *seen in points for v in (x * width, y * height, seen[0] if seen else VISIBLE))


def numbers_of_a_point(shape: object) -> int:
    """Return how many numbers a key point has by data.yaml's kpt_shape, 2 or 3; 0 when it says nothing of use."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        return 0
    return int(shape[1]) if shape[1] in (2, 3) else 0


def named_points(config: dict[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the names of the key points of each label that data.yaml's kpt_names gives."""
    given = config.get("kpt_names")
    if not isinstance(given, dict):
        return {}
    found = {int(key): names for key, names in given.items() if str(key).isdecimal() and isinstance(names, list)}
    return {
        labels[at]: {"names": [str(n) for n in names], "edges": []} for at, names in found.items() if at < len(labels)
    }


def flipped(names: Sequence[str]) -> list[int]:
    """Return where each point lies in a mirror: left_eye becomes right_eye; [] when no name tells."""
    swaps = [_other_side(name) for name in names]
    if not any(swaps) or any(swap and swap not in names for swap in swaps):
        return []
    return [names.index(swap) if swap else position for position, swap in enumerate(swaps)]


def _other_side(name: str) -> str:
    pair = next(((left, right) for left, right in SIDES if left in name or right in name), None)
    if pair is None:
        return ""
    left, right = pair
    return name.replace(left, right) if left in name else name.replace(right, left)


def _names(collection: Collection) -> dict[str, list[str]]:
    said = collection.about.get(KEYPOINTS) or {}
    return {label: list(value["names"]) for label, value in said.items() if value.get("names")}


def _count(shape: object) -> int:
    return int(shape[0]) if isinstance(shape, list) and shape and isinstance(shape[0], int) else 0


def _kept(collection: Collection, count: int) -> dict[str, Any]:
    """Return data.yaml's own flip_idx and kpt_names, as long as they are for ``count`` key points."""
    said = of_format(collection.about, YOLO)
    return {key: said[key] for key in POINT_KEYS[1:] if key in said and _count(said.get("kpt_shape")) == count}
