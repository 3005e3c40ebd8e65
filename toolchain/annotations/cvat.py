"""CVAT's XML: "CVAT for images 1.1", read while it streams, and tracks of "CVAT for video 1.1", read whole.

Boxes (turned ones too), polygons, masks and the points of skeletons have their place; polylines, points, ellipses and
cuboids are kept as a box around them, with their own element among the attributes; labels of a whole picture stand in
what is said of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations.cvat_frames import Videos, named
from toolchain.annotations.cvat_meta import Meta, connections, read_meta
from toolchain.annotations.cvat_shapes import SHAPES, text_of, thing_of
from toolchain.annotations.cvat_video import Tracks, is_video
from toolchain.annotations.files import number, root_of, stem_of, stream_xml, tidy
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import CVAT, KEYPOINTS, Collection, Finding, Picture, clean, split_of, with_subset
from toolchain.errors import DataError
from toolchain.image_files import files_under

DEFAULT = "default"  # CVAT's name of the subset of images that have none

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


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
    metas = [read_meta(path) for path in files]
    labels = dict.fromkeys(label for meta in metas for label in meta.labels)
    apart = [pictures] if pictures else []
    videos = Videos()

    lookup = ImageLookup(source, pictures)

    def each() -> Iterator[Picture]:
        for meta in metas:
            path = meta.path
            places = [*apart, *_places(path.parent), *_places(root)]
            for picture in _pictures(meta, places, videos, lookup):
                yield replace(picture, folder=path.relative_to(root).with_suffix("").as_posix())

    said = clean(meta=metas[0].text if metas else None)
    points = {label: value for meta in metas for label, value in connections(meta)}
    about = clean(**{CVAT: said, KEYPOINTS: points})
    others = [meta.path.name for meta in metas if meta.text not in ("", metas[0].text)]
    rule = "<meta> of a further CVAT file (left out but for its labels)"
    findings = (Finding(rule=rule, count=len(others), examples=tuple(others[:5])),) if others else ()
    return Collection(format="cvat", labels=tuple(labels), pictures=each, about=about, findings=findings)


def _places(folder: Path) -> list[Path]:
    return [folder / "images", folder, folder / "data"]


def _pictures(meta: Meta, places: Sequence[Path], videos: Videos, lookup: ImageLookup) -> Iterator[Picture]:
    tracks = Tracks(meta, videos)
    depth = 0
    for event, element in stream_xml(meta.path):
        depth += 1 if event == "start" else -1
        if event == "end" and depth == 1:
            if element.tag == "image":
                yield _picture(element, meta, places, lookup)
            elif element.tag == "track":
                tracks.add(element)
            element.clear()
    if is_video(meta, tracks.tracks):
        yield from tracks.pictures(places)


def _picture(element: "Element", meta: Meta, places: Sequence[Path], lookup: ImageLookup) -> Picture:
    given, subset, task = element.get("name", ""), element.get("subset"), element.get("task_id")
    is_named = subset not in (None, "", DEFAULT)
    if not given:
        raise DataError(f"{meta.path}: an <image> has no name")
    name = tidy(given)
    is_repeated = (subset or "", given) in meta.repeated  # two tasks have it: each has a folder of its own
    near = [place / subset for place in places if subset] + list(places)
    near = [folder / each for folder in near for each in (str(task), f"task_{task}")] if is_repeated else near
    file = named(near, name) or (None if is_repeated else lookup.find(meta.path, name))
    name = f"{name.rpartition('/')[0]}/{file.name}".lstrip("/") if file else name
    is_plain = given in (name, stem_of(name))  # a frame of a video stands without the ending of its file
    width, height = (int(number(element.get(side) or 0, str(meta.path))) for side in ("width", "height"))
    known = ("name", "width", "height", "subset")
    said = {key: value for key, value in element.attrib.items() if key not in known}
    extra = [text_of(part) for part in element if part.tag not in SHAPES]
    return Picture(
        name=f"{task}/{name}" if is_repeated else name,
        file=file,
        width=width,
        height=height,
        split=split_of(subset),
        things=tuple(thing_of(part, (width, height), meta.points) for part in element if part.tag in SHAPES),
        about={
            **clean(**{CVAT: {**said, **clean(name=None if is_plain else given, xml=extra)}}),
            **with_subset(subset if is_named else None),
        },
    )
