"""VGG Image Annotator's JSON: its annotations alone (VIA 1 and 2) or a project of VIA 2; it is only read.

A region's class is one of its attributes: the one called label, class, name, type, category or object, else the only
one that regions have. Boxes and polygons are read as such; circles, ellipses, lines and points as the box around them,
with their own numbers among the attributes.
"""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.annotations.files import kind_of_json, parse_json, tidy
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import VIA, Box, Collection, Finding, Picture, Thing, clean, envelope
from toolchain.annotations.shapes import Shape, attempt, from_polygons, numbers
from toolchain.errors import DataError
from toolchain.image_files import files_under, readable

KIND = "via"
CLASS_NAMES = ("label", "class", "name", "type", "category", "object")  # of the attribute that is the class
PROJECT, ATTRIBUTES = "_via_img_metadata", "_via_attributes"
UNNAMED = "object"  # the class of regions without any attribute


def read(source: Path, pictures: Path | None = None) -> Collection:
    """Return the annotations in ``source``, a JSON file or a folder with some; ``pictures`` is where these are."""
    lookup = ImageLookup(source, pictures)
    files = [source] if source.is_file() else [p for p in files_under(source, ".json") if kind_of_json(p) == KIND]
    values = {path: parse_json(path) for path in files}
    entries = [(path, entry) for path, value in values.items() for entry in _entries(value, path)]
    key = _class_key([region for _, entry in entries for region in _regions(entry)])
    labels = sorted({_label(region, key) for _, entry in entries for region in _regions(entry)})
    unnamed = sum(not region.get("region_attributes") for _, entry in entries for region in _regions(entry))

    def each() -> Iterator[Picture]:
        for path, entry in entries:
            yield _picture(path, entry, key, lookup)

    rule = f"VIA region without an attribute (its class is called {UNNAMED!r})"
    findings = (Finding(rule=rule, count=unnamed),) if unnamed else ()
    said = [value[ATTRIBUTES] for value in values.values() if isinstance(value, dict) and value.get(ATTRIBUTES)]
    about = clean(**{VIA: clean(attributes=said)})
    return Collection(format=KIND, labels=tuple(labels), pictures=each, about=about, findings=findings)


def _entries(value: Any, path: Path) -> list[dict[str, Any]]:
    listed = value.get(PROJECT, value) if isinstance(value, dict) else value
    entries = list(listed.values()) if isinstance(listed, dict) else listed
    if not isinstance(entries, list) or any(not isinstance(e, dict) or not e.get("filename") for e in entries):
        raise DataError(f"{path} is not VIA's: each of its entries needs a filename and regions")
    return entries


def _regions(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the regions of an image: a list, or in VIA 1 a mapping from their numbers."""
    regions = entry.get("regions") or []
    found = list(regions.values()) if isinstance(regions, dict) else regions
    return [region for region in found if isinstance(region, dict)]


def _class_key(regions: list[dict[str, Any]]) -> str:
    """Return the name of the attribute that is the class; "" when no region has an attribute.

    Raises:
        DataError: there are several attributes, and none has a name that tells.
    """
    counts = Counter(name for region in regions for name in region.get("region_attributes") or {})
    by_name = {name.lower(): name for name in counts}
    found = next((by_name[name] for name in CLASS_NAMES if name in by_name), None)
    if found or len(counts) < 2:
        return found or next(iter(counts), "")
    raise DataError(
        f"VIA's regions have the attributes {', '.join(sorted(counts))}; name the one that is the class "
        f"{CLASS_NAMES[0]!r}"
    )


def _label(region: dict[str, Any], key: str) -> str:
    """Return the class of ``region``; of checkboxes, which are a mapping, the names of those that are ticked."""
    value = (region.get("region_attributes") or {}).get(key, UNNAMED if not key else "")
    if isinstance(value, dict):
        return " ".join(name for name, ticked in value.items() if ticked)
    return str(value).strip() or UNNAMED


def _picture(path: Path, entry: dict[str, Any], key: str, lookup: ImageLookup) -> Picture:
    given = str(entry["filename"])
    name = readable(tidy(given))
    said = {"file_attributes": entry.get("file_attributes") or None, "filename": given if given != name else None}
    return Picture(
        name=name,
        file=lookup.find(path, name, given),
        width=0,
        height=0,
        things=tuple(_thing(region, key) for region in _regions(entry)),
        about=clean(**{VIA: clean(**said)}),
        folder=path.relative_to(lookup.root).with_suffix("").as_posix(),
    )


def _thing(region: dict[str, Any], key: str) -> Thing:
    shape = region.get("shape_attributes") or {}
    given = {name: value for name, value in (region.get("region_attributes") or {}).items() if name != key}
    is_held = shape.get("name") in ("rect", "polygon")
    return Thing(
        label=_label(region, key),
        **vars(attempt(lambda: _shape(shape))),
        attributes={**given, **({} if is_held else {VIA: {"shape": shape}})},
    )


def _shape(shape: dict[str, Any]) -> Shape:
    kind = shape.get("name")

    def of(*keys: str) -> tuple[float, ...]:
        return numbers([shape.get(key) for key in keys], f"{', '.join(keys)} of a {kind}")

    if kind == "rect":
        left, top, width, height = of("x", "y", "width", "height")
        return Shape(box=(left, top, left + width, top + height))
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if isinstance(xs, list) and isinstance(ys, list):
        points = [value for pair in zip(xs, ys, strict=False) for value in pair]
        return from_polygons([points]) if kind == "polygon" else Shape(box=envelope((numbers(points, "points"),)))
    if kind in ("circle", "ellipse"):
        x, y = of("cx", "cy")
        rx, ry = of("r", "r") if kind == "circle" else of("rx", "ry")
        return Shape(box=_around(x, y, rx, ry, *numbers([shape.get("theta") or 0], "theta")))
    if kind == "point":
        x, y = of("cx", "cy")
        return Shape(box=(x, y, x, y))
    raise DataError(f"a region is a {kind!r} without points")


def _around(x: float, y: float, rx: float, ry: float, angle: float) -> Box:
    """Return the box around an ellipse that is turned by ``angle`` in radians."""
    across = math.hypot(rx * math.cos(angle), ry * math.sin(angle))
    down = math.hypot(rx * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, x + across, y + down
