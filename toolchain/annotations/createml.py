"""Apple's Create ML JSON: a list of images, each with boxes by center and size in pixels; one file per split.

LabelImg and Roboflow write it too: the image is called ``image`` or ``imagefilename``.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.annotations.files import compact_number, json_format, parse_json, safe_name
from toolchain.annotations.geometry import upright_box
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.shapes import Shape, parse_numbers, shape_or_error
from toolchain.annotations.types import (
    CREATEML,
    AnnotatedImage,
    Annotation,
    Box,
    Collection,
    format_fields,
    non_empty,
    subset_name,
)
from toolchain.errors import DataError
from toolchain.image_files import files_under, readable

FORMAT = "createml"
IMAGE_KEYS = ("image", "imagefilename")
FILE = "annotations.json"
SUBSETS = {"all": ""}  # images of no split are at the top, beside the file


def read(source: Path, images_dir: Path | None = None) -> Collection:
    """Return the annotations in ``source``, a JSON file or a folder of them; ``images_dir`` may hold the images."""
    lookup = ImageLookup(source, images_dir)
    files = [source] if source.is_file() else [p for p in files_under(source, ".json") if json_format(p) == FORMAT]
    entries = [(path, entry) for path in files for entry in _entries(parse_json(path), path)]
    labels = sorted({str(value.get("label", "")) for _, entry in entries for value in _objects(entry)})

    def images() -> Iterator[AnnotatedImage]:
        return (_image(path, entry, lookup) for path, entry in entries)

    return Collection(format=FORMAT, labels=tuple(labels), images=images)


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage]) -> None:
    """Write ``images`` to ``folder`` as SPLIT/annotations.json; the image files, beside it, are not copied."""
    values: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in images:
        if unknown := next((a.label for a in image.annotations if a.label not in collection.labels), None):
            raise DataError(f"{image.name}: label {unknown!r} is not in the list of labels")
        fields = format_fields(image.metadata, CREATEML)
        objects = [_object(annotation) for annotation in image.annotations]
        values[subset_name(image, SUBSETS)].append({"image": image.name, **fields, "annotations": objects})
    for subset, value in values.items():
        (folder / subset).mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        (folder / subset / FILE).write_text(text, encoding="utf-8")


def image_path(image: AnnotatedImage) -> str:
    """Return the path of the file of ``image``, relative to the target."""
    subset = subset_name(image, SUBSETS)
    return f"{subset}/{image.name}" if subset else image.name


def _entries(value: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(value, list) or any(not isinstance(entry, dict) or not _name(entry) for entry in value):
        raise DataError(f"{path} is not Create ML JSON: it needs a list of images, each with its name and annotations")
    return value


def _name(entry: dict[str, Any]) -> str:
    return next((str(entry[key]) for key in IMAGE_KEYS if entry.get(key)), "")


def _objects(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [value for value in entry.get("annotations") or [] if isinstance(value, dict)]


def _image(path: Path, entry: dict[str, Any], lookup: ImageLookup) -> AnnotatedImage:
    given = _name(entry)
    name = readable(safe_name(given))
    fields = {key: value for key, value in entry.items() if key not in (*IMAGE_KEYS, "annotations")}
    return AnnotatedImage(
        name=name,
        file=lookup.find(path, name, given),
        width=0,
        height=0,
        annotations=tuple(_annotation(value) for value in _objects(entry)),
        metadata=non_empty(**{CREATEML: fields}),
        folder=path.relative_to(lookup.root).with_suffix("").as_posix(),
    )


def _annotation(value: dict[str, Any]) -> Annotation:
    fields = {key: part for key, part in value.items() if key not in ("label", "coordinates")}
    return Annotation(
        label=str(value.get("label", "")),
        **vars(shape_or_error(lambda: Shape(box=_box(value.get("coordinates"))))),
        attributes=non_empty(**{CREATEML: fields}),
    )


def _box(value: Any) -> Box:
    if not isinstance(value, dict):
        raise DataError(f"coordinates {str(value)[:60]} are not x, y, width and height")
    x, y, width, height = parse_numbers([value.get(key) for key in ("x", "y", "width", "height")], "coordinates")
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _object(annotation: Annotation) -> dict[str, Any]:
    left, top, right, bottom = upright_box(annotation)
    sides = {"x": (left + right) / 2, "y": (top + bottom) / 2, "width": right - left, "height": bottom - top}
    coordinates = {key: compact_number(value) for key, value in sides.items()}
    return {"label": annotation.label, "coordinates": coordinates, **format_fields(annotation.attributes, CREATEML)}
