"""Splits that a source gives by lists, by fields or by folders: one rule for all formats.

What a format itself says of an image counts first (CVAT's subset, COCO's file, data.yaml). Else the first of these:
a field called split or subset, a list of images (ImageSets/Main/val.txt, test.txt), a folder (train, valid, ...).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from toolchain.annotations.files import lines_of, stem_of
from toolchain.annotations.model import LABELME, VOC, Collection, Finding, Picture, split_of, with_subset
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_ENDINGS, files_in, files_under, name_key
from toolchain.split_names import TEST, TRAIN, VALIDATION
from toolchain.split_names import split_of as split_meant

FIELDS = ("split", "subset")
LISTS_FOLDER, MAIN, BOTH = "imagesets", "main", "trainval"  # VOC's; trainval repeats two other lists
FOLDERS_OF_LISTS = ("", "splits", "split", "lists")  # others that lists are in
LIST_ENDINGS = (".txt", ".lst")
UNSAID = "default"  # the word of CVAT and datumaro for no subset
LAYOUT = ("images", "jpegimages", "annotations", "labels", "image", "imgs", "xmls", "json")  # folders that say nothing
FIRST = (TEST, VALIDATION, TRAIN)  # of two splits of one image: it is not learned from if it is to be measured on
SHOWN = 5


def with_splits(collection: Collection, source: Path, apart: Path | None) -> Collection:
    """Return ``collection``, read from ``source`` and ``apart``, with splits that its format does not give itself."""
    lists = ImageLists.of(source) if source.is_dir() else ImageLists()
    tops = tuple(top for top in (source if source.is_dir() else source.parent, apart) if top)

    def pictures() -> Iterator[Picture]:
        return map(partial(_placed, lists=lists, tops=tops), collection.pictures())

    result = replace(collection, pictures=pictures)
    return replace(result, findings=(*result.findings, *lists.findings(pictures()))) if lists.words else result


def folder_split(folders: tuple[str, ...]) -> str | None:
    """Return the word of the first of ``folders`` that is called as a split is."""
    return next((folder for folder in folders if split_meant(folder)), None)


@dataclass
class ImageLists:
    """Lists of images, one for each split."""

    words: dict[str, str] = field(default_factory=dict)  # the list's word, by name_key of the image's path, no ending
    both: list[str] = field(default_factory=list)  # images in the lists of two splits
    files: dict[str, Path] = field(default_factory=dict)  # the list, by its word
    seen: set[str] = field(default_factory=set)
    _bases: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, source: Path) -> "ImageLists":
        """Return the lists in ``source``: in VOC's ImageSets, and files such as train.txt."""
        lists = cls()
        for path in _list_files(source):
            for line in _listed(path):
                lists._add(name_key(_path_of(line)), path)
        for key in lists.words:
            lists._bases[PurePosixPath(key).name].append(key)
        return lists

    def word(self, picture: Picture, tops: tuple[Path, ...]) -> str | None:
        """Return the word of the list that ``picture`` is in."""
        keys = [
            name_key(stem_of(name)) for name in (picture.name, *(path.as_posix() for path in _below(picture, tops)))
        ]
        key = next((key for key in keys if key in self.words), None)
        same = self._bases.get(PurePosixPath(keys[0]).name, [])
        key = key or (same[0] if len(same) == 1 else None)
        if key is None:
            return None
        self.seen.add(key)
        return self.words[key]

    def findings(self, pictures: Iterator[Picture]) -> Iterator[Finding]:
        """Yield what is wrong with the lists, once all ``pictures`` were looked up."""
        for _ in pictures:
            pass
        gone = [f"{key} in {self.files[word].name}" for key, word in self.words.items() if key not in self.seen]
        for rule, cases in (
            ("image in a list, of which there is no annotation", gone),
            ("image in the lists of two splits (kept for the test, else for validation)", self.both),
        ):
            if cases:
                yield Finding(rule=rule, count=len(cases), examples=tuple(cases[:SHOWN]))

    def _add(self, key: str, path: Path) -> None:
        word = path.stem
        self.files.setdefault(word, path)
        known = self.words.setdefault(key, word)
        if known == word or split_of(known) == split_of(word) or word == BOTH:
            return
        self.both.append(f"{key} in {self.files[known].name} and {path.name}")
        ranks = {split: rank for rank, split in enumerate(FIRST)}
        self.words[key] = min(known, word, key=lambda each: ranks.get(split_of(each), len(ranks)))


