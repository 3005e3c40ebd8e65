"""VGG Image Annotator's JSON: annotations only (VIA 1 and 2) or a project of VIA 2. It is read, not written.

A region's class is one of its attributes: the one called label, class, name, type, category or object, else the only
attribute that regions have. Boxes and polygons are read as such; circles, ellipses, lines and points as the box around
them, with their own numbers among the attributes.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from toolchain.annotations.files import json_format, parse_json, safe_name
from toolchain.annotations.geometry import ellipse_box
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.shapes import Shape, from_polygons, parse_numbers, shape_or_error
from toolchain.annotations.types import (
    VIA,
    AnnotatedImage,
    Annotation,
    Collection,
    Finding,
    bounding_box,
    non_empty,
)
from toolchain.errors import DataError
from toolchain.image_files import files_under, readable

FORMAT = "via"
CLASS_NAMES = ("label", "class", "name", "type", "category", "object")  # of the attribute that is the class
PROJECT, ATTRIBUTES = "_via_img_metadata", "_via_attributes"
DEFAULT_LABEL = "object"  # the class of regions without any attribute


def read(source: Path, images_dir: Path | None = None) -> Collection:
    """Return the annotations in ``source``, a JSON file or a folder of them; ``images_dir`` may hold the images."""
    lookup = ImageLookup(source, images_dir)
    files = [source] if source.is_file() else [p for p in files_under(source, ".json") if json_format(p) == FORMAT]
    values = {path: parse_json(path) for path in files}
    entries = [(path, entry) for path, value in values.items() for entry in _entries(value, path)]
    regions = [region for _, entry in entries for region in _regions(entry)]
    key = _class_key(regions)

    def images() -> Iterator[AnnotatedImage]:
        return (_image(path, entry, key, lookup) for path, entry in entries)

    attributes = [value[ATTRIBUTES] for value in values.values() if isinstance(value, dict) and value.get(ATTRIBUTES)]
    return Collection(
        format=FORMAT,
        labels=tuple(sorted({_label(region, key) for region in regions})),
        images=images,
        metadata=non_empty(**{VIA: non_empty(attributes=attributes)}),
        findings=_findings(regions),
    )


def _findings(regions: list[dict[str, Any]]) -> tuple[Finding, ...]:
    unlabeled = sum(not region.get("region_attributes") for region in regions)
    rule = f"VIA region without an attribute (labeled {DEFAULT_LABEL!r})"
    return (Finding(rule=rule, count=unlabeled),) if unlabeled else ()


def _entries(value: Any, path: Path) -> list[dict[str, Any]]:
    listed = value.get(PROJECT, value) if isinstance(value, dict) else value
    entries = list(listed.values()) if isinstance(listed, dict) else listed
    if not isinstance(entries, list) or any(not isinstance(e, dict) or not e.get("filename") for e in entries):
        raise DataError(f"{path} is not VIA JSON: each of its entries needs a filename and regions")
    return entries


def _regions(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the regions of an image: a list, or in VIA 1 a mapping from their numbers."""
    regions = entry.get("regions") or []
    found = list(regions.values()) if isinstance(regions, dict) else regions
    return [region for region in found if isinstance(region, dict)]


def _class_key(regions: list[dict[str, Any]]) -> str:
    """Return the name of the attribute that is the class; "" if no region has an attribute.

    Raises:
        DataError: there are several attributes, and none has one of CLASS_NAMES.
    """
    counts = Counter(name for region in regions for name in region.get("region_attributes") or {})
    by_name = {name.lower(): name for name in counts}
    found = next((by_name[name] for name in CLASS_NAMES if name in by_name), None)
    if found or len(counts) < 2:
        return found or next(iter(counts), "")
    raise DataError(
        f"VIA's regions have the attributes {', '.join(sorted(counts))}; rename the one that holds the class to "
        f"{CLASS_NAMES[0]!r}"
    )


def _label(region: dict[str, Any], key: str) -> str:
    """Return the class of ``region``; for checkboxes, which are a mapping, the names of the ticked ones."""
    value = (region.get("region_attributes") or {}).get(key, DEFAULT_LABEL if not key else "")
    if isinstance(value, dict):
        return " ".join(name for name, ticked in value.items() if ticked)
    return str(value).strip() or DEFAULT_LABEL


def _image(path: Path, entry: dict[str, Any], key: str, lookup: ImageLookup) -> AnnotatedImage:
    given = str(entry["filename"])
    name = readable(safe_name(given))
    fields = {"file_attributes": entry.get("file_attributes") or None, "filename": given if given != name else None}
    return AnnotatedImage(
        name=name,
        file=lookup.find(path, name, given),
        width=0,
        height=0,
        annotations=tuple(_annotation(region, key) for region in _regions(entry)),
        metadata=non_empty(**{VIA: non_empty(**fields)}),
        folder=path.relative_to(lookup.root).with_suffix("").as_posix(),
    )


def _annotation(region: dict[str, Any], key: str) -> Annotation:
    shape = region.get("shape_attributes") or {}
    attributes = {name: value for name, value in (region.get("region_attributes") or {}).items() if name != key}
    is_supported = shape.get("name") in ("rect", "polygon")
    return Annotation(
        label=_label(region, key),
        **vars(shape_or_error(lambda: _shape(shape))),
        attributes={**attributes, **({} if is_supported else {VIA: {"shape": shape}})},
    )


def _shape(shape: dict[str, Any]) -> Shape:
    shape_type = shape.get("name")

    def values(*keys: str) -> tuple[float, ...]:
        return parse_numbers([shape.get(key) for key in keys], f"{', '.join(keys)} of a {shape_type}")

    if shape_type == "rect":
        left, top, width, height = values("x", "y", "width", "height")
        return Shape(box=(left, top, left + width, top + height))
    xs, ys = shape.get("all_points_x"), shape.get("all_points_y")
    if isinstance(xs, list) and isinstance(ys, list):
        points = [value for pair in zip(xs, ys, strict=False) for value in pair]
        is_polygon = shape_type == "polygon"
        return from_polygons([points]) if is_polygon else Shape(box=bounding_box((parse_numbers(points, "points"),)))
    if shape_type in ("circle", "ellipse"):
        x, y = values("cx", "cy")
        rx, ry = values("r", "r") if shape_type == "circle" else values("rx", "ry")
        return Shape(box=ellipse_box(x, y, rx, ry, *parse_numbers([shape.get("theta") or 0], "theta")))
    if shape_type == "point":
        x, y = values("cx", "cy")
        return Shape(box=(x, y, x, y))
    raise DataError(f"a region is a {shape_type!r} without points")
