"""COCO's JSON of objects: boxes, outlines, run-length masks of both forms, crowds, and CVAT's ``attributes`` in them.

A file is read whole, since its annotations stand in any order; the pictures are made one at a time. Ids, areas and
whatever else an entry holds are kept and written again.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from toolchain.annotations.coco_files import files_of, subset_of
from toolchain.annotations.coco_shapes import shape_of, size_of_mask
from toolchain.annotations.files import first_inside, number, parse_json, tidy
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.model import (
    COCO,
    KEYPOINTS,
    SUBSET,
    UNKNOWN_CLASS,
    Collection,
    Finding,
    Picture,
    Thing,
    clean,
    own,
    split_of,
)
from toolchain.annotations.shapes import Shape, marked
from toolchain.errors import DataError
from toolchain.image_files import readable

FLAGS = ("difficult", "truncated", "occluded")
SUBSETS = {"validation": "val", "all": "default"}  # CVAT's and datumaro's words in names of files
MENDED = "duplicate_ids"  # begins the rule of findings that make ids ambiguous


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
    others: list[dict[str, Any]] = []  # that a further file describes in another way
    for part in parts:
        known = dict(categories)
        for category in part.categories:
            name = str(category["name"])
            categories.setdefault(name, category)
            others += [category] if name in known and not _is_same(category, known[name]) else []
    said = clean(categories=list(categories.values()), **(parts[0].rest if parts else {}))
    findings = [*(finding for part in parts for finding in part.findings), *_left_out(parts), *_described_twice(others)]
    about = clean(**{COCO: said, KEYPOINTS: _points(categories)})
    return Collection(format="coco", labels=labels, pictures=each, about=about, findings=tuple(findings))


def _left_out(parts: "list[_Part]") -> Iterator[Finding]:
    """Yield what further files say of themselves, such as info and licenses: those of the first file hold for all."""
    first = parts[0].rest if parts else {}
    others = [f"{part.path.name}: {key}" for part in parts[1:] for key in part.rest if part.rest[key] != first.get(key)]
    if others:
        rule = "info, licenses or other entries of a further COCO file (left out; the first file's are kept)"
        yield Finding(rule=rule, count=len(others), examples=tuple(others[:5]))


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return {**one, "id": 0} == {**other, "id": 0}


def _described_twice(categories: list[dict[str, Any]]) -> Iterator[Finding]:
    if categories:
        names = tuple(dict.fromkeys(str(category["name"]) for category in categories))
        rule = "category that files describe in two ways (the first file's counts)"
        yield Finding(rule=rule, count=len(names), examples=names[:5])


def _points(categories: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the names of each category's key points, and which of them are connected."""
    named = {name: each for name, each in categories.items() if isinstance(each.get("keypoints"), list)}
    return {
        name: {"names": [str(point) for point in each["keypoints"]], "edges": each.get("skeleton") or []}
        for name, each in named.items()
    }


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
    image_ids: dict[str, Any]  # by their text, where annotations write them as another type
    category_ids: dict[str, Any]  # likewise
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, path: Path, root: Path, apart: Path | None, lookup: ImageLookup) -> "_Part":
        value = parse_json(path)
        if not is_coco(value):
            raise DataError(f"{path} is not COCO's: it needs lists of images, annotations and categories")
        by_image: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        annotations = _entries(value, "annotations", path, "image_id")
        images, categories = (
            _entries(value, "images", path, "id", "file_name"),
            _entries(value, "categories", path, "id", "name"),
        )
        image_ids = _by_text([image["id"] for image in images], [entry["image_id"] for entry in annotations])
        for entry in annotations:
            by_image[image_ids.get(str(entry["image_id"]), entry["image_id"])].append(entry)
        _check_names(categories, path)
        labels = {category["id"]: str(category["name"]) for category in reversed(categories)}
        rest = {key: part for key, part in value.items() if key not in ("images", "annotations", "categories")}
        ordered = {category["id"]: labels[category["id"]] for category in categories}
        category_ids = _by_text(list(ordered), [entry.get("category_id") for entry in annotations])
        texts = (image_ids, category_ids)
        part = cls(
            path, root, apart, lookup, subset_of(path), images, dict(by_image), categories, ordered, rest, *texts
        )
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
        width, height = self._size(image, annotations)
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

    def _size(self, image: dict[str, Any], annotations: list[dict[str, Any]]) -> tuple[int, int]:
        """Return width and height of ``image``; where it says none, those of its masks."""
        width, height = (int(number(image.get(side) or 0, str(self.path))) for side in ("width", "height"))
        if width and height:
            return width, height
        sizes = [size_of_mask(entry.get("segmentation")) for entry in annotations]
        return next((size for size in sizes if all(size)), (width, height))

    def _places(self) -> list[Path]:
        subset = self.subset or ""
        inner = [self.root / "images" / subset, self.root / "images", self.root / subset, self.root]
        return [*([self.apart] if self.apart else []), *inner, self.path.parent, self.path.parent.parent / "images"]

    def _thing(self, entry: dict[str, Any], width: int, height: int) -> Thing:
        attributes = _attributes(entry.get("attributes"))
        taken = {flag: attributes.pop(flag) for flag in FLAGS if attributes.get(flag) in (True, False)}
        rotation = attributes.pop("rotation") if isinstance(attributes.get("rotation"), int | float) else None
        shape, form = shape_of(entry, (width, height))
        broken = f"annotation {entry.get('id')}: {shape.broken}" if shape.broken else ""
        said = self._said(entry, shape)
        category = self.category_ids.get(str(entry.get("category_id")), entry.get("category_id"))
        label = self.labels.get(category, f"{UNKNOWN_CLASS}{category}")
        said |= clean(
            said=[
                name
                for name in (*taken, *(["rotation"] if rotation is not None else []))
                if not taken.get(name, rotation)
            ],
            mask=form,
            category_id=category if label in self.labels.values() and self._first(label) != category else None,
        )
        flags: dict[str, Any] = {flag: bool(value) for flag, value in taken.items()}
        return Thing(
            label=label,
            **{**vars(shape), "rotation": float(rotation or 0), "broken": broken},
            crowd=bool(entry.get("iscrowd")),
            attributes={**own(attributes), **clean(**{COCO: said})},
            **flags,
        )

    @staticmethod
    def _said(entry: dict[str, Any], shape: Shape) -> dict[str, Any]:
        """Return what ``entry`` says besides what a Thing holds."""
        known = {"image_id", "category_id", "bbox", "segmentation", "iscrowd", "attributes", "keypoints"}
        said = {key: part for key, part in entry.items() if key not in known}
        left, top, right, bottom = shape.box
        if said.get("area") == (right - left) * (bottom - top) and not shape.polygons and not shape.mask:
            del said["area"]
        if said.get("num_keypoints") == marked(shape.keypoints):
            del said["num_keypoints"]
        bbox = entry.get("bbox")
        is_exact = not bbox or shape.broken or [left, top, right - left, bottom - top] == bbox
        return said if is_exact else {**said, "bbox": bbox}

    def _first(self, label: str) -> Any:
        return next(id_ for id_, name in self.labels.items() if name == label)


