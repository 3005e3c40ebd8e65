"""Annotated images in memory, independent of their file format, and collections of them that are read lazily."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from toolchain import split_names
from toolchain.artifacts.dataset import UNSPLIT

Box = tuple[float, float, float, float]  # left, top, right, bottom: pixels from the image's top left corner
Polygon = tuple[float, ...]  # x0, y0, x1, y1, ...: pixels

# Fields that only one format has are kept under its key, apart from the user's own attributes:
# {"colour": "red", "@coco": {"id": 5}}.
VOC, YOLO, COCO, CVAT, LABELME = "@voc", "@yolo", "@coco", "@cvat", "@labelme"
VIA, CREATEML = "@via", "@createml"
UNKNOWN_CLASS = "@class "  # prefix of the label of an object whose class number has no name: "@class 7"
KEYPOINTS = "keypoints"  # key of a collection's metadata: {label: {"names": [...], "edges": [[1, 2], ...]}}, from 1
SUBSET = "subset"  # key of an image's metadata: the source's name of the split, where it is a different one
FLAGS = ("difficult", "truncated", "occluded")  # boolean fields of an Annotation that most formats have
MAX_EXAMPLES = 5  # of a finding


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One object in an image; as artifacts.image.OBJECT_TYPE, with the label's name in place of its index."""

    label: str
    box: Box  # before ``rotation``
    rotation: float = 0.0  # degrees clockwise around the center of the box
    polygons: tuple[Polygon, ...] = ()
    mask: str = ""  # COCO's compressed run-length encoding (RLE), for the whole image
    keypoints: tuple[float, ...] = ()  # x, y, visibility, ... in pixels; 0: not labeled, 1: hidden, 2: visible
    crowd: bool = False
    difficult: bool = False
    truncated: bool = False
    occluded: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    error: str = ""  # why a part of its shape could not be read; the other parts are kept


@dataclass(frozen=True, kw_only=True)
class AnnotatedImage:
    """One image and the objects in it."""

    name: str  # relative to the source's images, with "/" between folders; unique in a split
    file: Path | None  # None: missing, or in ``embedded``
    width: int  # pixels, according to the annotations; 0: not given
    height: int
    split: str = UNSPLIT
    annotations: tuple[Annotation, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON values: everything else given for the image
    embedded: bytes | None = None  # the image file, where the annotations embed it and there is no other
    folder: str = field(default="", compare=False)  # of the annotation file in the source, for some formats with name


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem found in a source, with how often it occurs."""

    rule: str  # a short description of the problem
    count: int
    examples: tuple[str, ...] = ()

    @classmethod
    def of(cls, rule: str, cases: Sequence[str]) -> Self:
        """Return the finding of all ``cases``, the first few as examples."""
        return cls(rule=rule, count=len(cases), examples=tuple(cases[:MAX_EXAMPLES]))


@dataclass(frozen=True, kw_only=True)
class Collection:
    """The annotated images of one source."""

    format: str  # one of READABLE_FORMATS, "dataset" or "datumaro:NAME"
    labels: tuple[str, ...]  # in the source's order; sorted where it has none
    images: Callable[[], Iterator[AnnotatedImage]]  # reads them anew on each call, one at a time
    metadata: Mapping[str, Any] = field(default_factory=dict)  # JSON values, for the source as a whole
    findings: tuple[Finding, ...] = ()  # problems found while reading


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """The result of a conversion."""

    source_format: str
    target_format: str
    task: str  # the task of YOLO's lines; "" for other formats
    images: int
    objects: int
    unsupported: tuple[Finding, ...]  # what the target format cannot represent
    findings: tuple[Finding, ...]  # annotations that are not valid, or were left out
    dropped: Mapping[str, int] = field(default_factory=dict)  # number of objects that were not written, by reason


def summarize(findings: tuple[Finding, ...]) -> str:
    """Return ``findings`` in parentheses for the end of an error message, each with an example; "" for none."""
    parts = "; ".join(f"{f.rule}: {f.count:,}{f', such as {f.examples[0]}' if f.examples else ''}" for f in findings)
    return f" ({parts})" if parts else ""


def split_of(subset: str | None) -> str:
    """Return the split that a source's subset name stands for: "train", "validation", "test", or "all" for others."""
    return split_names.split_of(subset or "") or UNSPLIT


def subset_name(image: AnnotatedImage, names: Mapping[str, str]) -> str:
    """Return the name for the split of ``image``: the source's name if the split is unchanged, else from ``names``."""
    given = str(image.metadata.get(SUBSET) or "")
    is_safe = given not in ("", ".", "..") and not set(given) & set("/\\\0")  # it becomes part of a file's name
    return given if is_safe and split_of(given) == image.split else names.get(image.split, image.split)


def subset_metadata(subset: str | None) -> dict[str, Any]:
    """Return the metadata that keeps the source's own name of a split for writers."""
    return {} if subset is None or subset == split_of(subset) else {SUBSET: subset}


def bounding_box(polygons: tuple[Polygon, ...]) -> Box:
    """Return the smallest box around all ``polygons``."""
    xs = [x for polygon in polygons for x in polygon[0::2]]
    ys = [y for polygon in polygons for y in polygon[1::2]]
    return (min(xs), min(ys), max(xs), max(ys)) if xs and ys else (0.0, 0.0, 0.0, 0.0)


def user_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that users gave, without the fields of single formats."""
    return {name: value for name, value in attributes.items() if not name.startswith("@")}


def format_fields(attributes: Mapping[str, Any], format_key: str) -> dict[str, Any]:
    """Return the fields that only one format has, by its key, such as VOC."""
    return dict(attributes.get(format_key) or {})


def non_empty(**entries: Any) -> dict[str, Any]:
    """Return the entries that have a value."""
    return {name: value for name, value in entries.items() if value not in (None, {}, [], ())}
