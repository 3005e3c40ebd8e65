"""What a target format cannot hold of annotated pictures: each kind counted, with examples; no loss is silent."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.checks import Found
from toolchain.annotations.cvat_video import TRACK
from toolchain.annotations.model import (
    CVAT,
    SUBSET,
    VOC,
    Box,
    Collection,
    Finding,
    Picture,
    Thing,
    envelope,
    of_format,
    own,
)
from toolchain.annotations.shapes import marked
from toolchain.annotations.yolo import OBB, POSE, SEGMENT
from toolchain.annotations.yolo_points import POINT_KEYS

FORMATS = {
    "voc": "VOC",
    "yolo": "YOLO",
    "coco": "COCO",
    "cvat": "CVAT",
    "labelme": "labelme",
    "via": "VIA",
    "createml": "Create ML",
    "datumaro": "datumaro",
}
NO_ATTRIBUTES = ("yolo", "createml")  # targets that hold neither flags nor attributes
# What formats say where they have nothing to say.
SILENT = {
    ("voc", "pose"): "Unspecified",
    ("cvat", "z_order"): "0",
    ("coco", "said"): None,
    ("yolo", "corners"): None,
    ("voc", "segmented"): "<segmented>0</segmented>",
    ("voc", "depth"): None,
}
WORDS = {
    "xml": "other elements",
    "element": "shape",
    "bbox": "exact box",
    "mask": "form of a mask",
    "root": "attributes of its element",
}
FLAGS = ("difficult", "truncated", "occluded")


@dataclass
class Losses:
    """Counts what ``target`` cannot hold, picture by picture."""

    target: str  # one of WRITTEN
    task: str = ""  # of YOLO
    found: dict[str, Found] = field(default_factory=dict)
    _unused: set[str] = field(default_factory=set)  # labels of which no object was seen yet
    _size: tuple[int, int] = (0, 0)  # width and height of the picture that is looked at

    def see_source(self, collection: Collection) -> None:
        """Take in what ``collection`` says of itself as a whole."""
        for format_, said in _namespaces(dict(collection.about)):
            held = POINT_KEYS[:2] if self._holds_points else ()  # as names of key points
            for key in [key for key in said if key not in held] if format_ != self.target else ():
                self._add(
                    f"{FORMATS.get(format_, format_)}'s own {_word(key)} of the whole source", f"{said[key]}"[:80]
                )

        self._unused = set(collection.labels)
        for label in collection.labels if self.target == "voc" else ():
            if ":" in label or label.startswith("#"):
                self._add(
                    "label that CVAT and datumaro cannot read in labelmap.txt, since it has : or begins with #", label
                )

    def see(self, picture: Picture) -> None:
        """Take in ``picture``."""
        subset = picture.about.get(SUBSET)
        if subset and (self.target == "yolo" or (self.target == "voc" and "_" in str(subset))):
            self._add("name of a split (it becomes train, val, test or all)", f"{picture.name}: {subset}")
        for name, value in own(picture.about).items():
            if name != SUBSET:
                self._add(f"{name} of a picture", f"{picture.name}: {value}"[:160])
        base = PurePosixPath(picture.name).name
        for what, said in self._of_others(dict(picture.about)):
            if said == f"filename={base}":
                continue  # VOC's, without the folder that the name has here
            self._add(f"{what} of a picture", f"{picture.name}: {said}"[:160])
        self._size = (picture.width, picture.height)
        for thing in picture.things:
            self._unused.discard(thing.label)
            for what, detail in self._of_thing(thing):
                self._add(what, f"{picture.name}: {thing.label}{detail}"[:160])

    def findings(self) -> tuple[Finding, ...]:
        """Return the losses, the most frequent first."""
        for label in sorted(self._unused) if self.target == "createml" else ():
            self._add("label of no object", label)
        self._unused = set()
        ordered = sorted(self.found.items(), key=lambda entry: -entry[1].count)
        return tuple(Finding(rule=what, count=f.count, examples=tuple(f.examples)) for what, f in ordered)

    def _add(self, what: str, example: str) -> None:
        self.found.setdefault(what, Found()).add(example)

    def _of_thing(self, thing: Thing) -> Iterator[tuple[str, str]]:
        yield from self._of_shape(thing)
        if marked(thing.keypoints) and not self._keeps_points(thing):
            yield "key points", f", {marked(thing.keypoints)}"
        if thing.crowd and self.target != "coco":
            yield "crowd (it becomes one object)", ""
        if self.target in NO_ATTRIBUTES:
            yield from ((f"flag: {flag}", "") for flag in FLAGS if getattr(thing, flag))
        yield from self._of_attributes(own(thing.attributes))
        held = ("element",) if self._holds_points and _is_plain_skeleton(thing) else ()
        held = (*held, "polygon") if self._holds_outlines and thing.polygons else held  # VOC's
        for what, said in self._of_others(dict(thing.attributes), held):
            yield f"{what} of an object", f", {said}"

    def _of_shape(self, thing: Thing) -> Iterator[tuple[str, str]]:
        holds_outlines = self._holds_outlines
        if thing.polygons and not holds_outlines and not self._is_corners(thing) and not self._is_in_xml(thing):
            yield "outline (its box stays)", f", {len(thing.polygons)} of {sum(map(len, thing.polygons)) // 2} points"
        if thing.polygons and holds_outlines and self.target != "coco":
            if len(thing.polygons) > 1:
                kept = "each becomes an object" if self.target == "cvat" else "joined by lines"
                yield f"several outlines of one object ({kept})", f", {len(thing.polygons)}"
            if _differ(thing.box, envelope(thing.polygons)):
                yield "box that is not the one around its outline (which stays)", ""
        if thing.mask and self.target == "yolo" and self.task == SEGMENT:
            yield "mask (it becomes an outline along its pixels)", ""
        elif thing.mask and self.target not in ("coco", "cvat"):
            yield "mask (its box stays)", ""
        if thing.mask and self.target != "coco" and self._holds_outlines and _differ(thing.box, self._around(thing)):
            yield "box that is not the one around its mask (which stays)", ""
        if thing.rotation and (self.target in ("voc", "createml") or (self.target == "yolo" and self.task != OBB)):
            yield "rotation of a box (the upright box around it stays)", f", {thing.rotation:g} degrees"
        if self.target == "yolo" and self.task == SEGMENT and not thing.polygons and not thing.mask:
            yield "box that becomes an outline (YOLO's segments have no boxes)", ""

    def _around(self, thing: Thing) -> Box:
        """Return the box around the mask of ``thing``."""
        return masks.box_of(thing.mask, *self._size)

    def _is_corners(self, thing: Thing) -> bool:
        """Return whether oriented boxes hold the outline: it has four corners."""
        return self.task == OBB and len(thing.polygons) == 1 and len(thing.polygons[0]) == 8

    @property
    def _holds_outlines(self) -> bool:
        return self.target in ("coco", "cvat") or (self.target == "yolo" and self.task == SEGMENT)

    @property
    def _holds_points(self) -> bool:
        return self.target == "coco" or (self.target == "yolo" and self.task == POSE)

    def _keeps_points(self, thing: Thing) -> bool:
        """Return whether the key points of ``thing`` are written: as such, or as CVAT's own skeleton."""
        return self._holds_points or (self.target == "cvat" and "element" in of_format(thing.attributes, CVAT))

    def _is_in_xml(self, thing: Thing) -> bool:
        """Return whether VOC's own <polygon> is written again."""
        texts = of_format(thing.attributes, VOC).get("xml", [])
        return self.target == "voc" and any(text.startswith("<polygon") for text in texts)

    def _of_attributes(self, attributes: dict[str, Any]) -> Iterator[tuple[str, str]]:
        for name, value in attributes.items():
            if name == TRACK:
                stays = "" if self.target in NO_ATTRIBUTES else " (its number stays, as an attribute)"
                yield f"track{stays}", f" {value}"
            elif self.target in NO_ATTRIBUTES or (self.target != "coco" and not isinstance(value, str | int | float)):
                yield f"attribute: {name}", f", {value}"
            elif self.target != "coco" and not isinstance(value, str):
                yield f"type of an attribute (it becomes text): {name}", f", {value}"

    def _of_others(self, said: dict[str, Any], held: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
        """Yield what other formats alone said, without the entries ``held``, which the target says otherwise."""
        for format_, entries in _namespaces(said):
            kept = format_ == self.target
            for key, value in _each(entries):
                is_held = kept or key in held
                says_nothing = (format_, key) in SILENT and SILENT[format_, key] in (None, value)
                if not is_held and not says_nothing:
                    yield f"{FORMATS.get(format_, format_)}'s own {_word(key)}", f"{key}={value}"


def _namespaces(said: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name[1:], value) for name, value in said.items() if name.startswith("@") and isinstance(value, dict))


def _each(entries: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries, of elements of XML each one under its own name."""
    for key, value in entries.items():
        if key == "xml":
            yield from ((re.split(r"[\s/>]", text[1:], maxsplit=1)[0], text) for text in value)
        else:
            yield key, value


def _is_plain_skeleton(thing: Thing) -> bool:
    """Return whether key points say all of CVAT's skeleton: its points have no attributes of their own."""
    text = str(of_format(thing.attributes, CVAT).get("element", ""))
    return bool(thing.keypoints) and not re.search(r"<points[^>]*[^/]>\s*<attribute", text)


def _word(key: str) -> str:
    return WORDS.get(key, key)


def _differ(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return any(abs(a - b) > 1e-6 * max(1.0, abs(a)) for a, b in zip(one, other, strict=True))
