"""CVAT for images 1.1, written one picture after the other."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations import masks
from toolchain.annotations.cvat import DEFAULT
from toolchain.annotations.cvat_shapes import FLAGS, TRUE
from toolchain.annotations.cvat_writing_meta import written_meta
from toolchain.annotations.files import plain
from toolchain.annotations.model import CVAT, Collection, Picture, Thing, of_format, own, subset_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def write(folder: Path, collection: Collection, pictures: Iterator[Picture]) -> None:
    """Write ``pictures`` to ``folder`` as annotations.xml, one after the other; the files are not copied."""
    attributes: dict[str, set[str]] = defaultdict(set)
    subsets: dict[str, None] = {}  # in their order
    ids: set[str] = set()
    body = folder / ".images.xml"
    with body.open("w", encoding="utf-8") as file:
        for picture in pictures:
            subsets.setdefault(subset_of(picture, {"all": ""}), None)
            file.write(_text_of_picture(picture, _free(of_format(picture.about, CVAT).get("id"), ids)))
            for thing in picture.things:
                attributes[thing.label] |= set(_attributes(thing))
    with (folder / "annotations.xml").open("w", encoding="utf-8") as file, body.open(encoding="utf-8") as images:
        file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n')
        file.write(written_meta(collection, attributes, list(subsets)) + "\n")
        for line in images:
            is_bare = len(subsets) > 1 and line.startswith("<image ") and ' subset="' not in line
            file.write(line.replace("<image ", f'<image subset="{DEFAULT}" ', 1) if is_bare else line)
        file.write("</annotations>\n")
    body.unlink()


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    subset = subset_of(picture, {"all": ""})
    return f"images/{subset}/{picture.name}" if subset else f"images/{picture.name}"


def _free(id_: object, taken: set[str]) -> str:
    """Return ``id_``, or another number where it is ``taken``: importers take images of one id for one image."""
    found = str(id_) if id_ is not None else str(len(taken))
    number = len(taken)
    while found in taken:
        found, number = str(number), number + 1
    taken.add(found)
    return found


def _text_of_picture(picture: Picture, id_: str) -> str:
    from xml.etree.ElementTree import Element, indent, tostring

    from defusedxml.ElementTree import fromstring

    said = of_format(picture.about, CVAT)
    subset = subset_of(picture, {"all": ""})
    extra = said.pop("xml", [])
    root = Element("image", {"id": id_, "name": said.pop("name", picture.name)})
    said.pop("id", None)
    root.attrib |= {**({"subset": subset} if subset else {}), **{key: str(value) for key, value in said.items()}}
    root.attrib |= {"width": str(picture.width), "height": str(picture.height)}
    for thing in picture.things:
        root.extend(_elements(thing, picture))
    root.extend(fromstring(text) for text in extra)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _elements(thing: Thing, picture: Picture) -> Iterator["Element"]:
    """Yield the shapes of ``thing``: one, or one for each of its outlines."""
    from xml.etree.ElementTree import Element, SubElement

    from defusedxml.ElementTree import fromstring

    said = {key: str(value) for key, value in of_format(thing.attributes, CVAT).items()}
    if text := said.pop("element", None):
        yield fromstring(text)
        return
    for tag, geometry in _geometry(thing, picture):
        common = {"label": thing.label, "source": said.get("source", "file"), "occluded": str(int(thing.occluded))}
        element = Element(tag, {**common, **geometry, "z_order": "0", **said})
        for name, value in _attributes(thing).items():
            SubElement(element, "attribute", name=name).text = value
        yield element


def _geometry(thing: Thing, picture: Picture) -> Iterator[tuple[str, dict[str, str]]]:
    if thing.mask:
        counts, window = masks.to_window(thing.mask, picture.width, picture.height)
        sides = dict(zip(("left", "top", "width", "height"), map(str, window), strict=True))
        yield "mask", {"rle": ", ".join(map(str, counts)), **sides}
    elif thing.polygons:
        for outline in thing.polygons:
            pairs = zip(outline[0::2], outline[1::2], strict=True)
            yield "polygon", {"points": ";".join(f"{plain(x)},{plain(y)}" for x, y in pairs)}
    else:
        edges = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(plain, thing.box), strict=True))
        yield "box", {**edges, **({"rotation": plain(thing.rotation)} if thing.rotation else {})}


def _attributes(thing: Thing) -> dict[str, str]:
    """Return the texts of the attributes of ``thing`` that CVAT can hold."""
    given = {name: value for name, value in own(thing.attributes).items() if isinstance(value, str | int | float)}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}
    return texts | {flag: TRUE for flag in FLAGS if getattr(thing, flag)}
