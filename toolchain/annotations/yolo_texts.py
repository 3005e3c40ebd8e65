"""The text files of YOLO, each found from the path of its image as Ultralytics and Darknet do."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from toolchain.annotations.files import lines_of, stem_of
from toolchain.errors import DataError
from toolchain.image_files import descendant, files_under, name_key
from toolchain.split_names import split_of

IMAGES, LABELS = "images", "labels"
CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels", "labels.txt")
FEWEST_NUMBERS = 5  # in a line: a class and a box


@dataclass
class Texts:
    """The text files below one folder."""

    files: dict[str, Path]  # by their path below the folder, without the ending
    loose: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # those paths, by their name_key
    taken: set[str] = field(default_factory=set)
    strays: list[Path] = field(default_factory=list)  # of another purpose, once the rest was asked for

    @classmethod
    def of(cls, folder: Path) -> "Texts":
        """Return the text files in ``folder`` and below."""
        paths = [path for path in files_under(folder, ".txt") if path.name.lower() not in CLASS_LISTS]
        texts = cls({path.relative_to(folder).with_suffix("").as_posix(): path for path in paths})
        for stem in texts.files:
            texts.loose[name_key(stem)].append(stem)
        return texts

    @staticmethod
    def beside(root: Path, image: str) -> Path | None:
        """Return the text file of the image at ``image`` below ``root``."""
        paths = (descendant(root, f"{stem}.txt") for stem in _stems(image))
        return next((path for path in paths if path and path.is_file()), None)

    def take(self, image: str) -> Path | None:
        """Return the text file of the image at ``image`` below the folder, which is taken then."""
        for stem in _stems(image):
            same = [stem] if stem in self.files else self.loose.get(name_key(stem), [])
            if len(same) == 1:
                self.taken.add(same[0])
                return self.files[same[0]]
        return None

    def rest(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and the file of those that no image has taken; the strays among them are kept apart."""
        for stem, path in self.files.items():
            if stem in self.taken or (split_of(path.stem) and not holds_yolo(path)):
                continue  # a list of images is one too, of no object
            if is_yolo(path):
                yield without_layout(stem), path
            else:
                self.strays.append(path)


def is_yolo(path: Path) -> bool:
    """Return whether the first lines of the text file ``path`` are YOLO's; an empty file has none that are not."""
    try:
        return all(_is_line(line.split()) for line in lines_of(path)[:FEWEST_NUMBERS])
    except DataError:
        return False


def holds_yolo(path: Path) -> bool:
    """Return whether the text file ``path`` has lines, and they are YOLO's."""
    return is_yolo(path) and bool(lines_of(path))


def folder_of_texts(folder: Path, levels: int) -> Path:
    """Return ``folder`` with the last "images" among its last ``levels`` parts as "labels", if that exists."""
    for up in [folder, *folder.parents][:levels]:
        if up.name.casefold() == IMAGES:
            labels = descendant(up.parent, LABELS)
            found = descendant(labels, folder.relative_to(up).as_posix()) if labels else None
            return found or folder
    return folder


def without_layout(name: str) -> str:
    """Return ``name`` without its folders "images" and "labels"."""
    path = PurePosixPath(name)
    return "/".join((*(part for part in path.parts[:-1] if part.casefold() not in (IMAGES, LABELS)), path.name))


def _stems(image: str) -> tuple[str, ...]:
    """Return where the text of ``image`` can be: "labels" for the last "images", beside it, or with all others."""
    stem = stem_of(image)
    parts = stem.split("/")
    last = max((number for number, part in enumerate(parts[:-1]) if part.casefold() == IMAGES), default=None)
    mapped = stem if last is None else "/".join((*parts[:last], LABELS, *parts[last + 1 :]))
    bare = without_layout(stem)
    return tuple(dict.fromkeys((mapped, stem, bare, f"{LABELS}/{bare}")))


def _is_line(words: list[str]) -> bool:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return False
    return len(numbers) >= FEWEST_NUMBERS and all(map(math.isfinite, numbers)) and numbers[0] == int(numbers[0])
