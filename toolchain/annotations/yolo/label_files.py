"""Find YOLO's text files, each from the path of its image as Ultralytics and Darknet do."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from toolchain.annotations.files import read_lines, without_image_suffix
from toolchain.errors import DataError
from toolchain.image_files import descendant, files_under, name_key
from toolchain.split_names import split_of

IMAGES, LABELS = "images", "labels"
CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels", "labels.txt")
MIN_LINE_VALUES = 5  # of a line: a class and a box
LINES_CHECKED = 5  # of a text file, to distinguish YOLO's from others


@dataclass
class LabelFiles:
    """The text files below one folder."""

    files: dict[str, Path]  # by their path below the folder, without the suffix
    used: set[str] = field(default_factory=set)  # paths whose image was found
    unrelated: list[Path] = field(default_factory=list)  # files that are not YOLO's, known after ``unused``
    _by_key: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # the paths by their name_key

    @classmethod
    def of(cls, folder: Path) -> "LabelFiles":
        """Return the text files in ``folder`` and below."""
        paths = [path for path in files_under(folder, ".txt") if path.name.lower() not in CLASS_LISTS]
        found = cls({path.relative_to(folder).with_suffix("").as_posix(): path for path in paths})
        for stem in found.files:
            found._by_key[name_key(stem)].append(stem)
        return found

    def use(self, image: str) -> Path | None:
        """Return the text file of the image at ``image`` below the folder, and mark it as used."""
        for stem in _stems(image):
            matches = [stem] if stem in self.files else self._by_key.get(name_key(stem), [])
            if len(matches) == 1:
                self.used.add(matches[0])
                return self.files[matches[0]]
        return None

    def unused(self) -> Iterator[tuple[str, Path]]:
        """Yield the name and the file of those that no image uses; others than YOLO's are added to ``unrelated``."""
        for stem, path in self.files.items():
            if stem in self.used or (split_of(path.stem) and not has_yolo_lines(path)):
                continue  # the second is a list of images
            if is_yolo_text(path):
                yield without_layout(stem), path
            else:
                self.unrelated.append(path)


def find_label_file(root: Path, image: str) -> Path | None:
    """Return the text file of the image at ``image`` below ``root``."""
    paths = (descendant(root, f"{stem}.txt") for stem in _stems(image))
    return next((path for path in paths if path and path.is_file()), None)


def is_yolo_text(path: Path) -> bool:
    """Return whether the first lines of the text file ``path`` are YOLO's; also true for an empty file."""
    try:
        return all(_is_yolo_line(line.split()) for line in read_lines(path)[:LINES_CHECKED])
    except DataError:
        return False


def has_yolo_lines(path: Path) -> bool:
    """Return whether the text file ``path`` has lines, and they are YOLO's."""
    return is_yolo_text(path) and bool(read_lines(path))


def label_folder(folder: Path, levels: int) -> Path:
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
    """Return where the text file of ``image`` can be: "labels" for the last "images", beside it, or with all others."""
    stem = without_image_suffix(image)
    parts = stem.split("/")
    last = max((index for index, part in enumerate(parts[:-1]) if part.casefold() == IMAGES), default=None)
    mapped = stem if last is None else "/".join((*parts[:last], LABELS, *parts[last + 1 :]))
    bare = without_layout(stem)
    return tuple(dict.fromkeys((mapped, stem, bare, f"{LABELS}/{bare}")))


def _is_yolo_line(tokens: list[str]) -> bool:
    try:
        numbers = [float(token) for token in tokens]
    except ValueError:
        return False
    return len(numbers) >= MIN_LINE_VALUES and all(map(math.isfinite, numbers)) and numbers[0] == int(numbers[0])
