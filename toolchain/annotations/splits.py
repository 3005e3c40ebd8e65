"""Splits that a source gives by lists, by fields or by folders, with one rule for all formats.

A split that the format itself gives goes first (CVAT's subset, COCO's file name, data.yaml). Else it is the first of: a
field called split or subset, a list of images (ImageSets/Main/val.txt, test.txt), a folder (train, valid, ...).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from toolchain.annotations.files import read_lines, without_image_suffix
from toolchain.annotations.types import LABELME, VOC, AnnotatedImage, Collection, Finding, split_of, subset_metadata
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_SUFFIXES, files_in, files_under, name_key
from toolchain.split_names import TEST, TRAIN, VALIDATION
from toolchain.split_names import split_of as known_split

SPLIT_FIELDS = ("split", "subset")
IMAGE_SETS, MAIN, TRAINVAL = "imagesets", "main", "trainval"  # of VOC; trainval repeats two other lists
LIST_FOLDERS = ("", "splits", "split", "lists")  # other folders that can hold lists
LIST_SUFFIXES = (".txt", ".lst")
DEFAULT_SUBSET = "default"  # CVAT's and datumaro's name for no subset
LAYOUT_FOLDERS = ("images", "jpegimages", "annotations", "labels", "image", "imgs", "xmls", "json")
SPLIT_PRIORITY = (
    TEST,
    VALIDATION,
    TRAIN,
)  # an image in two splits goes to the first, so that no test image is trained on
LINES_CHECKED = 5  # of a text file, to distinguish lists of images from YOLO's annotations


def split_rank(subset: str | None) -> int:
    """Return the rank of a subset's split in SPLIT_PRIORITY, the lowest first."""
    split = split_of(subset)
    return SPLIT_PRIORITY.index(split) if split in SPLIT_PRIORITY else len(SPLIT_PRIORITY)


def with_splits(collection: Collection, source: Path, images_dir: Path | None) -> Collection:
    """Return ``collection``, read from ``source`` and ``images_dir``, with splits that its format does not give."""
    lists = ImageLists.of(source) if source.is_dir() else ImageLists()
    tops = tuple(top for top in (source if source.is_dir() else source.parent, images_dir) if top)

    def images() -> Iterator[AnnotatedImage]:
        return map(partial(_with_split, lists=lists, tops=tops), collection.images())

    result = replace(collection, images=images)
    return replace(result, findings=(*result.findings, *lists.findings(images()))) if lists.subsets else result


@dataclass
class ImageLists:
    """Lists of images, one for each subset."""

    subsets: dict[str, str] = field(default_factory=dict)  # by name_key of the image's path without its suffix
    files: dict[str, Path] = field(default_factory=dict)  # the list of each subset
    in_two_splits: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # keys of ``subsets`` that some image has
    _keys_by_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, source: Path) -> "ImageLists":
        """Return the lists in ``source``: in VOC's ImageSets, and files such as train.txt."""
        lists = cls()
        for path in _list_files(source):
            for line in _list_lines(path):
                lists._add(name_key(_image_path(line)), path)
        for key in lists.subsets:
            lists._keys_by_name[PurePosixPath(key).name].append(key)
        return lists

    def subset_of(self, image: AnnotatedImage, tops: tuple[Path, ...]) -> str | None:
        """Return the subset whose list ``image`` is in."""
        names = (image.name, *(path.as_posix() for path in _relative_paths(image, tops)))
        keys = [name_key(without_image_suffix(name)) for name in names]
        key = next((key for key in keys if key in self.subsets), None)
        same_name = self._keys_by_name.get(PurePosixPath(keys[0]).name, [])
        key = key or (same_name[0] if len(same_name) == 1 else None)
        if key is None:
            return None
        self.used.add(key)
        return self.subsets[key]

    def findings(self, images: Iterator[AnnotatedImage]) -> Iterator[Finding]:
        """Yield the problems of the lists, after reading all ``images``."""
        for _ in images:
            pass
        missing = [f"{key} in {self.files[name].name}" for key, name in self.subsets.items() if key not in self.used]
        for rule, cases in (
            ("image in a list without an annotation", missing),
            ("image in the lists of two splits (kept for test, else for validation)", self.in_two_splits),
        ):
            if cases:
                yield Finding.of(rule, cases)

    def _add(self, key: str, path: Path) -> None:
        subset = path.stem
        self.files.setdefault(subset, path)
        known = self.subsets.setdefault(key, subset)
        if known == subset or split_of(known) == split_of(subset) or subset == TRAINVAL:
            return
        self.in_two_splits.append(f"{key} in {self.files[known].name} and {path.name}")
        self.subsets[key] = min(known, subset, key=split_rank)


