"""Read Pascal VOC XML, one file per image, as LabelImg, CVAT and VOC itself write it.

A box is xmin, ymin, xmax, ymax, and three conventions for these numbers are in use: "zero_based" positions from 0 to
the width, as LabelImg writes them (but with 1 for 0); "one_based" pixel numbers from 1, the last one included, as VOC
documents it (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html); and positions "shifted" by 1, up to
width + 1.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from toolchain.annotations.files import parse_number, parse_xml, read_lines, root_name, xml_text
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.shapes import Shape, from_polygons, parse_numbers, shape_or_error, with_box
from toolchain.annotations.types import (
    VOC,
    AnnotatedImage,
    Annotation,
    Box,
    Collection,
    Finding,
    non_empty,
    user_attributes,
)
from toolchain.errors import DataError
from toolchain.image_files import child, files_under, readable

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ZERO_BASED, ONE_BASED, SHIFTED = "zero_based", "one_based", "shifted"
# How much larger left and top, right and bottom are than positions from 0.
ORIGINS = {ZERO_BASED: (0, 0), ONE_BASED: (1, 0), SHIFTED: (1, 1)}
FLAGS = ("truncated", "difficult", "occluded")  # in the order in which they are written
SUBSETS = {"validation": "val", "all": "default"}  # VOC's and CVAT's names of splits
LABEL_MAP = "labelmap.txt"  # CVAT's and datumaro's list of labels, "name:colour:parts:actions" in each line
BACKGROUND = ["background", "0,0,0"]  # the label and colour at the top of CVAT's lists: not a class
ROOT = "annotation"  # the first element of each file


def read(folder: Path, images_dir: Path | None = None, origin: str = "") -> Collection:
    """Return the annotations in the XML files of ``folder``.

    Args:
        folder: With the XML files, or with VOC's Annotations and JPEGImages.
        images_dir: The images, if they are not with the annotations.
        origin: One of ORIGINS; "": detected from the coordinates.
    """
    inner = child(folder, "Annotations")
    root = inner if inner and inner.is_dir() and files_under(inner, ".xml") else folder
    lookup = ImageLookup(folder, images_dir)
    files, unrelated = _find_files(root, lookup)
    scan = _Scan()
    for path in files:
        scan.add(path, lookup)
    origin, evidence = (origin, "given by the user") if origin else scan.origin()

    def images() -> Iterator[AnnotatedImage]:
        return (_image(path, root, lookup, origin) for path in files)

    without_file = [path.relative_to(folder).as_posix() for path in lookup.images if path not in scan.images]
    problems = {
        "image without an annotation file (left out)": without_file,
        "XML file that is not an annotation (left out)": [str(path.relative_to(root)) for path in unrelated],
    }
    return Collection(
        format="voc",
        labels=_label_map(folder, scan.labels) or tuple(sorted(scan.labels)),
        images=images,
        metadata={"origin": origin, "origin_evidence": evidence},
        findings=tuple(Finding.of(rule, cases) for rule, cases in problems.items() if cases),
    )


@dataclass
class _Scan:
    """What a first pass over all files finds."""

    labels: set[str] = field(default_factory=set)
    smallest: float = float("inf")  # of left and top edges
    excess: float = float("-inf")  # the most that a right or bottom edge exceeds its image's size, where it is given
    database: str = ""
    images: set[Path] = field(default_factory=set)  # with an annotation file

    def add(self, path: Path, lookup: ImageLookup) -> None:
        """Add the file ``path``."""
        root = parse_xml(path)
        width, height = _size(root, path)
        if image := _find_image(path, root, lookup):
            self.images.add(image)
        self.database = self.database or (root.findtext("source/database") or "").strip()
        for element in root.iterfind("object"):
            if name := (element.findtext("name") or "").strip():
                self.labels.add(name)
            try:
                left, top, right, bottom = _coordinates(element)
            except DataError:  # it is counted when it is read
                continue
            self.smallest = min(self.smallest, left, top)
            if width and height:
                self.excess = max(self.excess, right - width, bottom - height)

    def origin(self) -> tuple[str, str]:
        """Return the convention of the coordinates, and the evidence."""
        if self.smallest <= 0:
            return ZERO_BASED, f"the smallest coordinate is {self.smallest:g}"
        if self.excess == 1:
            return SHIFTED, "no coordinate is 0, and the largest is the image's size plus 1"
        if self.database.startswith("The VOC"):
            return ONE_BASED, f"the database is {self.database!r}"
        return ZERO_BASED, "the default, as LabelImg writes it: the coordinates do not show another convention"


def _find_files(root: Path, lookup: ImageLookup) -> tuple[list[Path], list[Path]]:
    """Return the annotation files below ``root``, and unrelated XML files.

    A file that is not XML is a damaged annotation file if an image has its name.
    """
    names = {path: root_name(path) for path in files_under(root, ".xml")}
    found = [path for path, name in names.items() if name == ROOT or (not name and lookup.find_stem(path, path.stem))]
    return found, sorted(names.keys() - set(found))


def _label_map(folder: Path, used: set[str]) -> tuple[str, ...]:
    path = folder / LABEL_MAP
    if not path.is_file():
        return ()
    entries = [line.rsplit(":", 3) for line in read_lines(path) if not line.startswith("# ")]
    names = [entry[0].strip() for entry in entries if entry[:2] != BACKGROUND]
    return tuple(dict.fromkeys(name for name in names if name != BACKGROUND[0] or name in used))


def _image(path: Path, root: Path, lookup: ImageLookup, origin: str) -> AnnotatedImage:
    tree = parse_xml(path)
    folder = path.relative_to(root).parent.as_posix()
    filename = _filename(tree)
    file = _find_image(path, tree, lookup)
    base = readable(file.name) if file else _base_name(filename) or path.stem
    name = base if folder == "." else readable(f"{folder}/{base}")
    width, height = _size(tree, path)
    fields = non_empty(
        filename=filename if filename not in ("", name) else None,
        root=dict(tree.attrib),
        depth=tree.findtext("size/depth"),
        origin=origin if origin != ZERO_BASED else None,
        xml=[xml_text(element) for element in tree if element.tag not in ("object", "size", "filename")],
    )
    return AnnotatedImage(
        name=name,
        file=file,
        width=width,
        height=height,
        annotations=tuple(_annotation(element, origin) for element in tree.iterfind("object")),
        metadata=non_empty(**{VOC: fields}),
        folder=path.relative_to(lookup.root).parent.as_posix(),
    )


def _filename(tree: "Element") -> str:
    return (tree.findtext("filename") or "").strip()


def _base_name(filename: str) -> str:
    return PurePosixPath(filename.replace("\\", "/")).name


def _find_image(path: Path, tree: "Element", lookup: ImageLookup) -> Path | None:
    """Return the image of the XML file ``path``: by the file name in it, else by its own name."""
    filename = _filename(tree)
    base = _base_name(filename)
    found = lookup.find(path, base, filename) if base else None
    return found or lookup.find_stem(path, *([PurePosixPath(base).stem] if base else []), path.stem)


def _annotation(element: "Element", origin: str) -> Annotation:
    flags = {flag: (element.findtext(flag) or "0").strip() for flag in FLAGS}
    known = {"name", "bndbox", "pose", "attributes", *(flag for flag in FLAGS if flags[flag] in ("0", "1"))}
    fields = non_empty(
        pose=element.findtext("pose"),
        root=dict(element.attrib),
        xml=[xml_text(part) for part in element if part.tag not in known],
    )
    attributes = {a.findtext("name") or "": a.findtext("value") or "" for a in element.iterfind("attributes/attribute")}
    return Annotation(
        label=(element.findtext("name") or "").strip(),
        **vars(_shape(element, origin)),
        difficult=flags["difficult"] == "1",
        truncated=flags["truncated"] == "1",
        occluded=flags["occluded"] == "1",
        attributes={**user_attributes(attributes), **non_empty(**{VOC: fields})},
    )


def _shape(element: "Element", origin: str) -> Shape:
    """Return the box of an object, and the polygon that Roboflow and Labelbox write beside it or instead of it."""
    low, high = ORIGINS[origin]
    polygon = element.find("polygon")
    shape = Shape() if polygon is None else shape_or_error(lambda: from_polygons([_points(polygon, low)]))
    if element.find("bndbox") is None and shape.polygons:
        return shape

    def box() -> Box:
        left, top, right, bottom = _coordinates(element)
        return left - low, top - low, right - high, bottom - high

    return with_box(shape, box)


def _points(polygon: "Element", low: int) -> list[float]:
    """Return the positions in <x1> <y1> <x2> ..., or in <pt><x> <y></pt> ..., in their order."""
    texts = [(part.text or "").strip() for part in polygon.iter() if re.fullmatch(r"[xy][0-9]*", part.tag)]
    return [value - low for value in parse_numbers(texts, "polygon")]


def _coordinates(element: "Element") -> Box:
    texts = [element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if None in texts:
        raise DataError("an object has no complete bndbox")
    left, top, right, bottom = parse_numbers(texts, "bndbox")
    return left, top, right, bottom


def _size(root: "Element", path: Path) -> tuple[int, int]:
    width, height = (parse_number(root.findtext(f"size/{side}") or "0", str(path)) for side in ("width", "height"))
    return int(width), int(height)
