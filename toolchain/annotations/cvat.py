"""CVAT's XML: "CVAT for images 1.1", read while it streams, and tracks of "CVAT for video 1.1", read whole.

Boxes (turned ones too), outlines and masks have their place; polylines, points, ellipses, cuboids and skeletons are
kept as a box around them, with their own element among the attributes; labels of a whole picture stand in what is said
of it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolchain.annotations import masks
from toolchain.annotations.files import first_inside, number, root_of, stream_xml, tidy
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import (
    CVAT,
    Collection,
    Picture,
    Thing,
    clean,
    envelope,
    of_format,
    own,
    split_of,
    with_subset,
)
from toolchain.errors import DataError
from toolchain.image_files import files_under

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SHAPES = ("box", "polygon", "polyline", "points", "mask", "ellipse", "cuboid", "skeleton")
TRUE, FALSE = "true", "false"  # as CVAT writes a checkbox
TRACK = "track_id"  # the attribute with an object's number in a video
FLAGS = ("difficult", "truncated")  # CVAT has no place of its own for these two: they become checkboxes
GEOMETRY = (
    "label",
    "occluded",
    "xtl",
    "ytl",
    "xbr",
    "ybr",
    "rotation",
    "points",
    "rle",
    "left",
    "top",
    "width",
    "height",
)


def read(source: Path, pictures: Path | None = None) -> Collection:
    """Return the annotations in ``source``.

    Args:
        source: An XML file of CVAT, or a folder with one (or one for each task).
        pictures: Where the pictures are, if apart.
    """
    root = source if source.is_dir() else source.parent
    files = (
        [path for path in files_under(source, ".xml") if root_of(path) == "annotations"]
        if source.is_dir()
        else [source]
    )
    labels: dict[str, None] = {}
    metas = [_meta(path, labels) for path in files]

    lookup = ImageLookup(source, pictures)

    def each() -> Iterator[Picture]:
        for path, meta in zip(files, metas, strict=True):
            places = [*([pictures] if pictures else []), *_places(path.parent), *_places(root)]
            for picture in _pictures(path, places, meta):
                file = picture.file or lookup.find(path, picture.name)
                yield replace(picture, file=file, folder=path.parent.relative_to(root).as_posix())

    said = clean(meta=metas[0] if metas and metas[0] else None)
    return Collection(format="cvat", labels=tuple(labels), pictures=each, about=clean(**{CVAT: said}))


def _places(folder: Path) -> list[Path]:
    return [folder / "images", folder, folder / "data"]


def _meta(path: Path, labels: dict[str, None]) -> str:
    """Return the text of the file's <meta>, and add all labels of the file to ``labels`` in their order."""
    from xml.etree.ElementTree import tostring

    text, inside_image = "", False
    for event, element in stream_xml(path):
        if event == "end" and element.tag == "meta":
            text = tostring(element, encoding="unicode").strip()
            labels |= {(name.text or "").strip(): None for name in element.iterfind(".//label/name")}
        if element.tag in ("image", "track"):
            inside_image = event == "start"
        if event == "start" and element.tag in (*SHAPES, "track", "tag") and element.get("label") and inside_image:
            labels.setdefault(element.get("label", ""), None)
        if event == "end" and element.tag in ("image", "track"):
            element.clear()
    return text


def _pictures(path: Path, places: list[Path], meta: str) -> Iterator[Picture]:
    tracks: dict[int, list[Thing]] = defaultdict(list)
    depth, is_video = 0, False
    for event, element in stream_xml(path):
        depth += 1 if event == "start" else -1
        if event == "end" and depth == 1:
            if element.tag == "image":
                yield _picture(element, path, places)
            elif element.tag == "track":
                is_video = True
                _add_track(element, tracks, path)
            element.clear()
    if is_video:
        yield from _frames(tracks, places, meta)


def _picture(element: "Element", path: Path, places: list[Path]) -> Picture:
    given = element.get("name", "")
    if not given:
        raise DataError(f"{path}: an <image> has no name")
    name, subset = tidy(given), element.get("subset")
    width, height = (int(number(element.get(side) or 0, str(path))) for side in ("width", "height"))
    near = [place / subset for place in places if subset] + places
    known = ("name", "width", "height", "subset")
    said = {key: value for key, value in element.attrib.items() if key not in known}
    shapes = [part for part in element if part.tag in SHAPES]
    extra = [_text(part) for part in element if part.tag not in SHAPES]
    return Picture(
        name=name,
        file=first_inside(near, name),
        width=width,
        height=height,
        split=split_of(subset),
        things=tuple(_thing(part, (width, height), f"{path}, {name}") for part in shapes),
        about={
            **clean(**{CVAT: {**said, **clean(name=given if given != name else None, xml=extra)}}),
            **with_subset(subset or None),
        },
    )


