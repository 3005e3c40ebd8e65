"""COCO's JSON of objects: boxes, outlines, run-length masks of both forms, crowds, and CVAT's ``attributes`` in them.

A file is read whole, since its annotations stand in any order; the pictures are made one at a time. Ids, areas and
whatever else an entry holds are kept and written again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.annotations import masks
from toolchain.annotations.files import first_inside, kind_of_json, number, parse_json, tidy
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import (
    COCO,
    SUBSET,
    UNKNOWN_CLASS,
    Box,
    Collection,
    Finding,
    Picture,
    Thing,
    clean,
    envelope,
    own,
    split_of,
)
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import child, files_in, files_under, readable
from toolchain.split_names import split_in

FLAGS = ("difficult", "truncated", "occluded")
SUBSETS = {"validation": "val", "all": "default"}  # CVAT's and datumaro's words in names of files
INSTANCES = "instances_"  # begins the name of a file of objects
REPEATING = ("person_keypoints_", "captions_", "panoptic_", "stuff_", "image_info_")
UNCOMPRESSED = "uncompressed"  # a mask that stood as plain counts, and is written so again
MENDED = "repeated_ids"  # begins the rule of findings that make ids ambiguous


def is_coco(value: object) -> bool:
    """Return whether the JSON ``value`` has COCO's parts."""
    return (
        isinstance(value, dict) and isinstance(value.get("images"), list) and isinstance(value.get("categories"), list)
    )


def read(source: Path, pictures: Path | None = None) -> Collection:
    """Return the annotations in ``source``, one file or a folder of them, one for each subset.

    Args:
        source: A JSON file, or a folder with some, or with "annotations" that has some.
        pictures: Where the pictures are, if apart.
    """
    lookup = ImageLookup(source, pictures)
    parts = [_Part.of(path, lookup.root, pictures, lookup) for path in files_of(source)]
    labels = tuple(dict.fromkeys(name for part in parts for name in part.labels.values()))

    def each() -> Iterator[Picture]:
        for part in parts:
            yield from part.pictures()

    categories: dict[str, dict[str, Any]] = {}
    for part in parts:
        for category in part.categories:
            categories.setdefault(str(category["name"]), category)
    said = clean(categories=list(categories.values()), **(parts[0].rest if parts else {}))
    return Collection(
        format="coco",
        labels=labels,
        pictures=each,
        about=clean(**{COCO: said}),
        findings=tuple(finding for part in parts for finding in part.findings),
    )


def files_of(source: Path) -> list[Path]:
    """Return the JSON files of objects in ``source``: in "annotations", else at its top, else in any folder.

    Those that repeat the images of instances_SUBSET for another purpose, such as person_keypoints_SUBSET, are left out.
    """
    if source.is_file():
        return [source]
    inner = child(source, "annotations")
    levels = (files_in(inner, ".json") if inner else [], files_in(source, ".json"), files_under(source, ".json"))
    found = next((ours for files in levels if (ours := [path for path in files if kind_of_json(path) == "coco"])), [])
    instances = {path.with_name(path.name.removeprefix(INSTANCES)) for path in found if path.name.startswith(INSTANCES)}
    return [
        path for path in found if not any(path.with_name(path.name.removeprefix(p)) in instances for p in REPEATING)
    ]


