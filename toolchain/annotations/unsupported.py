"""Count the features of annotated images that a target format cannot represent, with examples of each."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.checks import Tally
from toolchain.annotations.cvat.tracks import TRACK
from toolchain.annotations.shapes import count_labeled
from toolchain.annotations.types import (
    CVAT,
    FLAGS,
    SUBSET,
    VOC,
    AnnotatedImage,
    Annotation,
    Collection,
    Finding,
    bounding_box,
    format_fields,
    user_attributes,
)
from toolchain.annotations.yolo.keypoints import KEYPOINT_KEYS
from toolchain.annotations.yolo.reader import OBB, POSE, SEGMENT

FORMAT_NAMES = {
    "voc": "VOC",
    "yolo": "YOLO",
    "coco": "COCO",
    "cvat": "CVAT",
    "labelme": "labelme",
    "via": "VIA",
    "createml": "Create ML",
    "datumaro": "datumaro",
}
FORMATS_WITHOUT_ATTRIBUTES = ("yolo", "createml")  # targets without flags and attributes
# Values of fields that carry no information; None: no value does.
DEFAULT_VALUES = {
    ("voc", "pose"): "Unspecified",
    ("cvat", "z_order"): "0",
    ("coco", "explicit"): None,
    ("yolo", "corners"): None,
    ("voc", "segmented"): "<segmented>0</segmented>",
    ("voc", "depth"): None,
}
FIELD_NAMES = {
    "xml": "other elements",
    "element": "shape",
    "bbox": "exact box",
    "mask": "mask encoding",
    "root": "attributes of its element",
}
MAX_EXAMPLE, MAX_SOURCE_EXAMPLE = 160, 80  # characters

Case = tuple[str, str]  # the feature, and what follows the object's label in an example


@dataclass
class UnsupportedFeatures:
    """Counts what ``target`` cannot represent, image by image."""

    target: str  # one of WRITABLE_FORMATS
    task: str = ""  # of YOLO
    found: dict[str, Tally] = field(default_factory=dict)
    _unused_labels: set[str] = field(default_factory=set)
    _size: tuple[int, int] = (0, 0)  # width and height of the current image

    def add_source(self, collection: Collection) -> None:
        """Count what ``target`` cannot represent of the source's metadata and labels."""
        held = KEYPOINT_KEYS[:2] if self._has_keypoints else ()
        for format_, fields in _by_format(collection.metadata):
            for key in fields if format_ != self.target else ():
                if key not in held:
                    rule = f"{_format_name(format_)}'s own {_field_name(key)} of the whole source"
                    self._add(rule, str(fields[key])[:MAX_SOURCE_EXAMPLE])
        self._unused_labels = set(collection.labels)
        for label in collection.labels if self.target == "voc" else ():
            if ":" in label or label.startswith("#"):
                self._add("label with : or # that CVAT and datumaro cannot read in labelmap.txt", label)

    def add(self, image: AnnotatedImage) -> None:
        """Count what ``target`` cannot represent of ``image``."""
        self._size = (image.width, image.height)
        for rule, detail in self._of_image(image):
            self._add(rule, f"{image.name}: {detail}")
        for annotation in image.annotations:
            self._unused_labels.discard(annotation.label)
            for rule, detail in self._of_annotation(annotation):
                self._add(rule, f"{image.name}: {annotation.label}{detail}")

    def findings(self) -> tuple[Finding, ...]:
        """Return the unsupported features, the most frequent first."""
        for label in sorted(self._unused_labels) if self.target == "createml" else ():
            self._add("label without an object", label)
        self._unused_labels = set()
        ordered = sorted(self.found.items(), key=lambda entry: -entry[1].count)
        return tuple(Finding(rule=rule, count=t.count, examples=tuple(t.examples)) for rule, t in ordered)

    def _add(self, rule: str, example: str) -> None:
        self.found.setdefault(rule, Tally()).add(example[:MAX_EXAMPLE])

    def _of_image(self, image: AnnotatedImage) -> Iterator[Case]:
        subset = image.metadata.get(SUBSET)
        if subset and (self.target == "yolo" or (self.target == "voc" and "_" in str(subset))):
            yield "name of a split (becomes train, val, test or all)", str(subset)
        for name, value in user_attributes(image.metadata).items():
            if name != SUBSET:
                yield f"{name} of an image", str(value)
        base = PurePosixPath(image.name).name
        for rule, detail in self._of_other_formats(dict(image.metadata)):
            if detail != f"filename={base}":  # VOC's, without the folder of the name
                yield f"{rule} of an image", detail

    def _of_annotation(self, annotation: Annotation) -> Iterator[Case]:
        yield from self._of_polygons(annotation)
        yield from self._of_mask(annotation)
        yield from self._of_box(annotation)
        labeled = count_labeled(annotation.keypoints)
        if labeled and not self._keeps_keypoints(annotation):
            yield "keypoints", f", {labeled}"
        if annotation.crowd and self.target != "coco":
            yield "crowd (becomes one object)", ""
        if self.target in FORMATS_WITHOUT_ATTRIBUTES:
            yield from ((f"flag: {flag}", "") for flag in FLAGS if getattr(annotation, flag))
        yield from self._of_attributes(user_attributes(annotation.attributes))
        held = ("element",) if self._has_keypoints and _is_plain_skeleton(annotation) else ()
        held = (*held, "polygon") if self._has_polygons and annotation.polygons else held  # of VOC
        for rule, detail in self._of_other_formats(dict(annotation.attributes), held):
            yield f"{rule} of an object", f", {detail}"

    def _of_polygons(self, annotation: Annotation) -> Iterator[Case]:
        polygons = annotation.polygons
        if not polygons or self.target == "coco":
            return
        if self._has_polygons:
            if len(polygons) > 1:
                result = "each becomes an object" if self.target == "cvat" else "joined by lines"
                yield f"several polygons of one object ({result})", f", {len(polygons)}"
            if _differ(annotation.box, bounding_box(polygons)):
                yield "box that does not match its polygon (the polygon is kept)", ""
        elif not self._is_four_corners(annotation) and not self._keeps_element(annotation):
            yield "polygon (its box is kept)", f", {len(polygons)} of {sum(map(len, polygons)) // 2} points"

    def _of_mask(self, annotation: Annotation) -> Iterator[Case]:
        if not annotation.mask or self.target == "coco":
            return
        if self.target == "yolo" and self.task == SEGMENT:
            yield "mask (becomes a polygon along its pixels)", ""
        elif self.target != "cvat":
            yield "mask (its box is kept)", ""
        if self._has_polygons and _differ(annotation.box, masks.box_of(annotation.mask, *self._size)):
            yield "box that does not match its mask (the mask is kept)", ""

    def _of_box(self, annotation: Annotation) -> Iterator[Case]:
        is_yolo = self.target == "yolo"
        if annotation.rotation and (self.target in ("voc", "createml") or (is_yolo and self.task != OBB)):
            yield "rotation of a box (its upright box is kept)", f", {annotation.rotation:g} degrees"
        if is_yolo and self.task == SEGMENT and not annotation.polygons and not annotation.mask:
            yield "box (becomes a polygon, since YOLO's segments have no boxes)", ""

    def _is_four_corners(self, annotation: Annotation) -> bool:
        """Return whether YOLO's oriented boxes represent the polygon: it has four corners."""
        return self.task == OBB and len(annotation.polygons) == 1 and len(annotation.polygons[0]) == 8

    @property
    def _has_polygons(self) -> bool:
        return self.target in ("coco", "cvat") or (self.target == "yolo" and self.task == SEGMENT)

    @property
    def _has_keypoints(self) -> bool:
        return self.target == "coco" or (self.target == "yolo" and self.task == POSE)

    def _keeps_keypoints(self, annotation: Annotation) -> bool:
        """Return whether the keypoints of ``annotation`` are written: as such, or as CVAT's own skeleton."""
        has_element = "element" in format_fields(annotation.attributes, CVAT)
        return self._has_keypoints or (self.target == "cvat" and has_element)

    def _keeps_element(self, annotation: Annotation) -> bool:
        """Return whether VOC's own <polygon> is written again."""
        elements = format_fields(annotation.attributes, VOC).get("xml", [])
        return self.target == "voc" and any(text.startswith("<polygon") for text in elements)

    def _of_attributes(self, attributes: dict[str, Any]) -> Iterator[Case]:
        has_attributes = self.target not in FORMATS_WITHOUT_ATTRIBUTES
        for name, value in attributes.items():
            if name == TRACK:
                result = " (its number is kept as an attribute)" if has_attributes else ""
                yield f"track{result}", f" {value}"
            elif not has_attributes or (self.target != "coco" and not isinstance(value, str | int | float)):
                yield f"attribute: {name}", f", {value}"
            elif self.target != "coco" and not isinstance(value, str):
                yield f"type of an attribute (becomes text): {name}", f", {value}"

    def _of_other_formats(self, metadata: dict[str, Any], held: tuple[str, ...] = ()) -> Iterator[Case]:
        """Yield the fields that only other formats have, except for ``held``, which the target has by another name."""
        for format_, fields in _by_format(metadata):
            for key, value in _entries(fields) if format_ != self.target else ():
                is_default = (format_, key) in DEFAULT_VALUES and DEFAULT_VALUES[format_, key] in (None, value)
                if key not in held and not is_default:
                    yield f"{_format_name(format_)}'s own {_field_name(key)}", f"{key}={value}"


def _by_format(metadata: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((key[1:], value) for key, value in metadata.items() if key.startswith("@") and isinstance(value, dict))


def _entries(fields: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries, with each XML element under its own name."""
    for key, value in fields.items():
        if key == "xml":
            yield from ((re.split(r"[\s/>]", text[1:], maxsplit=1)[0], text) for text in value)
        else:
            yield key, value


def _is_plain_skeleton(annotation: Annotation) -> bool:
    """Return whether keypoints represent all of CVAT's skeleton: its points have no attributes."""
    text = str(format_fields(annotation.attributes, CVAT).get("element", ""))
    return bool(annotation.keypoints) and not re.search(r"<points[^>]*[^/]>\s*<attribute", text)


def _format_name(format_: str) -> str:
    return FORMAT_NAMES.get(format_, format_)


def _field_name(key: str) -> str:
    return FIELD_NAMES.get(key, key)


def _differ(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return any(abs(a - b) > 1e-6 * max(1.0, abs(a)) for a, b in zip(one, other, strict=True))
