"""Pascal VOC XML, one file a picture, as LabelImg, CVAT and VOC itself write it.

A box is xmin, ymin, xmax, ymax, and three readings of these numbers are about: "positions" from 0 to the width, as
LabelImg has them (but it writes 1 for 0); "pixels" counted from 1, the last one included, as VOC's own description
says (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/index.html); and positions "shifted" by 1, up to width + 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from toolchain.annotations.files import lines_of, number, parse_xml, plain, root_of, stem_of
from toolchain.annotations.geometry import covered
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import (
    VOC,
    Box,
    Collection,
    Finding,
    Picture,
    Thing,
    clean,
    of_format,
    own,
    subset_of,
)
from toolchain.errors import DataError
from toolchain.image_files import child, files_under, readable

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

POSITIONS, PIXELS, SHIFTED = "positions", "pixels", "shifted"
ORIGINS = {
    POSITIONS: (0, 0),
    PIXELS: (1, 0),
    SHIFTED: (1, 1),
}  # what left and top, right and bottom are above positions
FLAGS = ("truncated", "difficult", "occluded")
SUBSETS = {"validation": "val", "all": "default"}  # the words of VOC and CVAT for splits
LABEL_MAP = "labelmap.txt"  # CVAT's and datumaro's list of labels, "name:colour:parts:actions" in each line
ROOT = "annotation"  # the first element of each file


def read(folder: Path, pictures: Path | None = None, origin: str = "") -> Collection:
    """Return the annotations in the XML files of ``folder``.

    Args:
        folder: With the XML files, or with VOC's Annotations and JPEGImages.
        pictures: Where the pictures are, if apart.
        origin: "positions", "pixels" or "shifted"; "": as ``_evidence`` finds it.
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
        labels=_labels(folder) or tuple(sorted(seen.labels)),
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


