"""Write COCO's JSON of objects, with the ids, areas and other fields that entries had in COCO."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.coco.reader import SUBSETS
from toolchain.annotations.coco.shapes import UNCOMPRESSED
from toolchain.annotations.files import compact_number
from toolchain.annotations.shapes import count_labeled
from toolchain.annotations.types import (
    COCO,
    FLAGS,
    KEYPOINTS,
    AnnotatedImage,
    Annotation,
    Collection,
    format_fields,
    subset_name,
    user_attributes,
)
from toolchain.errors import DataError


def write(folder: Path, collection: Collection, images: Iterator[AnnotatedImage]) -> None:
    """Write ``images`` to ``folder`` as annotations/instances_SUBSET.json; the image files are not copied."""
    fields = format_fields(collection.metadata, COCO)
    categories = _categories(collection.labels, fields.pop("categories", []), collection.metadata.get(KEYPOINTS) or {})
    ids = {str(category["name"]): category["id"] for category in categories}
    files: dict[str, _File] = defaultdict(_File)
    for image in images:
        files[subset_name(image, SUBSETS)].add(image, ids)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for subset, file in files.items():
        value = {**fields, "images": file.images, "annotations": file.annotations, "categories": categories}
        path = folder / "annotations" / f"instances_{subset}.json"
        path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def image_path(image: AnnotatedImage) -> str:
    """Return the path of the file of ``image``, relative to the target."""
    return f"images/{subset_name(image, SUBSETS)}/{image.name}"


@dataclass
class _File:
    """The content of one JSON file. Ids that entries had are kept as long as they are unique."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    image_ids: set[Any] = field(default_factory=set)
    ids: set[Any] = field(default_factory=set)
    next_image: int = 1
    next_id: int = 1

    def add(self, image: AnnotatedImage, categories: dict[str, Any]) -> None:
        fields = format_fields(image.metadata, COCO)
        name = fields.pop("file_name", image.name)
        id_ = fields.pop("id", None)
        if id_ is None or id_ in self.image_ids:
            id_ = self.next_image = _next_free(self.next_image, self.image_ids)
        self.image_ids.add(id_)
        self.images.append({"id": id_, "file_name": name, "width": image.width, "height": image.height, **fields})
        for annotation in image.annotations:
            if annotation.label not in categories:
                raise DataError(f"{image.name}: label {annotation.label!r} is not in the list of labels")
            self.annotations.append(self._entry(annotation, image, id_, categories[annotation.label]))

    def _entry(self, annotation: Annotation, image: AnnotatedImage, image_id: Any, category: int) -> dict[str, Any]:
        fields = format_fields(annotation.attributes, COCO)
        id_ = fields.pop("id", None)
        if id_ is None or id_ in self.ids:
            id_ = self.next_id = _next_free(self.next_id, self.ids)
        self.ids.add(id_)
        attributes = _attributes(annotation, fields.pop("explicit", []))
        if annotation.keypoints:
            fields |= {"keypoints": [compact_number(value) for value in annotation.keypoints]}
            fields.setdefault("num_keypoints", count_labeled(annotation.keypoints))
        return {
            "id": id_,
            "image_id": image_id,
            "category_id": fields.pop("category_id", category),
            "bbox": _bbox(annotation, fields.pop("bbox", None)),
            "area": fields.pop("area", None) or _area(annotation),
            "iscrowd": int(annotation.crowd),
            "segmentation": _segmentation(annotation, image, fields.pop("mask", None)),
            **({"attributes": attributes} if attributes else {}),
            **fields,
        }


def _next_free(start: int, taken: set[Any]) -> int:
    """Return the first number from ``start`` that is not ``taken``."""
    while start in taken:
        start += 1
    return start


def _categories(labels: tuple[str, ...], known: list[dict[str, Any]], points: dict[str, Any]) -> list[dict[str, Any]]:
    """Return COCO's categories for ``labels``, with the ids of the ``known`` ones, and the names of keypoints."""
    by_name = {str(category["name"]): category for category in known}
    taken = {by_name[label]["id"] for label in labels if label in by_name}
    categories = []
    for label in labels:
        category = by_name.get(label) or {"id": _next_free(1, taken), "name": label, "supercategory": ""}
        taken.add(category["id"])
        if label in points:
            category = {"keypoints": points[label]["names"], "skeleton": points[label]["edges"], **category}
        categories.append(category)
    return categories


def _attributes(annotation: Annotation, explicit: list[str]) -> dict[str, Any]:
    """Return the attributes, flags and rotation; those in ``explicit`` are written although they are false or 0."""
    flags = {flag: True for flag in FLAGS if getattr(annotation, flag)}
    rotation = {"rotation": compact_number(annotation.rotation)} if annotation.rotation else {}
    attributes = {**user_attributes(annotation.attributes), **flags, **rotation}
    for name in explicit:
        attributes.setdefault(name, 0.0 if name == "rotation" else False)
    return attributes


def _bbox(annotation: Annotation, given: list[float] | None) -> list[float]:
    """Return the box as left, top, width and height: ``given``, which may be more exact, if it is the same box."""
    if given and (given[0], given[1], given[0] + given[2], given[1] + given[3]) == annotation.box:
        return given
    left, top, right, bottom = annotation.box
    return [compact_number(value) for value in (left, top, right - left, bottom - top)]


def _area(annotation: Annotation) -> float | int:
    """Return the area in square pixels: of the mask, of the polygons (the shoelace formula), or of the box."""
    if annotation.mask:
        return sum(masks.to_counts(annotation.mask)[1::2])
    if annotation.polygons:
        return compact_number(sum(_polygon_area(polygon) for polygon in annotation.polygons))
    left, top, right, bottom = annotation.box
    return compact_number((right - left) * (bottom - top))


def _polygon_area(polygon: tuple[float, ...]) -> float:
    xs, ys = polygon[0::2], polygon[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _segmentation(annotation: Annotation, image: AnnotatedImage, encoding: str | None) -> Any:
    if annotation.mask:
        counts = masks.to_counts(annotation.mask) if encoding == UNCOMPRESSED else annotation.mask
        return {"size": [image.height, image.width], "counts": counts}
    return [[compact_number(value) for value in polygon] for polygon in annotation.polygons]
