"""COCO's JSON of objects, written: ids, areas and what else an entry said are said again."""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.coco import FLAGS, SUBSETS
from toolchain.annotations.coco_shapes import UNCOMPRESSED
from toolchain.annotations.files import slim
from toolchain.annotations.model import COCO, KEYPOINTS, Collection, Picture, Thing, of_format, own, subset_of
from toolchain.annotations.shapes import marked
from toolchain.errors import DataError


def write(folder: Path, collection: Collection, pictures: Iterator[Picture]) -> None:
    """Write ``pictures`` to ``folder`` as annotations/instances_SUBSET.json; their files are not copied."""
    said = of_format(collection.about, COCO)
    categories = _categories(collection.labels, said.pop("categories", []), collection.about.get(KEYPOINTS) or {})
    ids = {str(category["name"]): category["id"] for category in categories}
    values: dict[str, _Written] = defaultdict(_Written)
    for picture in pictures:
        values[subset_of(picture, SUBSETS)].add(picture, ids)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for subset, written in values.items():
        value = {**said, "images": written.images, "annotations": written.annotations, "categories": categories}
        path = folder / "annotations" / f"instances_{subset}.json"
        path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    return f"images/{subset_of(picture, SUBSETS)}/{picture.name}"


@dataclass
class _Written:
    """What goes into one JSON file. Ids that entries had are kept as long as they are free."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    image_ids: set[Any] = field(default_factory=set)
    ids: set[Any] = field(default_factory=set)
    next_image: int = 1
    next_id: int = 1

    def add(self, picture: Picture, categories: dict[str, Any]) -> None:
        said = of_format(picture.about, COCO)
        name = said.pop("file_name", picture.name)
        id_ = said.pop("id", None)
        if id_ is None or id_ in self.image_ids:
            id_ = self.next_image = _free(self.next_image, self.image_ids)
        self.image_ids.add(id_)
        self.images.append({"id": id_, "file_name": name, "width": picture.width, "height": picture.height, **said})
        for thing in picture.things:
            if thing.label not in categories:
                raise DataError(f"{picture.name}: label {thing.label!r} is not in the list of labels")
            self.annotations.append(self._annotation(thing, picture, id_, categories[thing.label]))

    def _annotation(self, thing: Thing, picture: Picture, image_id: Any, category: int) -> dict[str, Any]:
        said = of_format(thing.attributes, COCO)
        id_ = said.pop("id", None)
        if id_ is None or id_ in self.ids:
            id_ = self.next_id = _free(self.next_id, self.ids)
        self.ids.add(id_)
        attributes = {**own(thing.attributes), **{flag: True for flag in FLAGS if getattr(thing, flag)}}
        attributes |= {"rotation": slim(thing.rotation)} if thing.rotation else {}
        for name in said.pop("said", []):
            attributes.setdefault(name, 0.0 if name == "rotation" else False)
        if thing.keypoints:
            said |= {"keypoints": [slim(value) for value in thing.keypoints]}
            said.setdefault("num_keypoints", marked(thing.keypoints))
        left, top, right, bottom = thing.box
        bbox, form = said.pop("bbox", None), said.pop("mask", None)
        if not bbox or (bbox[0], bbox[1], bbox[0] + bbox[2], bbox[1] + bbox[3]) != thing.box:
            bbox = [slim(left), slim(top), slim(right - left), slim(bottom - top)]
        return {
            "id": id_,
            "image_id": image_id,
            "category_id": said.pop("category_id", category),
            "bbox": bbox,
            "area": said.pop("area", None) or _area(thing, picture),
            "iscrowd": int(thing.crowd),
            "segmentation": _written_segmentation(thing, picture, form),
            **({"attributes": attributes} if attributes else {}),
            **said,
        }


def _free(start: int, taken: set[Any]) -> int:
    """Return the first number from ``start`` that is not ``taken``."""
    while start in taken:
        start += 1
    return start


def _categories(labels: tuple[str, ...], known: list[dict[str, Any]], points: dict[str, Any]) -> list[dict[str, Any]]:
    """Return COCO's categories for ``labels``, with the ids that ``known`` ones had, and the names of key points."""
    by_name = {str(category["name"]): category for category in known}
    taken = {by_name[label]["id"] for label in labels if label in by_name}
    found = []
    for label in labels:
        category = by_name.get(label) or {"id": _free(1, taken), "name": label, "supercategory": ""}
        taken.add(category["id"])
        if label in points:
            category = {"keypoints": points[label]["names"], "skeleton": points[label]["edges"], **category}
        found.append(category)
    return found


def _area(thing: Thing, picture: Picture) -> float | int:
    """Return the area in square pixels: of the mask, of the outlines (the shoelace formula), or of the box."""
    if thing.mask:
        return sum(masks.to_counts(thing.mask)[1::2])
    if thing.polygons:
        return slim(sum(_area_of(outline) for outline in thing.polygons))
    left, top, right, bottom = thing.box
    return slim((right - left) * (bottom - top))


def _area_of(outline: tuple[float, ...]) -> float:
    xs, ys = outline[0::2], outline[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _written_segmentation(thing: Thing, picture: Picture, form: str | None) -> Any:
    if thing.mask:
        counts = masks.to_counts(thing.mask) if form == UNCOMPRESSED else thing.mask
        return {"size": [picture.height, picture.width], "counts": counts}
    return [[slim(value) for value in outline] for outline in thing.polygons]
