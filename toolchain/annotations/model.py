"""One annotated picture in memory, whatever format told of it, and a collection of them that is read lazily."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain import split_names
from toolchain.artifacts.dataset import UNSPLIT

Box = tuple[float, float, float, float]  # left, top, right, bottom: pixels from the picture's left upper edge
Outline = tuple[float, ...]  # x0, y0, x1, y1, ...: pixels

# What one format alone says stands under its name with this mark, apart from a user's own attributes:
# {"colour": "red", "@coco": {"id": 5}}.
VOC, YOLO, COCO, CVAT, LABELME = "@voc", "@yolo", "@coco", "@cvat", "@labelme"
VIA, CREATEML = "@via", "@createml"
UNKNOWN_CLASS = "@class "  # begins the label of an object whose class number has no name: "@class 7"
KEYPOINTS = "keypoints"  # in ``about`` of a collection: {label: {"names": [...], "edges": [[1, 2], ...]}}, from 1
SUBSET = "subset"  # in ``about``: the source's own word for the split, where it is another one


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object in a picture; the fields of artifacts.picture.OBJECT_TYPE, with the label's name for its position."""

    label: str
    box: Box  # before ``rotation``
    rotation: float = 0.0  # degrees clockwise around the box's middle
    polygons: tuple[Outline, ...] = ()
    mask: str = ""  # COCO's compressed run lengths of a mask as large as the picture
    keypoints: tuple[float, ...] = ()  # x, y, visibility, ... in pixels; 0: not marked, 1: hidden, 2: visible
    crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    broken: str = ""  # why a part of its shape could not be read; what could be is there


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture and the objects in it, as a format tells of them."""

    name: str  # relative to the source's pictures, with "/" between folders; once in a split
    file: Path | None  # where its bytes are; None: nowhere, or in ``embedded``
    width: int  # pixels, as the annotations say; 0: they do not
    height: int
    split: str = UNSPLIT
    things: tuple[Thing, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)  # JSON values: all else that was said of the picture
    embedded: bytes | None = None  # the file itself, where the annotations carry it and there is no other
    folder: str = field(default="", compare=False)  # of the annotations' file below the source, perhaps with its name


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The annotated pictures of one source."""

    format: str  # one of FORMATS
    labels: tuple[str, ...]  # in the source's order; sorted where it has none
    pictures: Callable[[], Iterator[Picture]]  # reads them again at each call, one at a time
    about: Mapping[str, Any] = field(default_factory=dict)  # JSON values: what the source says of itself
    findings: tuple["Finding", ...] = ()  # what reading alone showed to be wrong


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found how often."""

    rule: str  # in words
    count: int
    examples: tuple[str, ...] = ()


def in_words(findings: tuple[Finding, ...]) -> str:
    """Return ``findings`` as they follow in an error's line, each with an example; "" when there are none."""
    found = "; ".join(f"{f.rule}: {f.count:,}{f', such as {f.examples[0]}' if f.examples else ''}" for f in findings)
    return f" ({found})" if found else ""


def split_of(subset: str | None) -> str:
    """Return the split that a source's word for it means: "train", "validation" or "test"; any other word: "all"."""
    return split_names.split_of(subset or "") or UNSPLIT


def subset_of(picture: Picture, words: Mapping[str, str]) -> str:
    """Return the word for the split of ``picture``: its source's own while it is in that split, else of ``words``."""
    said = str(picture.about.get(SUBSET) or "")
    is_name = said not in ("", ".", "..") and not set(said) & set("/\\\0")  # it becomes part of a file's name
    return said if is_name and split_of(said) == picture.split else words.get(picture.split, picture.split)


def with_subset(subset: str | None) -> dict[str, Any]:
    """Return what ``about`` holds of a source's own word, so that a writer can say it again."""
    return {} if subset is None or subset == split_of(subset) else {SUBSET: subset}


def envelope(outlines: tuple[Outline, ...]) -> Box:
    """Return the smallest box around all ``outlines``."""
    xs = [x for outline in outlines for x in outline[0::2]]
    ys = [y for outline in outlines for y in outline[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)) if xs and ys else (0.0, 0.0, 0.0, 0.0)


def own(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that people gave, without what belongs to one format alone."""
    return {name: value for name, value in attributes.items() if not name.startswith("@")}


def of_format(attributes: Mapping[str, Any], format_: str) -> dict[str, Any]:
    """Return what ``format_``, such as VOC, alone said."""
    return dict(attributes.get(format_) or {})


def clean(**namespaces: Any) -> dict[str, Any]:
    """Return the entries that hold something."""
    return {name: value for name, value in namespaces.items() if value not in (None, {}, [], ())}


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a source that was converted."""

    source_format: str
    target_format: str
    task: str  # of YOLO's lines; "" for others
    pictures: int
    objects: int
    losses: tuple[Finding, ...]  # what the target cannot hold
    findings: tuple[Finding, ...]  # what looked wrong, or was left out
