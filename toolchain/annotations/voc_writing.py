"""Pascal VOC XML, written: annotations, lists of the splits, and CVAT's list of labels with their parts and actions."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.annotations.files import plain, stem_of
from toolchain.annotations.geometry import covered
from toolchain.annotations.model import VOC, Collection, Picture, Thing, of_format, own, subset_of
from toolchain.annotations.voc import FLAGS, LABEL_MAP, ORIGINS, SUBSETS, ZERO_BASED

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def write(folder: Path, collection: Collection, pictures: Iterator[Picture]) -> None:
    """Write ``pictures`` to ``folder`` as Annotations/NAME.xml and lists in ImageSets/Main; no file is copied."""
    from xml.etree.ElementTree import ElementTree, indent

    lists: dict[str, list[str]] = {}
    parts: dict[str, set[str]] = defaultdict(set)
    actions: dict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        stem = stem_of(picture.name)
        target = folder / "Annotations" / f"{stem}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        root = _root(picture)
        for element in root.iterfind("object"):
            label = element.findtext("name") or ""
            parts[label] |= {name for part in element.iterfind("part") if (name := part.findtext("name"))}
            actions[label] |= {action.tag for action in element.iterfind("actions/*")}
        indent(root, "\t")
        ElementTree(root).write(target, encoding="utf-8")
        lists.setdefault(list_of(picture), []).append(stem)
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for subset, names in lists.items():
        (main / f"{subset}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    header = "# label:color_rgb:parts:actions\n"
    lines = [f"{name}::{_joined(parts[name])}:{_joined(actions[name])}\n" for name in collection.labels]
    (folder / LABEL_MAP).write_text(header + "".join(lines), encoding="utf-8")


def list_of(picture: Picture) -> str:
    """Return the name of the list of the split of ``picture``: one without "_", which in VOC follows a class's name."""
    name = subset_of(picture, SUBSETS)
    return SUBSETS.get(picture.split, picture.split) if "_" in name else name


def _joined(names: set[str]) -> str:
    return ",".join(sorted(names))


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    return f"JPEGImages/{picture.name}"


def _root(picture: Picture) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    said = of_format(picture.about, VOC)
    root = Element("annotation", said.get("root", {}))
    _say(root, "filename", said.get("filename") or picture.name)
    root.extend(fromstring(text) for text in said.get("xml", []))
    size = SubElement(root, "size")
    for name, value in (("width", picture.width), ("height", picture.height), ("depth", said.get("depth") or 3)):
        _say(size, name, value)
    for thing in picture.things:
        root.append(_object(thing, ORIGINS[said.get("origin", ZERO_BASED)]))
    return root


def _object(thing: Thing, offsets: tuple[int, int]) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    said = of_format(thing.attributes, VOC)
    element = Element("object", said.get("root", {}))
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
