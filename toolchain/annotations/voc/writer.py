"""Write Pascal VOC XML: annotations, lists of the splits, and CVAT's list of labels with their parts and actions."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.annotations.files import number_text, without_image_suffix
from toolchain.annotations.geometry import upright_box
from toolchain.annotations.types import (
    VOC,
    AnnotatedImage,
    Annotation,
    Collection,
    format_fields,
    subset_name,
    user_attributes,
)
from toolchain.annotations.voc.reader import FLAGS, LABEL_MAP, ORIGINS, SUBSETS, ZERO_BASED

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage]) -> None:
    """Write ``images`` to ``folder`` as Annotations/NAME.xml and lists in ImageSets/Main; no image file is copied."""
    from xml.etree.ElementTree import ElementTree, indent

    lists: dict[str, list[str]] = {}
    label_map = _LabelMap()
    for image in images:
        stem = without_image_suffix(image.name)
        target = folder / "Annotations" / f"{stem}.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        root = _root(image)
        label_map.add(root)
        indent(root, "\t")
        ElementTree(root).write(target, encoding="utf-8")
        lists.setdefault(list_name(image), []).append(stem)
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for subset, names in lists.items():
        (main / f"{subset}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    (folder / LABEL_MAP).write_text(label_map.text(collection.labels), encoding="utf-8")


def image_path(image: AnnotatedImage) -> str:
    """Return the path of the file of ``image``, relative to the target."""
    return f"JPEGImages/{image.name}"


def list_name(image: AnnotatedImage) -> str:
    """Return the name of the list of the split of ``image``, without "_", which in VOC follows the name of a class."""
    name = subset_name(image, SUBSETS)
    return SUBSETS.get(image.split, image.split) if "_" in name else name


@dataclass
class _LabelMap:
    """The parts and actions of the objects of each label."""

    parts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    actions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, root: "Element") -> None:
        for element in root.iterfind("object"):
            label = element.findtext("name") or ""
            self.parts[label] |= {name for part in element.iterfind("part") if (name := part.findtext("name"))}
            self.actions[label] |= {action.tag for action in element.iterfind("actions/*")}

    def text(self, labels: tuple[str, ...]) -> str:
        lines = (f"{name}::{_join(self.parts[name])}:{_join(self.actions[name])}\n" for name in labels)
        return "# label:color_rgb:parts:actions\n" + "".join(lines)


def _join(names: set[str]) -> str:
    return ",".join(sorted(names))


def _root(image: AnnotatedImage) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    fields = format_fields(image.metadata, VOC)
    root = Element("annotation", fields.get("root", {}))
    _add(root, "filename", fields.get("filename") or image.name)
    root.extend(fromstring(text) for text in fields.get("xml", []))
    size = SubElement(root, "size")
    for name, value in (("width", image.width), ("height", image.height), ("depth", fields.get("depth") or 3)):
        _add(size, name, value)
    for annotation in image.annotations:
        root.append(_object(annotation, ORIGINS[fields.get("origin", ZERO_BASED)]))
    return root


def _object(annotation: Annotation, offsets: tuple[int, int]) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    fields = format_fields(annotation.attributes, VOC)
    element = Element("object", fields.get("root", {}))
    _add(element, "name", annotation.label)
    _add(element, "pose", fields.get("pose", "Unspecified"))
    for flag in FLAGS:
        _add(element, flag, int(getattr(annotation, flag)))
    box = SubElement(element, "bndbox")
    low, high = offsets
    edges = zip(("xmin", "ymin", "xmax", "ymax"), upright_box(annotation), (low, low, high, high), strict=True)
    for edge, value, offset in edges:
        _add(box, edge, number_text(value + offset))
    _add_attributes(element, annotation)
    element.extend(fromstring(text) for text in fields.get("xml", []))
    return element


def _add_attributes(element: "Element", annotation: Annotation) -> None:
    from xml.etree.ElementTree import SubElement

    attributes = user_attributes(annotation.attributes).items()
    supported = {name: value for name, value in attributes if isinstance(value, str | int | float)}
    if not supported:
        return
    parent = SubElement(element, "attributes")
    for name, value in supported.items():
        attribute = SubElement(parent, "attribute")
        _add(attribute, "name", name)
        _add(attribute, "value", str(value).lower() if isinstance(value, bool) else value)


def _add(parent: "Element", name: str, value: Any) -> None:
    from xml.etree.ElementTree import SubElement

    SubElement(parent, name).text = str(value)
