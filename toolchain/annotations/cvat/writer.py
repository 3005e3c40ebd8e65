"""Write CVAT for images 1.1, one image at a time."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations import masks
from toolchain.annotations.cvat.meta_writer import meta_text
from toolchain.annotations.cvat.reader import DEFAULT_SUBSET
from toolchain.annotations.cvat.shapes import CHECKBOX_FLAGS, TRUE
from toolchain.annotations.files import number_text
from toolchain.annotations.types import (
    CVAT,
    AnnotatedImage,
    Annotation,
    Collection,
    format_fields,
    subset_name,
    user_attributes,
)

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SUBSETS = {"all": ""}  # images of no split have no subset


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage]) -> None:
    """Write ``images`` to ``folder`` as annotations.xml, one at a time; the image files are not copied."""
    attributes: dict[str, set[str]] = defaultdict(set)
    subsets: dict[str, None] = {}  # in their order
    ids: set[str] = set()
    body = folder / ".images.xml"
    with body.open("w", encoding="utf-8") as file:
        for image in images:
            subsets.setdefault(subset_name(image, SUBSETS), None)
            file.write(_image_text(image, _unique_id(format_fields(image.metadata, CVAT).get("id"), ids)))
            for annotation in image.annotations:
                attributes[annotation.label] |= set(_attributes(annotation))
    with (folder / "annotations.xml").open("w", encoding="utf-8") as file, body.open(encoding="utf-8") as lines:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(meta_text(collection, attributes, list(subsets)) + "\n")
        for line in lines:
            needs_subset = len(subsets) > 1 and line.startswith("<image ") and ' subset="' not in line
            file.write(line.replace("<image ", f'<image subset="{DEFAULT_SUBSET}" ', 1) if needs_subset else line)
        file.write("</annotations>\n")
    body.unlink()


def image_path(image: AnnotatedImage) -> str:
    """Return the path of the file of ``image``, relative to the target."""
    subset = subset_name(image, SUBSETS)
    return f"images/{subset}/{image.name}" if subset else f"images/{image.name}"


def _unique_id(id_: object, taken: set[str]) -> str:
    """Return ``id_``, or another number if it is ``taken``: importers merge images with the same id."""
    unique = str(id_) if id_ is not None else str(len(taken))
    number = len(taken)
    while unique in taken:
        unique, number = str(number), number + 1
    taken.add(unique)
    return unique


def _image_text(image: AnnotatedImage, id_: str) -> str:
    from xml.etree.ElementTree import Element, indent, tostring

    from defusedxml.ElementTree import fromstring

    fields = format_fields(image.metadata, CVAT)
    subset = subset_name(image, SUBSETS)
    others = fields.pop("xml", [])
    root = Element("image", {"id": id_, "name": fields.pop("name", image.name)})
    fields.pop("id", None)
    root.attrib |= {**({"subset": subset} if subset else {}), **{key: str(value) for key, value in fields.items()}}
    root.attrib |= {"width": str(image.width), "height": str(image.height)}
    for annotation in image.annotations:
        root.extend(_elements(annotation, image))
    root.extend(fromstring(text) for text in others)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _elements(annotation: Annotation, image: AnnotatedImage) -> Iterator["Element"]:
    """Yield the shapes of ``annotation``: one, or one for each of its polygons."""
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    fields = {key: str(value) for key, value in format_fields(annotation.attributes, CVAT).items()}
    if text := fields.pop("element", None):
        yield fromstring(text)
        return
    occluded = str(int(annotation.occluded))
    for tag, geometry in _geometry(annotation, image):
        common = {"label": annotation.label, "source": fields.get("source", "file"), "occluded": occluded}
        element = Element(tag, {**common, **geometry, "z_order": "0", **fields})
        for name, value in _attributes(annotation).items():
            SubElement(element, "attribute", name=name).text = value
        yield element


def _geometry(annotation: Annotation, image: AnnotatedImage) -> Iterator[tuple[str, dict[str, str]]]:
    if annotation.mask:
        counts, window = masks.to_window(annotation.mask, image.width, image.height)
        sides = dict(zip(("left", "top", "width", "height"), map(str, window), strict=True))
        yield "mask", {"rle": ", ".join(map(str, counts)), **sides}
    elif annotation.polygons:
        for polygon in annotation.polygons:
            pairs = zip(polygon[0::2], polygon[1::2], strict=True)
            yield "polygon", {"points": ";".join(f"{number_text(x)},{number_text(y)}" for x, y in pairs)}
    else:
        edges = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(number_text, annotation.box), strict=True))
        yield "box", {**edges, **({"rotation": number_text(annotation.rotation)} if annotation.rotation else {})}


def _attributes(annotation: Annotation) -> dict[str, str]:
    """Return the attributes of ``annotation`` that CVAT supports, as text."""
    attributes = user_attributes(annotation.attributes).items()
    supported = {name: value for name, value in attributes if isinstance(value, str | int | float)}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in supported.items()}
    return texts | {flag: TRUE for flag in CHECKBOX_FLAGS if getattr(annotation, flag)}
