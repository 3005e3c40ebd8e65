"""Pascal VOC XML, one file a picture, as LabelImg, CVAT and VOC itself write it.

A box is xmin, ymin, xmax, ymax, and three readings of these numbers are about: "zero_based" from 0 to the width, as
LabelImg has them (but it writes 1 for 0); "one_based" counted from 1, the last one included, as VOC's own description
says (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html); and positions "shifted" by 1, up to width + 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from toolchain.annotations.files import lines_of, number, parse_xml, root_of
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import (
    VOC,
    Box,
    Collection,
    Finding,
    Picture,
    Thing,
    clean,
    own,
)
from toolchain.annotations.shapes import Shape, attempt, from_polygons, numbers, with_box
from toolchain.errors import DataError
from toolchain.image_files import child, files_under, readable

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ZERO_BASED, ONE_BASED, SHIFTED = "zero_based", "one_based", "shifted"
ORIGINS = {
    ZERO_BASED: (0, 0),
    ONE_BASED: (1, 0),
    SHIFTED: (1, 1),
}  # what left and top, right and bottom are above positions
FLAGS = ("truncated", "difficult", "occluded")
SUBSETS = {"validation": "val", "all": "default"}  # the words of VOC and CVAT for splits
LABEL_MAP = "labelmap.txt"  # CVAT's and datumaro's list of labels, "name:colour:parts:actions" in each line
BACKGROUND = ["background", "0,0,0"]  # the label and colour with which CVAT's lists begin: no class
ROOT = "annotation"  # the first element of each file


def read(folder: Path, pictures: Path | None = None, origin: str = "") -> Collection:
    """Return the annotations in the XML files of ``folder``.

    Args:
        folder: With the XML files, or with VOC's Annotations and JPEGImages.
        pictures: Where the pictures are, if apart.
        origin: "zero_based", "one_based" or "shifted"; "": as ``_evidence`` finds it.
    """
    inner = child(folder, "Annotations")
    root = inner if inner and inner.is_dir() and files_under(inner, ".xml") else folder
    images = ImageLookup(folder, pictures)
    seen = _Seen()
    files, others = _files(root, images)
    for path in files:
        seen.see(path, images)
    found, why = (origin, "as asked") if origin else seen.origin()

    def each() -> Iterator[Picture]:
        for path in files:
            yield _picture(path, root, images, found)

    unannotated = [path.relative_to(folder).as_posix() for path in images.images if path not in seen.images]
    return Collection(
        format="voc",
        labels=_labels(folder, seen.labels) or tuple(sorted(seen.labels)),
        pictures=each,
        about={"origin": found, "origin_because": why},
        findings=tuple(
            Finding(rule=rule, count=len(names), examples=tuple(names[:5]))
            for rule, names in (
                ("picture without an annotation file (left out)", unannotated),
                ("XML file that is no annotation (left out)", [str(path.relative_to(root)) for path in others]),
            )
            if names
        ),
    )


@dataclass
class _Seen:
    """What one look at all files showed."""

    labels: set[str] = field(default_factory=set)
    smallest: float = float("inf")  # of left and top edges
    beyond: float = float("-inf")  # the most that a right or bottom edge exceeds its picture's size, where it is said
    database: str = ""
    images: set[Path] = field(default_factory=set)  # that some file is of

    def see(self, path: Path, images: ImageLookup) -> None:
        """Take in the file ``path``."""
        root = parse_xml(path)
        width, height = _size(root, path)
        if image := _file(path, root, images):
            self.images.add(image)
        self.database = self.database or (root.findtext("source/database") or "").strip()
        for thing in root.iterfind("object"):
            if name := (thing.findtext("name") or "").strip():  # without one, it is no class
                self.labels.add(name)
            try:
                left, top, right, bottom = _numbers(thing)
            except DataError:  # it is counted when it is read
                continue
            self.smallest = min(self.smallest, left, top)
            if width and height:
                self.beyond = max(self.beyond, right - width, bottom - height)

    def origin(self) -> tuple[str, str]:
        """Return how coordinates are counted, and the evidence."""
        if self.smallest <= 0:
            return ZERO_BASED, f"the smallest coordinate is {self.smallest:g}"
        if self.beyond == 1:
            return SHIFTED, "no coordinate is 0, and the largest is the picture's size and 1 more"
        if self.database.startswith("The VOC"):
            return ONE_BASED, f"the database is {self.database!r}"
        return ZERO_BASED, "nothing says otherwise, and LabelImg writes positions"


def _files(root: Path, images: ImageLookup) -> tuple[list[Path], list[Path]]:
    """Return the annotation files below ``root``, and XML files of another purpose.

    A file that is no XML is an annotation that is damaged where an image has its name.
    """
    roots = {path: root_of(path) for path in files_under(root, ".xml")}
    ours = [path for path, name in roots.items() if name == ROOT or (not name and images.find_stem(path, path.stem))]
    return ours, sorted(roots.keys() - set(ours))


def _labels(folder: Path, used: set[str]) -> tuple[str, ...]:
    path = folder / LABEL_MAP
    if not path.is_file():
        return ()
    entries = [line.rsplit(":", 3) for line in lines_of(path) if not line.startswith("# ")]
    names = [entry[0].strip() for entry in entries if entry[:2] != BACKGROUND]
    return tuple(dict.fromkeys(name for name in names if name != BACKGROUND[0] or name in used))


def _picture(path: Path, root: Path, images: ImageLookup, origin: str) -> Picture:
    tree = parse_xml(path)
    folder = path.relative_to(root).parent.as_posix()
    filename = (tree.findtext("filename") or "").strip()
    file = _file(path, tree, images)
    base = readable(file.name) if file else PurePosixPath(filename.replace("\\", "/")).name or path.stem
    name = base if folder == "." else readable(f"{folder}/{base}")
    width, height = _size(tree, path)
    said = clean(
        filename=filename if filename not in ("", name) else None,
        root=dict(tree.attrib),
        depth=tree.findtext("size/depth"),
        origin=origin if origin != ZERO_BASED else None,
        xml=[_text(e) for e in tree if e.tag not in ("object", "size", "filename")],
    )
    return Picture(
        name=name,
        file=file,
        width=width,
        height=height,
        things=tuple(_thing(element, origin) for element in tree.iterfind("object")),
        about=clean(**{VOC: said}),
        folder=path.relative_to(images.root).parent.as_posix(),
    )


def _file(path: Path, tree: "Element", images: ImageLookup) -> Path | None:
    """Return the image of the XML file ``path``: by the name that it says, else by its own."""
    filename = (tree.findtext("filename") or "").strip()
    base = PurePosixPath(filename.replace("\\", "/")).name
    found = images.find(path, base, filename) if base else None
    return found or images.find_stem(path, *([PurePosixPath(base).stem] if base else []), path.stem)


def _thing(element: "Element", origin: str) -> Thing:
    flags = {flag: (element.findtext(flag) or "0").strip() for flag in FLAGS}
    known = {"name", "bndbox", "pose", "attributes", *(flag for flag in FLAGS if flags[flag] in ("0", "1"))}
    said = clean(
        pose=element.findtext("pose"),
        root=dict(element.attrib),
        xml=[_text(part) for part in element if part.tag not in known],
    )
    given = {a.findtext("name") or "": a.findtext("value") or "" for a in element.iterfind("attributes/attribute")}
    return Thing(
        label=(element.findtext("name") or "").strip(),
        **vars(_shape(element, origin)),
        difficult=flags["difficult"] == "1",
        truncated=flags["truncated"] == "1",
        occluded=flags["occluded"] == "1",
        attributes={**own(given), **clean(**{VOC: said})},
    )


def _shape(element: "Element", origin: str) -> Shape:
    """Return the box of an object, and the polygon that Roboflow and Labelbox write beside it or in its stead."""
    low, high = ORIGINS[origin]
    polygon = element.find("polygon")
    shape = Shape() if polygon is None else attempt(lambda: from_polygons([_points(polygon, low)]))
    if element.find("bndbox") is None and shape.polygons:
        return shape

    def box() -> Box:
        left, top, right, bottom = _numbers(element)
        return left - low, top - low, right - high, bottom - high

    return with_box(shape, box)


def _points(polygon: "Element", low: int) -> list[float]:
    """Return the positions in <x1> <y1> <x2> ..., or in <pt><x> <y></pt> ..., in their order."""
    texts = [(part.text or "").strip() for part in polygon.iter() if re.fullmatch(r"[xy][0-9]*", part.tag)]
    return [value - low for value in numbers(texts, "polygon")]


def _numbers(element: "Element") -> Box:
    texts = [element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if None in texts:
        raise DataError("an object has no whole bndbox")
    left, top, right, bottom = numbers(texts, "bndbox")
    return left, top, right, bottom


def _size(root: "Element", path: Path) -> tuple[int, int]:
    width, height = (number(root.findtext(f"size/{side}") or "0", str(path)) for side in ("width", "height"))
    return int(width), int(height)


def _text(element: "Element") -> str:
    from xml.etree.ElementTree import tostring

    element.tail = None
    return tostring(element, encoding="unicode").strip()