def _list_files(source: Path) -> list[Path]:
    """Return the lists in ``source``, VOC's trainval, which repeats others, last."""
    below = [path for path in files_under(source, *LIST_ENDINGS) if _in_image_sets(path.relative_to(source))]
    main = [path for path in below if path.parent.name.casefold() == MAIN]
    beside = [path for name in FOLDERS_OF_LISTS for path in files_in(source / name, *LIST_ENDINGS)]
    found = [*(main or below), *(path for path in beside if split_meant(path.stem))]
    return sorted(found, key=lambda path: path.stem == BOTH)


def _in_image_sets(path: Path) -> bool:
    return any(part.casefold() == LISTS_FOLDER for part in path.parts[:-1])


def _listed(path: Path) -> list[str]:
    """Return the lines of the list ``path``; none where it says of each image whether a class is in it, as VOC's do."""
    try:
        lines = lines_of(path)
    except DataError:
        return []  # a text of another purpose
    flags = [line.rsplit(maxsplit=1)[-1] for line in lines if " " in line]
    is_list = not any(flag in ("1", "-1") for flag in flags) and not any(_is_numbers(line) for line in lines[:SHOWN])
    return lines if is_list else []


def _is_numbers(line: str) -> bool:
    """Return whether ``line`` is one of YOLO's annotations."""
    words = line.split()
    return len(words) >= 5 and all(re.fullmatch(r"-?[\d.]+(e[-+]?\d+)?", word) for word in words)


def _path_of(line: str) -> str:
    """Return the image's path in a line of a list, without its ending; an annotation's path may follow it."""
    first = line.split()[0]
    path = first if first.lower().endswith(IMAGE_ENDINGS) and first != line else line
    return stem_of(path.replace("\\", "/").removeprefix("./"))


def _placed(picture: Picture, lists: ImageLists, tops: tuple[Path, ...]) -> Picture:
    """Return ``picture`` in the split that something beside its format says."""
    if picture.split != UNSPLIT:
        return picture
    word = _word_in(picture.about) or (lists.word(picture, tops) if lists.words else None)
    if word and word != UNSAID:
        split, about = split_of(word), {**dict(picture.about), **with_subset(word)}
        if split != UNSPLIT:
            return replace(picture, split=split, about=about)
        picture = replace(picture, about=about)
    inner = PurePosixPath(picture.name).parts[:-1]
    folders = [part for path in _below(picture, tops) for part in path.parts[:-1]]
    folder = folder_split((*PurePosixPath(picture.folder).parts, *inner, *folders))
    if folder is None:
        return picture
    about = {**dict(picture.about), **with_subset(folder)}
    return replace(picture, name=_without(picture.name, folder), split=split_of(folder), about=about)


def _without(name: str, folder: str) -> str:
    """Return ``name`` without the folder of its split and those of a layout: train/images/a.jpg becomes a.jpg."""
    path = PurePosixPath(name)
    kept = [part for part in path.parts[:-1] if part != folder and part.casefold() not in LAYOUT]
    return "/".join((*kept, path.name)) if folder in path.parts[:-1] else name


def _word_in(about: Mapping[str, Any]) -> str | None:
    """Return what a field of the image called split or subset says, or the one flag of labelme that is a split's."""
    own = [value for key, value in about.items() if key.startswith("@") and isinstance(value, dict)]
    for said in [*own, *(value for each in own for value in each.values() if isinstance(value, dict))]:
        word = next((said[name] for name in FIELDS if isinstance(said.get(name), str) and said[name]), None)
        if word and split_meant(word):
            return str(word)
    flags = dict(about.get(LABELME) or {}).get("flags")
    on = (
        [flag for flag, value in flags.items() if value is True and split_meant(flag)]
        if isinstance(flags, dict)
        else []
    )
    xml = " ".join(dict(about.get(VOC) or {}).get("xml", ()))
    found = re.search(rf"<(?:{'|'.join(FIELDS)})>\s*([^<]+?)\s*<", xml)
    return on[0] if len(on) == 1 else found[1] if found and split_meant(found[1]) else None


def _below(picture: Picture, tops: tuple[Path, ...]) -> list[Path]:
    """Return the path of the image's file below each of ``tops`` that it is in."""
    file = picture.file
    return [file.relative_to(top) for top in tops if file.is_relative_to(top)] if file else []