@dataclass
class _Part:
    """One JSON file."""

    path: Path
    root: Path
    apart: Path | None
    lookup: ImageLookup
    subset: str | None
    images: list[dict[str, Any]]
    annotations: dict[Any, list[dict[str, Any]]]  # by the picture's id
    categories: list[dict[str, Any]]
    labels: dict[Any, str]  # by the category's id
    rest: dict[str, Any]
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, root: Path, apart: Path | None, lookup: ImageLookup) -> "_Part":
        value = parse_json(path)
        if not is_coco(value):
            raise DataError(f"{path} is not COCO's: it needs lists of images, annotations and categories")
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        annotations = _entries(value, "annotations", path, "image_id")
        for entry in annotations:
            by_image[entry["image_id"]].append(entry)
        images, categories = (
            _entries(value, "images", path, "id", "file_name"),
            _entries(value, "categories", path, "id", "name"),
        )
        labels = {category["id"]: str(category["name"]) for category in reversed(categories)}
        rest = {key: part for key, part in value.items() if key not in ("images", "annotations", "categories")}
        ordered = {category["id"]: labels[category["id"]] for category in categories}
        part = cls(path, root, apart, lookup, _subset(path), images, dict(by_image), categories, ordered, rest)
        part.findings = list(_findings(part, annotations))
        return part

    def pictures(self) -> Iterator[Picture]:
        seen = set()
        for image in self.images:
            first = image["id"] not in seen
            seen.add(image["id"])
            yield self._picture(image, self.annotations.get(image["id"], []) if first else [])

    def _picture(self, image: dict[str, Any], annotations: list[dict[str, Any]]) -> Picture:
        given = str(image["file_name"])
        name = readable(tidy(given))
        if not name:
            raise DataError(f"{self.path}: the picture {image['id']!r} has no name")
        width, height = (int(number(image.get(side) or 0, str(self.path))) for side in ("width", "height"))
        said = {key: part for key, part in image.items() if key not in ("file_name", "width", "height")}
        split = split_of(self.subset)
        about = clean(**{COCO: {**said, **clean(file_name=given if given != name else None)}})
        if self.subset not in (None, SUBSETS["all"], split):
            about[SUBSET] = self.subset
        return Picture(
            name=name,
            file=first_inside(self._places(), name) or self.lookup.find(self.path, name, given),
            width=width,
            height=height,
            split=split,
            things=tuple(self._thing(entry, width, height) for entry in annotations),
            about=about,
            folder=self.path.relative_to(self.root).parent.as_posix(),
        )

    def _places(self) -> list[Path]:
        subset = self.subset or ""
        inner = [self.root / "images" / subset, self.root / "images", self.root / subset, self.root]
        return [*([self.apart] if self.apart else []), *inner, self.path.parent, self.path.parent.parent / "images"]

    def _thing(self, entry: dict[str, Any], width: int, height: int) -> Thing:
        where = f"{self.path}, annotation {entry.get('id')}"
        attributes = _attributes(entry.get("attributes"))
        taken = {flag: attributes.pop(flag) for flag in FLAGS if attributes.get(flag) in (True, False)}
        rotation = attributes.pop("rotation") if isinstance(attributes.get("rotation"), int | float) else None
        outlines, mask, form = _segmentation(entry.get("segmentation"), (width, height), where)
        bbox = entry.get("bbox")
        box = _box(bbox, where) if bbox else masks.box_of(mask, width, height) if mask else envelope(outlines)
        known = ("image_id", "category_id", "bbox", "segmentation", "iscrowd", "attributes")
        said = {key: part for key, part in entry.items() if key not in known}
        if said.get("area") == (box[2] - box[0]) * (box[3] - box[1]) and not outlines and not mask:
            del said["area"]
        category = entry.get("category_id")
        label = self.labels.get(category, f"{UNKNOWN_CLASS}{category}")
        said |= clean(
            said=[
                name
                for name in (*taken, *(["rotation"] if rotation is not None else []))
                if not taken.get(name, rotation)
            ],
            bbox=bbox if bbox and [box[0], box[1], box[2] - box[0], box[3] - box[1]] != bbox else None,
            mask=form,
            category_id=category if label in self.labels.values() and self._first(label) != category else None,
        )
        return Thing(
            label=label,
            box=box,
            rotation=float(rotation or 0),
            polygons=outlines,
            mask=mask,
            crowd=bool(entry.get("iscrowd")),
            attributes={**own(attributes), **clean(**{COCO: said})},
            **{flag: bool(value) for flag, value in taken.items()},
        )

    def _first(self, label: str) -> Any:
        return next(id_ for id_, name in self.labels.items() if name == label)


