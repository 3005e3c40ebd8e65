"""Read COCO's JSON of objects: boxes, polygons, both forms of RLE masks, crowds, and CVAT's ``attributes``.

A file is read whole, since its annotations are in any order; the images are yielded one at a time. Ids, areas and all
other fields of an entry are kept for the writer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from toolchain.annotations.coco.files import find_files, subset_in_name
from toolchain.annotations.coco.shapes import mask_size, parse_shape
from toolchain.annotations.files import find_in_folders, parse_json, parse_number, safe_name
from toolchain.annotations.image_lookup import ImageLookup
from toolchain.annotations.shapes import Shape, count_labeled
from toolchain.annotations.types import (
    COCO,
    FLAGS,
    KEYPOINTS,
    SUBSET,
    UNKNOWN_CLASS,
    AnnotatedImage,
    Annotation,
    Collection,
    Finding,
    non_empty,
    split_of,
    user_attributes,
)
from toolchain.errors import DataError
from toolchain.image_files import readable

SUBSETS = {"validation": "val", "all": "default"}  # CVAT's and datumaro's names in file names
DUPLICATE_IDS = "duplicate_ids"  # the check that ambiguous ids are counted for
LISTS = ("images", "annotations", "categories")
# Keys of an annotation that an Annotation holds.
ANNOTATION_KEYS = ("image_id", "category_id", "bbox", "segmentation", "iscrowd", "attributes", "keypoints")

Entry = dict[str, Any]


def is_coco(value: object) -> bool:
    """Return whether the JSON ``value`` has COCO's lists."""
    return isinstance(value, dict) and all(isinstance(value.get(key), list) for key in ("images", "categories"))


def read(source: Path, images_dir: Path | None = None) -> Collection:
    """Return the annotations in ``source``, one file or a folder of them, one for each subset.

    Args:
        source: A JSON file, a folder of them, or a folder with such a folder "annotations".
        images_dir: The images, if they are not with the annotations.
    """
    lookup = ImageLookup(source, images_dir)
    files = [_File.read(path, lookup) for path in find_files(source)]
    categories, conflicts = _merge_categories(files)
    rest = files[0].rest if files else {}

    def images() -> Iterator[AnnotatedImage]:
        for file in files:
            yield from file.images()

    return Collection(
        format="coco",
        labels=tuple(dict.fromkeys(name for file in files for name in file.labels.values())),
        images=images,
        metadata=non_empty(
            **{COCO: non_empty(categories=list(categories.values()), **rest), KEYPOINTS: _keypoints(categories)}
        ),
        findings=(*(finding for file in files for finding in _file_findings(file)), *_merge_findings(files, conflicts)),
    )


def _merge_categories(files: "list[_File]") -> tuple[dict[str, Entry], list[str]]:
    """Return the categories of all files by name, and the names that a further file describes differently."""
    categories: dict[str, Entry] = {}
    conflicts: list[str] = []
    for file in files:
        earlier = dict(categories)
        for category in file.categories:
            name = str(category["name"])
            categories.setdefault(name, category)
            if name in earlier and {**category, "id": 0} != {**earlier[name], "id": 0}:
                conflicts.append(name)
    return categories, list(dict.fromkeys(conflicts))


def _merge_findings(files: "list[_File]", conflicts: list[str]) -> Iterator[Finding]:
    """Yield what is lost by merging files: those of further files that differ from the first one's."""
    first = files[0].rest if files else {}
    others = [f"{file.path.name}: {key}" for file in files[1:] for key in file.rest if file.rest[key] != first.get(key)]
    if others:
        yield Finding.of("info, licenses or other entries of a further COCO file (the first file's are kept)", others)
    if conflicts:
        yield Finding.of("category that files describe differently (the first file's is kept)", conflicts)


def _keypoints(categories: dict[str, Entry]) -> dict[str, Any]:
    """Return the names of each category's keypoints, and which of them are connected."""
    named = {name: category for name, category in categories.items() if isinstance(category.get("keypoints"), list)}
    return {
        name: {"names": [str(point) for point in category["keypoints"]], "edges": category.get("skeleton") or []}
        for name, category in named.items()
    }