def _check_names(categories: list[dict[str, Any]], path: Path) -> None:
    if nameless := next((category for category in categories if category["name"] in (None, "")), None):
        raise DataError(f"{path}: the category {nameless['id']!r} has no name; give it one")


def _attributes(value: Any) -> dict[str, Any]:
    """Return CVAT's ``attributes`` of an object by their names; a list of names, as others write it, is kept as one."""
    return dict(value) if isinstance(value, dict) else {"attributes": value} if value else {}


def _entries(value: dict[str, Any], key: str, path: Path, *needed: str) -> list[dict[str, Any]]:
    entries = value.get(key) or []
    for entry in entries:
        if not isinstance(entry, dict) or any(part not in entry for part in needed):
            raise DataError(f"{path}: an entry of {key} lacks {' or '.join(needed)}: {str(entry)[:80]}")
        odd = next((name for name in ("id", "image_id", "category_id") if isinstance(entry.get(name), list | dict)), "")
        if odd:
            raise DataError(f"{path}: {odd} of an entry of {key} is {str(entry[odd])[:40]}, not a number or a text")
    return list(entries)


def _by_text(listed: list[Any], used: list[Any]) -> dict[str, Any]:
    """Return the ``listed`` ids by their text when none of the ``used`` ones is listed but as another type: "0" for 0.

    Where some are listed, others may be wrong on purpose, and nothing is guessed.
    """
    known, used = set(listed), [id_ for id_ in used if id_ is not None]
    if not used or any(id_ in known for id_ in used):
        return {}
    return {str(id_): id_ for id_ in reversed(listed)}


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
    for kind, others in (("picture", part.image_ids), ("category", part.category_ids)):
        if others:
            rule = f"COCO {kind} ids that are text in one place and numbers in another (taken as the same)"
            yield Finding(rule=rule, count=len(others), examples=(name,))
    lost = [entry for id_, entries in part.annotations.items() if id_ not in images for entry in entries]
    if lost:
        examples = tuple(f"{name}: annotation {e.get('id')} of picture {e['image_id']!r}" for e in lost[:5])
        yield Finding(
            rule="COCO annotation of a picture that is not listed (left out)", count=len(lost), examples=examples
        )
