"""Read CVAT's XML: "CVAT for images 1.1" is streamed, tracks of "CVAT for video 1.1" are read whole.

Boxes (rotated ones, too), polygons, masks and the points of skeletons are represented as such. Polylines, points,
ellipses and cuboids become the box around them, with their own element among the attributes. Tags of an image are kept
in its metadata.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.annotations.cvat.frames import Videos, find_frame
from toolchain.annotations.cvat.meta import Meta, read_meta
from toolchain.annotations.cvat.shapes import SHAPES, parse_annotation
from toolchain.annotations.cvat.tracks import Tracks, is_video
from toolchain.annotations.files import (
    parse_number,
    root_name,
    safe_name,
    stream_xml,
    without_image_suffix,
    xml_text,
)
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.types import (
    CVAT,
    KEYPOINTS,
    AnnotatedImage,
    Collection,
    Finding,
    non_empty,
    split_of,
    subset_metadata,
)
from toolchain.errors import DataError
from toolchain.image_files import files_under

DEFAULT_SUBSET = "default"  # CVAT's name of the subset of images without one
OTHER_META = "<meta> of a further CVAT file (left out except for its labels)"
IMAGE_KEYS = ("name", "width", "height", "subset")  # that an AnnotatedImage holds

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read(source: Path, images_dir: Path | None = None) -> Collection:
    """Return the annotations in ``source``.

    Args:
        source: An XML file of CVAT, or a folder with one (or one for each task).
        images_dir: The images, if they are not with the annotations.
    """
    root = source if source.is_dir() else source.parent
    files = [path for path in files_under(source, ".xml") if root_name(path) == "annotations"]
    metas = [read_meta(path) for path in (files if source.is_dir() else [source])]
    lookup = ImageLookup(source, images_dir)
    videos = Videos()

    def images() -> Iterator[AnnotatedImage]:
        for meta in metas:
            folders = [*([images_dir] if images_dir else []), *_image_folders(meta.path.parent), *_image_folders(root)]
            for image in _images(meta, folders, videos, lookup):
                yield replace(image, folder=meta.path.relative_to(root).with_suffix("").as_posix())

    first = metas[0].text if metas else None
    skeletons = {label: skeleton for meta in metas for label, skeleton in meta.skeletons()}
    others = [meta.path.name for meta in metas if meta.text not in ("", first)]
    return Collection(
        format="cvat",
        labels=tuple(dict.fromkeys(label for meta in metas for label in meta.labels)),
        images=images,
        metadata=non_empty(**{CVAT: non_empty(meta=first), KEYPOINTS: skeletons}),
        findings=(Finding.of(OTHER_META, others),) if others else (),
    )


def _image_folders(folder: Path) -> list[Path]:
    return [folder / "images", folder, folder / "data"]


def _images(meta: Meta, folders: Sequence[Path], videos: Videos, lookup: ImageLookup) -> Iterator[AnnotatedImage]:
    tracks = Tracks(meta, videos)
    depth = 0
    for event, element in stream_xml(meta.path):
        depth += 1 if event == "start" else -1
        if event == "end" and depth == 1:
            if element.tag == "image":
                yield _image(element, meta, folders, lookup)
            elif element.tag == "track":
                tracks.add(element)
            element.clear()
    if is_video(meta, tracks.tracks):
        yield from tracks.images(folders)


def _image(element: "Element", meta: Meta, folders: Sequence[Path], lookup: ImageLookup) -> AnnotatedImage:
    given, subset, task = element.get("name", ""), element.get("subset"), element.get("task_id")
    if not given:
        raise DataError(f"{meta.path}: an <image> has no name")
    is_repeated = (subset or "", given) in meta.repeated  # two tasks have it: each has a separate folder
    file = _find_image(element, meta, folders, None if is_repeated else lookup)
    name = safe_name(given)
    name = f"{name.rpartition('/')[0]}/{file.name}".lstrip("/") if file else name
    is_same_name = given in (name, without_image_suffix(name))  # a frame of a video is named without its suffix
    width, height = (int(parse_number(element.get(side) or 0, str(meta.path))) for side in ("width", "height"))
    fields = {key: value for key, value in element.attrib.items() if key not in IMAGE_KEYS}
    others = [xml_text(part) for part in element if part.tag not in SHAPES]
    fields |= non_empty(name=None if is_same_name else given, xml=others)
    has_subset = subset not in (None, "", DEFAULT_SUBSET)
    return AnnotatedImage(
        name=f"{task}/{name}" if is_repeated else name,
        file=file,
        width=width,
        height=height,
        split=split_of(subset),
        annotations=tuple(
            parse_annotation(part, (width, height), meta.points) for part in element if part.tag in SHAPES
        ),
        metadata={**non_empty(**{CVAT: fields}), **subset_metadata(subset if has_subset else None)},
    )


def _find_image(element: "Element", meta: Meta, folders: Sequence[Path], lookup: ImageLookup | None) -> Path | None:
    """Return the file of an <image>, in its task's own folder if there is no ``lookup``."""
    name, subset, task = safe_name(element.get("name", "")), element.get("subset"), element.get("task_id")
    near = [folder / subset for folder in folders if subset] + list(folders)
    if lookup is None:
        return find_frame([folder / inner for folder in near for inner in (str(task), f"task_{task}")], name)
    return find_frame(near, name) or lookup.find(meta.path, name)