def write(folder: Path, collection: Collection, pictures: Iterator[Picture]) -> None:
    """Write ``pictures`` to ``folder`` as Annotations/NAME.xml and lists in ImageSets/Main; no file is copied."""
    from xml.etree.ElementTree import ElementTree, indent

    lists: dict[str, list[str]] = {}
    for picture in pictures:
        stem = stem_of(picture.name)
        target = folder / "Annotations" / f"{stem}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        root = _root(picture)
        indent(root, "\t")
        ElementTree(root).write(target, encoding="utf-8")
        lists.setdefault(subset_of(picture, SUBSETS), []).append(stem)
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for subset, names in lists.items():
        (main / f"{subset}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    header = "# label:color_rgb:parts:actions\n"
    (folder / LABEL_MAP).write_text(header + "".join(f"{name}:::\n" for name in collection.labels), encoding="utf-8")


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    return f"JPEGImages/{picture.name}"


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
            self.labels.add((thing.findtext("name") or "").strip())
            left, top, right, bottom = _numbers(thing, path)
            self.smallest = min(self.smallest, left, top)
            if width and height:
                self.beyond = max(self.beyond, right - width, bottom - height)

    def origin(self) -> tuple[str, str]:
        """Return how coordinates are counted, and the evidence."""
        if self.smallest <= 0:
            return POSITIONS, f"the smallest coordinate is {self.smallest:g}"
        if self.beyond == 1:
            return SHIFTED, "no coordinate is 0, and the largest is the picture's size and 1 more"
        if self.database.startswith("The VOC"):
            return PIXELS, f"the database is {self.database!r}"
        return POSITIONS, "nothing says otherwise, and LabelImg writes positions"


def _files(root: Path, images: ImageLookup) -> tuple[list[Path], list[Path]]:
    """Return the annotation files below ``root``, and XML files of another purpose.

    A file that is no XML is an annotation that is damaged where an image has its name.
    """
    roots = {path: root_of(path) for path in files_under(root, ".xml")}
    ours = [path for path, name in roots.items() if name == ROOT or (not name and images.find_stem(path, path.stem))]
    return ours, [path for path in roots if path not in set(ours)]


def _labels(folder: Path) -> tuple[str, ...]:
    path = folder / LABEL_MAP
    if not path.is_file():
        return ()
    names = [line.rsplit(":", 3)[0].strip() for line in lines_of(path) if not line.startswith("# ")]
    return tuple(dict.fromkeys(name for name in names if name != "background"))


def _picture(path: Path, root: Path, images: ImageLookup, origin: str) -> Picture:
    tree = parse_xml(path)
    folder = path.relative_to(root).parent.as_posix()
    filename = (tree.findtext("filename") or "").strip()
    file = _file(path, tree, images)
    base = readable(file.name) if file else PurePosixPath(filename.replace("\\", "/")).name or path.stem
    name = base if folder == "." else readable(f"{folder}/{base}")
    width, height = _size(tree, path)
    said = clean(
        filename=filename if filename != base else None,
        depth=tree.findtext("size/depth"),
        origin=origin if origin != POSITIONS else None,
        xml=[_text(e) for e in tree if e.tag not in ("object", "size", "filename")],
    )
    return Picture(
        name=name,
        file=file,
        width=width,
        height=height,
        things=tuple(_thing(element, path, origin) for element in tree.iterfind("object")),
        about=clean(**{VOC: said}),
        folder=path.relative_to(images.root).parent.as_posix(),
    )


def _file(path: Path, tree: "Element", images: ImageLookup) -> Path | None:
    """Return the image of the XML file ``path``: by the name that it says, else by its own."""
    filename = (tree.findtext("filename") or "").strip()
    base = PurePosixPath(filename.replace("\\", "/")).name
    found = images.find(path, base, filename) if base else None
    return found or images.find_stem(path, *([PurePosixPath(base).stem] if base else []), path.stem)


def _thing(element: "Element", path: Path, origin: str) -> Thing:
    low, high = ORIGINS[origin]
    left, top, right, bottom = _numbers(element, path)
    flags = {flag: (element.findtext(flag) or "0").strip() for flag in FLAGS}
    known = {"name", "bndbox", "pose", "attributes", *(flag for flag in FLAGS if flags[flag] in ("0", "1"))}
    said = clean(pose=element.findtext("pose"), xml=[_text(part) for part in element if part.tag not in known])
    given = {a.findtext("name") or "": a.findtext("value") or "" for a in element.iterfind("attributes/attribute")}
    return Thing(
        label=(element.findtext("name") or "").strip(),
        box=(left - low, top - low, right - high, bottom - high),
        difficult=flags["difficult"] == "1",
        truncated=flags["truncated"] == "1",
        occluded=flags["occluded"] == "1",
        attributes={**own(given), **clean(**{VOC: said})},
    )


def _numbers(element: "Element", path: Path) -> Box:
    texts = [element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if None in texts:
        raise DataError(f"{path}: an object {element.findtext('name')!r} has no whole bndbox; mend or delete it")
    left, top, right, bottom = (number(text, str(path)) for text in texts)
    return left, top, right, bottom


def _size(root: "Element", path: Path) -> tuple[int, int]:
    width, height = (number(root.findtext(f"size/{side}") or "0", str(path)) for side in ("width", "height"))
    return int(width), int(height)


def _text(element: "Element") -> str:
    from xml.etree.ElementTree import tostring

    element.tail = None
    return tostring(element, encoding="unicode").strip()


def _root(picture: Picture) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    said = of_format(picture.about, VOC)
    root = Element("annotation")
    _say(root, "filename", said.get("filename") or PurePosixPath(picture.name).name)
    root.extend(fromstring(text) for text in said.get("xml", []))
    size = SubElement(root, "size")
    for name, value in (("width", picture.width), ("height", picture.height), ("depth", said.get("depth") or 3)):
        _say(size, name, value)
    for thing in picture.things:
        root.append(_object(thing, ORIGINS[said.get("origin", POSITIONS)]))
    return root


def _object(thing: Thing, offsets: tuple[int, int]) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    said = of_format(thing.attributes, VOC)
    element = Element("object")
    _say(element, "name", thing.label)
    _say(element, "pose", said.get("pose", "Unspecified"))
    for flag in FLAGS:
        _say(element, flag, int(getattr(thing, flag)))
    box = SubElement(element, "bndbox")
    low, high = offsets
    for edge, value, above in zip(
        ("xmin", "ymin", "xmax", "ymax"), covered(thing), (low, low, high, high), strict=True
    ):
        _say(box, edge, plain(value + above))
    texts = {name: value for name, value in own(thing.attributes).items() if isinstance(value, str | int | float)}
    if texts:
        attributes = SubElement(element, "attributes")
        for name, given in texts.items():
            attribute = SubElement(attributes, "attribute")
            _say(attribute, "name", name)
            _say(attribute, "value", str(given).lower() if isinstance(given, bool) else given)
    element.extend(fromstring(text) for text in said.get("xml", []))
    return element


def _say(parent: "Element", name: str, value: Any) -> None:
    from xml.etree.ElementTree import SubElement

    SubElement(parent, name).text = str(value)