@dataclass
class _File:
    """One JSON file."""

    path: Path
    lookup: ImageLookup
    subset: str | None
    image_entries: list[Entry]
    annotations: list[Entry]
    categories: list[Entry]
    rest: Entry  # the file's other entries
    image_ids: dict[str, Any]  # by their text, where annotations write them as another type
    category_ids: dict[str, Any]  # likewise
    labels: dict[Any, str] = field(init=False)  # by the category's id
    by_image: dict[Any, list[Entry]] = field(init=False)  # annotations by the image's id

    @classmethod
    def read(cls, path: Path, lookup: ImageLookup) -> "_File":
        value = parse_json(path)
        if not is_coco(value):
            raise DataError(f"{path} is not COCO JSON: it needs lists of images, annotations and categories")
        annotations = _entries(value, "annotations", path, "image_id")
        images = _entries(value, "images", path, "id", "file_name")
        categories = _entries(value, "categories", path, "id", "name")
        if nameless := next((category for category in categories if category["name"] in (None, "")), None):
            raise DataError(f"{path}: the category {nameless['id']!r} has no name; give it one")
        category_ids = list(dict.fromkeys(category["id"] for category in categories))
        return cls(
            path=path,
            lookup=lookup,
            subset=subset_in_name(path),
            image_entries=images,
            annotations=annotations,
            categories=categories,
            rest={key: part for key, part in value.items() if key not in LISTS},
            image_ids=_ids_by_text([image["id"] for image in images], [entry["image_id"] for entry in annotations]),
            category_ids=_ids_by_text(category_ids, [entry.get("category_id") for entry in annotations]),
        )

    def __post_init__(self) -> None:
        labels = {category["id"]: str(category["name"]) for category in reversed(self.categories)}  # the first counts
        self.labels = {category["id"]: labels[category["id"]] for category in self.categories}
        self.by_image = defaultdict(list)
        for entry in self.annotations:
            self.by_image[self.image_ids.get(str(entry["image_id"]), entry["image_id"])].append(entry)

    def images(self) -> Iterator[AnnotatedImage]:
        seen = set()
        for entry in self.image_entries:
            is_first = entry["id"] not in seen
            seen.add(entry["id"])
            yield self._image(entry, self.by_image.get(entry["id"], []) if is_first else [])

    def _image(self, entry: Entry, annotations: list[Entry]) -> AnnotatedImage:
        given = str(entry["file_name"])
        name = readable(safe_name(given))
        if not name:
            raise DataError(f"{self.path}: the image {entry['id']!r} has no name")
        width, height = self._size(entry, annotations)
        fields = {key: part for key, part in entry.items() if key not in ("file_name", "width", "height")}
        split = split_of(self.subset)
        metadata = non_empty(**{COCO: {**fields, **non_empty(file_name=given if given != name else None)}})
        if self.subset not in (None, SUBSETS["all"], split):
            metadata[SUBSET] = self.subset
        return AnnotatedImage(
            name=name,
            file=find_in_folders(self._folders(), name) or self.lookup.find(self.path, name, given),
            width=width,
            height=height,
            split=split,
            annotations=tuple(self._annotation(annotation, (width, height)) for annotation in annotations),
            metadata=metadata,
            folder=self.path.relative_to(self.lookup.root).parent.as_posix(),
        )

    def _size(self, entry: Entry, annotations: list[Entry]) -> tuple[int, int]:
        """Return width and height of the image ``entry``, from its masks if it gives none."""
        width, height = (int(parse_number(entry.get(side) or 0, str(self.path))) for side in ("width", "height"))
        if width and height:
            return width, height
        sizes = [mask_size(annotation.get("segmentation")) for annotation in annotations]
        return next((size for size in sizes if all(size)), (width, height))

    def _folders(self) -> list[Path]:
        """Return the folders that can hold the images."""
        root, subset, images_dir = self.lookup.root, self.subset or "", self.lookup.images_dir
        inner = [root / "images" / subset, root / "images", root / subset, root]
        return [*([images_dir] if images_dir else []), *inner, self.path.parent, self.path.parent.parent / "images"]

    def _annotation(self, entry: Entry, size: tuple[int, int]) -> Annotation:
        attributes = _attributes(entry.get("attributes"))
        given = {flag: attributes.pop(flag) for flag in FLAGS if attributes.get(flag) in (True, False)}
        if isinstance(attributes.get("rotation"), int | float):
            given["rotation"] = attributes.pop("rotation")
        shape, encoding = parse_shape(entry, size)
        category = self.category_ids.get(str(entry.get("category_id")), entry.get("category_id"))
        label = self.labels.get(category, f"{UNKNOWN_CLASS}{category}")
        is_duplicate = label in self.labels.values() and self._first_id(label) != category
        fields = _extra_fields(entry, shape) | non_empty(
            explicit=[name for name, value in given.items() if not value],  # false or 0, to be written again
            mask=encoding,
            category_id=category if is_duplicate else None,
        )
        return Annotation(
            label=label,
            crowd=bool(entry.get("iscrowd")),
            attributes={**user_attributes(attributes), **non_empty(**{COCO: fields})},
            **{
                **vars(shape),
                **{flag: bool(given.get(flag)) for flag in FLAGS},
                "rotation": float(given.get("rotation", 0)),
                "error": f"annotation {entry.get('id')}: {shape.error}" if shape.error else "",
            },
        )

    def _first_id(self, label: str) -> Any:
        return next(id_ for id_, name in self.labels.items() if name == label)


