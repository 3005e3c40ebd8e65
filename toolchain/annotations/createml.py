"""Apple's Create ML JSON: a list of images, each with boxes by their middle, in pixels; one file for each split.

LabelImg and Roboflow write it too: the image is called ``image`` or ``imagefilename``.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.annotations.files import kind_of_json, parse_json, slim, tidy
from toolchain.annotations.geometry import covered
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import CREATEML, Box, Collection, Picture, Thing, clean, of_format, subset_of
from toolchain.annotations.shapes import Shape, attempt, numbers
from toolchain.errors import DataError
from toolchain.image_files import files_under, readable

KIND = "createml"
IMAGE_KEYS = ("image", "imagefilename")
FILE = "annotations.json"
SUBSETS = {"all": ""}  # images of no split are beside the file at the top


def read(source: Path, pictures: Path | None = None) -> Collection:
    """Return the annotations in ``source``, a JSON file or a folder with some; ``pictures`` is where these are."""
    lookup = ImageLookup(source, pictures)
    files = [source] if source.is_file() else [p for p in files_under(source, ".json") if kind_of_json(p) == KIND]
    entries = [(path, entry) for path in files for entry in _entries(parse_json(path), path)]
    labels = sorted({str(each.get("label", "")) for _, entry in entries for each in _annotations(entry)})

    def each() -> Iterator[Picture]:
        for path, entry in entries:
            yield _picture(path, entry, lookup)

    return Collection(format=KIND, labels=tuple(labels), pictures=each)


def write(folder: Path, collection: Collection, pictures: Iterator[Picture]) -> None:
    """Write ``pictures`` to ``folder`` as SPLIT/annotations.json, beside their files, which are not copied."""
    values: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for picture in pictures:
        if unknown := next((thing.label for thing in picture.things if thing.label not in collection.labels), None):
            raise DataError(f"{picture.name}: label {unknown!r} is not in the list of labels")
        said = of_format(picture.about, CREATEML)
        annotations = [_written(thing) for thing in picture.things]
        values[subset_of(picture, SUBSETS)].append({"image": picture.name, **said, "annotations": annotations})
    for subset, value in values.items():
        (folder / subset).mkdir(parents=True, exist_ok=True)
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        (folder / subset / FILE).write_text(text, encoding="utf-8")


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    subset = subset_of(picture, SUBSETS)
    return f"{subset}/{picture.name}" if subset else picture.name


def _entries(value: Any, path: Path) -> list[dict[str, Any]]:
    if not isinstance(value, list) or any(not isinstance(entry, dict) or not _name(entry) for entry in value):
        raise DataError(f"{path} is not Create ML's: it needs a list of images, each with its name and annotations")
    return value


def _name(entry: dict[str, Any]) -> str:
    return next((str(entry[key]) for key in IMAGE_KEYS if entry.get(key)), "")


def _annotations(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in entry.get("annotations") or [] if isinstance(each, dict)]


def _picture(path: Path, entry: dict[str, Any], lookup: ImageLookup) -> Picture:
    given = _name(entry)
    name = readable(tidy(given))
    said = {key: value for key, value in entry.items() if key not in (*IMAGE_KEYS, "annotations")}
    return Picture(
        name=name,
        file=lookup.find(path, name, given),
        width=0,
        height=0,
        things=tuple(_thing(each) for each in _annotations(entry)),
        about=clean(**{CREATEML: said}),
        folder=path.relative_to(lookup.root).with_suffix("").as_posix(),
    )


def _thing(value: dict[str, Any]) -> Thing:
    said = {key: each for key, each in value.items() if key not in ("label", "coordinates")}
    return Thing(
        label=str(value.get("label", "")),
        **vars(attempt(lambda: Shape(box=_box(value.get("coordinates"))))),
        attributes=clean(**{CREATEML: said}),
    )


def _box(value: Any) -> Box:
    if not isinstance(value, dict):
        raise DataError(f"coordinates {str(value)[:60]} are not x, y, width and height")
    x, y, width, height = numbers([value.get(key) for key in ("x", "y", "width", "height")], "coordinates")
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _written(thing: Thing) -> dict[str, Any]:
    left, top, right, bottom = covered(thing)
    sides = {"x": (left + right) / 2, "y": (top + bottom) / 2, "width": right - left, "height": bottom - top}
    coordinates = {key: slim(value) for key, value in sides.items()}
    return {"label": thing.label, "coordinates": coordinates, **of_format(thing.attributes, CREATEML)}
