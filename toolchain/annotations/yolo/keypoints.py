"""Keypoints in YOLO's pose lines: how many an object has, of how many values each, and their names in data.yaml.

A line has ``kpt_shape[0]`` keypoints: x and y in fractions of the image, and, if ``kpt_shape[1]`` is 3, COCO's
visibility (0: not labeled, 1: hidden, 2: visible). Without it all are visible, as Ultralytics reads them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain.annotations.shapes import KEYPOINT_VALUES
from toolchain.annotations.types import KEYPOINTS, YOLO, Annotation, Collection, Polygon, format_fields
from toolchain.errors import DataError

KEYPOINT_KEYS = ("kpt_shape", "kpt_names", "flip_idx")  # of data.yaml
VISIBLE = 2.0
SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))


@dataclass(frozen=True)
class KeypointLayout:
    """The number and the form of the keypoints in the lines of a collection."""

    count: int  # of each object
    has_visibility: bool

    @classmethod
    def of(cls, collection: Collection) -> "KeypointLayout":
        """Return a layout for all keypoints of ``collection``: that of its data.yaml if it is sufficient."""
        shape = format_fields(collection.metadata, YOLO).get("kpt_shape")
        count = max(_count(shape), *(len(names) for names in _names(collection).values()), 0)
        lengths, visibilities = set[int](), set[float]()
        for image in collection.images():
            for annotation in image.annotations:
                lengths.add(len(annotation.keypoints) // KEYPOINT_VALUES)
                visibilities |= set(annotation.keypoints[2::KEYPOINT_VALUES])
        count = max((count, *lengths))
        are_all_visible = lengths <= {count} and visibilities <= {VISIBLE}
        return cls(count, not (values_per_keypoint(shape) == 2 and are_all_visible))

    def values(self, annotation: Annotation, width: int, height: int) -> list[float]:
        """Return the values of the keypoints of ``annotation`` in a line; missing ones are not labeled."""
        given = [*annotation.keypoints, *[0.0] * (KEYPOINT_VALUES * self.count - len(annotation.keypoints))]
        triples = zip(given[0::3], given[1::3], given[2::3], strict=True)
        scaled = ((x / width, y / height, visibility) for x, y, visibility in triples)
        return [value for triple in scaled for value in (triple if self.has_visibility else triple[:2])]

    def config(self, collection: Collection) -> dict[str, Any]:
        """Return the keys of data.yaml that describe the keypoints."""
        names = _names(collection)
        first = next((each for each in names.values() if len(each) == self.count), [])
        flips = flip_indices(first)
        index = {label: number for number, label in enumerate(collection.labels)}
        config: dict[str, Any] = {"kpt_shape": [self.count, 3 if self.has_visibility else 2]}
        config |= {"flip_idx": flips} if flips and all(flip_indices(each) == flips for each in names.values()) else {}
        known = {index[label]: list(each) for label, each in names.items() if label in index}
        return config | ({"kpt_names": known} if known else {}) | _source_config(collection, self.count)


def parse_keypoints(values: Polygon, size: tuple[int, int], per_keypoint: int) -> tuple[float, ...]:
    """Return the keypoints ``values`` of a line in pixels, with their visibility.

    Args:
        values: The values after the box.
        size: Width and height of the image.
        per_keypoint: Values of a keypoint, 2 or 3; 0: 3 if each third value is a visibility, else 2.

    Raises:
        DataError: the number of values is not a multiple of that.
    """
    if not per_keypoint:
        has_visibility = len(values) % 3 == 0 and all(value in (0, 1, 2) for value in values[2::3])
        per_keypoint = 3 if has_visibility else 2
    if len(values) % per_keypoint:
        raise DataError(f"{len(values)} values after the box, not {per_keypoint} for each keypoint")
    points = [values[at : at + per_keypoint] for at in range(0, len(values), per_keypoint)]
    width, height = size
    return tuple(value for x, y, *rest in points for value in (x * width, y * height, rest[0] if rest else VISIBLE))


def values_per_keypoint(shape: object) -> int:
    """Return how many values a keypoint has by data.yaml's kpt_shape, 2 or 3; 0 if it is not given."""
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 2:
        return 0
    return int(shape[1]) if shape[1] in (2, 3) else 0


def keypoint_names(config: dict[str, Any], labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the names of the keypoints of each label in data.yaml's kpt_names."""
    given = config.get("kpt_names")
    if not isinstance(given, dict):
        return {}
    found = {int(key): names for key, names in given.items() if str(key).isdecimal() and isinstance(names, list)}
    return {
        labels[index]: {"names": [str(name) for name in names], "edges": []}
        for index, names in found.items()
        if index < len(labels)
    }


def flip_indices(names: Sequence[str]) -> list[int]:
    """Return the index of each point after mirroring: left_eye becomes right_eye; [] if no name has a side."""
    swaps = [_other_side(name) for name in names]
    if not any(swaps) or any(swap and swap not in names for swap in swaps):
        return []
    return [names.index(swap) if swap else index for index, swap in enumerate(swaps)]


def _other_side(name: str) -> str:
    pair = next(((left, right) for left, right in SIDES if left in name or right in name), None)
    if pair is None:
        return ""
    left, right = pair
    return name.replace(left, right) if left in name else name.replace(right, left)


def _names(collection: Collection) -> dict[str, list[str]]:
    named = collection.metadata.get(KEYPOINTS) or {}
    return {label: list(value["names"]) for label, value in named.items() if value.get("names")}


def _count(shape: object) -> int:
    return int(shape[0]) if isinstance(shape, list) and shape and isinstance(shape[0], int) else 0


def _source_config(collection: Collection, count: int) -> dict[str, Any]:
    """Return the source's own flip_idx and kpt_names, if they are for ``count`` keypoints."""
    fields = format_fields(collection.metadata, YOLO)
    is_same = _count(fields.get("kpt_shape")) == count
    return {key: fields[key] for key in KEYPOINT_KEYS[1:] if key in fields and is_same}