def _list_files(source: Path) -> list[Path]:
    """Return the lists in ``source``, with VOC's trainval, which repeats others, last."""
    below = [path for path in files_under(source, *LIST_SUFFIXES) if _in_image_sets(path.relative_to(source))]
    main = [path for path in below if path.parent.name.casefold() == MAIN]
    beside = [path for name in LIST_FOLDERS for path in files_in(source / name, *LIST_SUFFIXES)]
    found = [*(main or below), *(path for path in beside if known_split(path.stem))]
    return sorted(found, key=lambda path: path.stem == TRAINVAL)


def _in_image_sets(path: Path) -> bool:
    return any(part.casefold() == IMAGE_SETS for part in path.parts[:-1])


def _list_lines(path: Path) -> list[str]:
    """Return the lines of the list ``path``; none for VOC's lists of a class, which flag each image with 1 or -1."""
    try:
        lines = read_lines(path)
    except DataError:
        return []  # an unrelated text file
    flags = [line.rsplit(maxsplit=1)[-1] for line in lines if " " in line]
    is_class_list = any(flag in ("1", "-1") for flag in flags)
    return [] if is_class_list or any(_is_yolo_line(line) for line in lines[:LINES_CHECKED]) else lines


def _is_yolo_line(line: str) -> bool:
    tokens = line.split()
    return len(tokens) >= 5 and all(re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", token) for token in tokens)


def _image_path(line: str) -> str:
    """Return the image's path in a line of a list, without its suffix; an annotation's path may follow it."""
    first = line.split()[0]
    path = first if first.lower().endswith(IMAGE_SUFFIXES) and first != line else line
    return without_image_suffix(path.replace("\\", "/").removeprefix("./"))


def _with_split(image: AnnotatedImage, lists: ImageLists, tops: tuple[Path, ...]) -> AnnotatedImage:
    """Return ``image`` in the split that a field, a list or a folder gives."""
    if image.split != UNSPLIT:
        return image
    subset = _subset_field(image.metadata) or (lists.subset_of(image, tops) if lists.subsets else None)
    if subset and subset != DEFAULT_SUBSET:
        image = replace(image, split=split_of(subset), metadata={**image.metadata, **subset_metadata(subset)})
        if image.split != UNSPLIT:
            return image
    inner = PurePosixPath(image.name).parts[:-1]
    parents = [part for path in _relative_paths(image, tops) for part in path.parts[:-1]]
    folders = (*PurePosixPath(image.folder).parts, *inner, *parents)
    folder = next((folder for folder in folders if known_split(folder)), None)
    if folder is None:
        return image
    metadata = {**image.metadata, **subset_metadata(folder)}
    return replace(image, name=_without_folder(image.name, folder), split=split_of(folder), metadata=metadata)


def _without_folder(name: str, folder: str) -> str:
    """Return ``name`` without the folders of its split and of a layout: train/images/a.jpg becomes a.jpg."""
    path = PurePosixPath(name)
    kept = [part for part in path.parts[:-1] if part != folder and part.casefold() not in LAYOUT_FOLDERS]
    return "/".join((*kept, path.name)) if folder in path.parts[:-1] else name


def _subset_field(metadata: Mapping[str, Any]) -> str | None:
    """Return the value of a field of the image called split or subset, or labelme's only flag that names a split."""
    formats = [value for key, value in metadata.items() if key.startswith("@") and isinstance(value, dict)]
    nested = [value for fields in formats for value in fields.values() if isinstance(value, dict)]
    for fields in [*formats, *nested]:
        given = next((value for name in SPLIT_FIELDS if isinstance(value := fields.get(name), str) and value), None)
        if given and known_split(given):
            return given
    return _subset_flag(dict(metadata.get(LABELME) or {}).get("flags")) or _subset_element(metadata)


def _subset_flag(flags: object) -> str | None:
    if not isinstance(flags, dict):
        return None
    named = [flag for flag, value in flags.items() if value is True and known_split(flag)]
    return named[0] if len(named) == 1 else None


def _subset_element(metadata: Mapping[str, Any]) -> str | None:
    """Return the text of VOC's element called split or subset."""
    xml = " ".join(dict(metadata.get(VOC) or {}).get("xml", ()))
    found = re.search(rf"<(?:{'|'.join(SPLIT_FIELDS)})>\s*([^<]+?)\s*<", xml)
    return found[1] if found and known_split(found[1]) else None


def _relative_paths(image: AnnotatedImage, tops: tuple[Path, ...]) -> list[Path]:
    """Return the path of the image's file relative to each of ``tops`` that it is in."""
    file = image.file
    return [file.relative_to(top) for top in tops if file.is_relative_to(top)] if file else []