def _extra_fields(entry: Entry, shape: Shape) -> Entry:
    """Return the fields of ``entry`` that an Annotation does not hold and the writer cannot compute."""
    fields = {key: part for key, part in entry.items() if key not in ANNOTATION_KEYS}
    left, top, right, bottom = shape.box
    if fields.get("area") == (right - left) * (bottom - top) and not shape.polygons and not shape.mask:
        del fields["area"]
    if fields.get("num_keypoints") == count_labeled(shape.keypoints):
        del fields["num_keypoints"]
    bbox = entry.get("bbox")
    is_exact = not bbox or shape.error or [left, top, right - left, bottom - top] == bbox
    return fields if is_exact else {**fields, "bbox": bbox}


def _attributes(value: Any) -> Entry:
    """Return CVAT's ``attributes`` of an object by name; a list of names, as others write it, becomes one attribute."""
    return dict(value) if isinstance(value, dict) else {"attributes": value} if value else {}


def _entries(value: Entry, key: str, path: Path, *required: str) -> list[Entry]:
    entries = value.get(key) or []
    for entry in entries:
        if not isinstance(entry, dict) or any(part not in entry for part in required):
            raise DataError(f"{path}: an entry of {key} lacks {' or '.join(required)}: {str(entry)[:80]}")
        invalid = (name for name in ("id", "image_id", "category_id") if isinstance(entry.get(name), list | dict))
        if name := next(invalid, ""):
            raise DataError(f"{path}: {name} of an entry of {key} is {str(entry[name])[:40]}, not a number or a text")
    return list(entries)


def _ids_by_text(listed: list[Any], used: list[Any]) -> dict[str, Any]:
    """Return the ``listed`` ids by their text if all ``used`` ids have another type ("0" for 0), else nothing.

    If some ``used`` ids are listed as they are, the others may be wrong on purpose, and nothing is guessed.
    """
    known, used = set(listed), [id_ for id_ in used if id_ is not None]
    if not used or any(id_ in known for id_ in used):
        return {}
    return {str(id_): id_ for id_ in reversed(listed)}


def _file_findings(file: _File) -> Iterator[Finding]:
    """Yield the problems of the ids and names in ``file``."""
    images = Counter(image["id"] for image in file.image_entries)
    for rule, counts in (
        (f"{DUPLICATE_IDS}: duplicate COCO image id", images),
        (
            f"{DUPLICATE_IDS}: duplicate COCO annotation id",
            Counter(entry["id"] for entry in file.annotations if entry.get("id") is not None),
        ),
        (f"{DUPLICATE_IDS}: duplicate COCO category id", Counter(category["id"] for category in file.categories)),
        (
            "two COCO categories with the same name (merged)",
            Counter(str(category["name"]) for category in file.categories),
        ),
    ):
        yield from _duplicates(rule, counts, file.path.name)
    for kind, ids in (("image", file.image_ids), ("category", file.category_ids)):
        if ids:
            rule = f"COCO {kind} ids that are both text and numbers (taken as equal)"
            yield Finding(rule=rule, count=len(ids), examples=(file.path.name,))
    lost = [entry for id_, entries in file.by_image.items() if id_ not in images for entry in entries]
    if lost:
        cases = [f"{file.path.name}: annotation {e.get('id')} of image {e['image_id']!r}" for e in lost]
        yield Finding.of("COCO annotation of an image that is not listed (left out)", cases)


def _duplicates(rule: str, counts: Counter[Any], name: str) -> Iterator[Finding]:
    duplicates = {value: count for value, count in counts.items() if count > 1}
    if duplicates:
        cases = [f"{name}: {value!r}, {count} times" for value, count in duplicates.items()]
        yield replace(Finding.of(rule, cases), count=sum(duplicates.values()) - len(duplicates))