def _attributes(value: Any) -> dict[str, Any]:
    """Return CVAT's ``attributes`` of an object by their names; a list of names, as others write it, is kept as one."""
    return dict(value) if isinstance(value, dict) else {"attributes": value} if value else {}


def _entries(value: dict[str, Any], key: str, path: Path, *needed: str) -> list[dict[str, Any]]:
    entries = value.get(key) or []
    for entry in entries:
        if not isinstance(entry, dict) or any(part not in entry for part in needed):
            raise DataError(f"{path}: an entry of {key} lacks {' or '.join(needed)}: {str(entry)[:80]}")
    return list(entries)


def _subset(path: Path) -> str | None:
    """Return the split's word in a name such as instances_train2017.json, or train/_annotations.coco.json."""
    if path.name.startswith("_annotations"):
        return path.parent.name
    word = path.stem.removeprefix(INSTANCES).removeprefix(REPEATING[0])
    if path.stem != word or split_of(word) != UNSPLIT:
        return word
    return split_in(word)


def _findings(part: _Part, annotations: list[dict[str, Any]]) -> Iterator[Finding]:
    name = part.path.name
    images = Counter(image["id"] for image in part.images)
    ids = Counter(entry["id"] for entry in annotations if entry.get("id") is not None)
    names = Counter(str(category["name"]) for category in part.categories)
    kinds = Counter(category["id"] for category in part.categories)
    for rule, found in (
        (f"{MENDED}: COCO picture id repeated", images),
        (f"{MENDED}: COCO annotation id repeated", ids),
        (f"{MENDED}: COCO category id repeated", kinds),
        ("two COCO categories with one name (taken as one)", names),
    ):
        repeated = [value for value, count in found.items() if count > 1]
        if repeated:
            examples = tuple(f"{name}: {value!r}, {found[value]} times" for value in repeated[:5])
            yield Finding(rule=rule, count=sum(found[value] - 1 for value in repeated), examples=examples)
    lost = [entry for id_, entries in part.annotations.items() if id_ not in images for entry in entries]
    if lost:
        examples = tuple(f"{name}: annotation {e.get('id')} of picture {e['image_id']!r}" for e in lost[:5])
        yield Finding(
            rule="COCO annotation of a picture that is not listed (left out)", count=len(lost), examples=examples
        )


def _box(bbox: Any, where: str) -> Box:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise DataError(f"{where}: bbox {str(bbox)[:60]} is not left, top, width, height")
    left, top, width, height = (number(value, where) for value in bbox)
    return left, top, left + width, top + height


def _segmentation(
    value: Any, size: tuple[int, int], where: str
) -> tuple[tuple[tuple[float, ...], ...], str, str | None]:
    """Return outlines, the compressed mask, and how it was written if that was otherwise."""
    if not value:
        return (), "", None
    if isinstance(value, list):
        outlines = value if isinstance(value[0], list) else [value]
        points = tuple(tuple(number(each, where) for each in outline) for outline in outlines)
        if any(len(outline) < 6 or len(outline) % 2 for outline in points):
            raise DataError(f"{where}: an outline has fewer than 3 points, or an x without its y")
        return points, "", None
    counts, shape = (value.get("counts"), value.get("size")) if isinstance(value, dict) else (None, None)
    if counts is None or shape != [size[1], size[0]]:
        raise DataError(f"{where}: its mask has size {shape}, its picture {[size[1], size[0]]} (height, width)")
    text = masks.to_text([int(count) for count in counts]) if isinstance(counts, list) else str(counts)
    if sum(masks.to_counts(text)) != size[0] * size[1]:
        raise DataError(f"{where}: its mask's run lengths do not add up to its picture's pixels")
    return (), text, UNCOMPRESSED if isinstance(counts, list) else None