def _thing(element: "Element", size: tuple[int, int], where: str) -> Thing:
    get = element.attrib.get
    points = tuple(number(v, where) for pair in get("points", "").split(";") if pair for v in pair.split(","))
    said: dict[str, Any] = {key: value for key, value in element.attrib.items() if key not in GEOMETRY}
    mask, box = "", envelope((points,))
    if element.tag == "box":
        box = tuple(number(get(edge), where) for edge in ("xtl", "ytl", "xbr", "ybr"))  # type: ignore[assignment]
    elif element.tag == "mask":
        window = tuple(int(number(get(side), where)) for side in ("left", "top", "width", "height"))
        counts = [int(number(run, where)) for run in get("rle", "").split(",")]
        mask = masks.from_window(counts, window, *size)  # type: ignore[arg-type]
        left, top, across, down = window
        box = (float(left), float(top), float(left + across), float(top + down))
    elif element.tag != "polygon":
        said["element"] = _text(element)
        box = _around(element, box, where)
    given = {a.get("name", ""): a.text or "" for a in element.iterfind("attribute")}
    flags = {flag: given.pop(flag) == TRUE for flag in FLAGS if given.get(flag) == TRUE}
    return Thing(
        label=get("label", ""),
        box=box,
        rotation=number(get("rotation", "0"), where) if element.tag == "box" else 0.0,
        polygons=(points,) if element.tag == "polygon" else (),
        mask=mask,
        occluded=get("occluded") == "1",
        attributes={**own(given), **clean(**{CVAT: said})},
        **flags,
    )


def _around(
    element: "Element", box: tuple[float, float, float, float], where: str
) -> tuple[float, float, float, float]:
    """Return the box around a shape that is neither box, outline nor mask."""
    get = element.attrib
    if element.tag == "ellipse":
        x, y, rx, ry = (number(get.get(key), where) for key in ("cx", "cy", "rx", "ry"))
        return x - rx, y - ry, x + rx, y + ry
    corners = [
        (key, number(value, where))
        for key, value in get.items()
        if key[:1] in "xy" and key[1:3] in ("tl", "tr", "bl", "br")
    ]
    xs, ys = ([value for key, value in corners if key[0] == axis] for axis in "xy")
    if xs and ys:
        return min(xs), min(ys), max(xs), max(ys)
    inner = [
        number(v, where)
        for p in element.iter("points")
        for pair in p.get("points", "").split(";")
        if pair
        for v in pair.split(",")
    ]
    return envelope((tuple(inner),)) if inner else box


def _add_track(element: "Element", tracks: dict[int, list[Thing]], path: Path) -> None:
    """Add the visible shapes of the track ``element`` to their frames, without a picture's size: masks are refused."""
    for shape in (part for part in element if part.tag in SHAPES and part.get("outside") != "1"):
        shape.set("label", element.get("label", ""))
        thing = _thing(shape, (0, 0), str(path))
        said = {k: v for k, v in of_format(thing.attributes, CVAT).items() if k not in ("frame", "outside")}
        attributes = {**own(thing.attributes), TRACK: int(number(element.get("id"), str(path))), CVAT: said}
        kept = {name: getattr(thing, name) for name in ("label", "box", "rotation", "polygons", "occluded")}
        tracks[int(number(shape.get("frame"), str(path)))].append(Thing(**kept, attributes=attributes))


def _frames(tracks: dict[int, list[Thing]], places: list[Path], meta: str) -> Iterator[Picture]:
    """Yield the frames of a video, exported as frame_000000.png and so on; also those where nothing is to be seen."""
    from defusedxml.ElementTree import fromstring

    root = fromstring(meta) if meta else None
    width, height, frames = (
        int((root.findtext(f".//{key}") if root is not None else None) or 0)
        for key in ("original_size/width", "original_size/height", "task/size")
    )
    for frame in range(max(frames, max(tracks, default=-1) + 1)):
        names = [f"frame_{frame:06d}{ending}" for ending in (".png", ".PNG", ".jpg", ".JPG")]
        file = next((found for name in names if (found := first_inside(places, name))), None)
        yield Picture(
            name=file.name if file else names[0],
            file=file,
            width=width,
            height=height,
            things=tuple(tracks.get(frame, ())),
        )


def _text(element: "Element") -> str:
    from xml.etree.ElementTree import tostring

    element.tail = None
    return tostring(element, encoding="unicode").strip()
