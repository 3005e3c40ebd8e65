"""Class folders: pictures in a folder for each class, these in folders of splits or not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_ENDINGS, files_in, files_under, folders_in, list_files, readable
from toolchain.split_names import TEST, TRAIN, VALIDATION, split_in, split_of, without_split

AUTO, YES, NO = "auto", "yes", "no"  # whether folders with names of splits are splits
ORDER = (TEST, VALIDATION, TRAIN, UNSPLIT)  # the test's first: of two pictures that are the same it stays
OUTSIDE = "image outside a class folder"
UNLABELLED = "image of a split folder without class folders"


@dataclass(frozen=True)
class Found:
    """One picture of a source."""

    split: str  # "all" where the source has none
    label: str  # the class as the source names it; "" where it names none
    path: str  # a name that a person can find it by
    load: Callable[[], bytes]  # the file; called in a thread of its own
    made: bool = False  # whether it was encoded here, from pixels that are known to be whole


Source = Callable[[], Iterator[Found]]


@dataclass(frozen=True)
class Opened:
    """The pictures of a source, and the names of files that were skipped, by the reason."""

    source: Source
    skipped: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """The class folders of one split."""

    split: str
    classes: dict[str, list[Path]]  # files by class


def open_class_folders(folder: Path, uri: str, split_folders: str = AUTO) -> Opened:
    """Return the pictures in the class folders of ``folder``; the arguments are those of ``open_folder``.

    Raises:
        DataError: there are no class folders, one is empty, or it cannot be known what is a split.
    """
    root = _without_wrappers(folder)
    splits = {} if split_folders == NO else _split_folders(root, uri, split_folders)
    skipped: dict[str, list[str]] = {}
    parts = []
    if not splits and split_folders == AUTO:
        _check_inner(root, uri)
    for split, outer in (splits or {UNSPLIT: root}).items():
        place = _without_same(outer, split)
        loose = files_in(place, *IMAGE_ENDINGS)
        flat = split not in (TRAIN, UNSPLIT) and loose and not folders_in(place)
        _note(skipped, UNLABELLED if flat else OUTSIDE, loose, folder)
        if not flat:
            parts.append(_part(split, place, uri, skipped, folder))
    if splits:
        _note(skipped, OUTSIDE, files_in(root, *IMAGE_ENDINGS), folder)
    return Opened(lambda: _pictures(parts, folder), skipped)


def _without_wrappers(folder: Path) -> Path:
    """Return the folder that holds more than one folder: archives often unpack to set/set/cat and set/set/dog."""
    inner = folders_in(folder)
    while len(inner) == 1 and not files_in(inner[0], *IMAGE_ENDINGS) and folders_in(inner[0]):
        folder, inner = inner[0], folders_in(inner[0])
    return folder


def _split_folders(root: Path, uri: str, split_folders: str) -> dict[str, Path]:
    """Return the folders of splits in ``root``, by split; {} where its folders are classes."""
    named = _named(folders_in(root))
    splits: dict[str, Path] = {}
    for split, path in named:
        if split in splits:
            raise DataError(
                f"{uri} has two folders for the {split} split, {splits[split].name!r} and {path.name!r}; merge them, "
                "or set split_folders=no if they are classes"
            )
        if split:
            splits[split] = path
    if splits:
        _check_splits(splits, [path for split, path in named if not split], uri, split_folders)
    elif split_folders == YES:
        raise DataError(f"{uri} has no folder that is called train; rename one, or set split_folders=auto")
    return {split: splits[split] for split in ORDER if split in splits}


def _named(folders: list[Path]) -> list[tuple[str | None, Path]]:
    """Return ``folders``, each with the split that its name means.

    Names that mean none as a whole, such as seg_train and seg_test, do where they differ in the split's word alone.
    """
    named = [(split_of(path.name), path) for path in folders]
    within: dict[str, dict[str, Path]] = {}
    for split, path in named:
        word = None if split else split_in(path.name)
        if word:
            within.setdefault(without_split(path.name), {})[word] = path
    for alike in within.values():
        if TRAIN in alike and len(alike) > 1:
            found = {path: word for word, path in alike.items()}
            named = [(split or found.get(path), path) for split, path in named]
    return named


def _without_same(folder: Path, split: str) -> Path:
    """Return the folder of classes in ``folder`` of ``split``: archives unpack to seg_train/seg_train/cat."""
    inner = folders_in(folder)
    while split != UNSPLIT and len(inner) == 1 and split_in(inner[0].name) == split and folders_in(inner[0]):
        folder, inner = inner[0], folders_in(inner[0])
    return folder


def _check_inner(root: Path, uri: str) -> None:
    """Raise DataError where each class has folders of splits: read as one, test images would be learned from."""
    for path in folders_in(root):
        splits = {split: inner.name for inner in folders_in(path) if (split := split_of(inner.name))}
        if TRAIN in splits and len(splits) > 1:
            names = ", ".join(repr(name) for name in splits.values())
            raise DataError(
                f"{uri} has folders named as splits ({names}) inside the class folder {path.name!r}; move the classes "
                "into folders of splits, or set split_folders=no to read each class as one"
            )


def _check_splits(splits: dict[str, Path], others: list[Path], uri: str, split_folders: str) -> None:
    names = ", ".join(repr(path.name) for path in splits.values())
    if TRAIN not in splits:
        raise DataError(
            f"{uri} has the folders {names}, named as splits, but none for training; add a folder train, or set "
            "split_folders=no if they are classes"
        )
    filled = [path for path in others if files_under(path, *IMAGE_ENDINGS)]
    if filled and split_folders != YES:
        raise DataError(
            f"{uri} has folders named as splits ({names}) and others with images, such as {filled[0].name!r}; set "
            "split_folders=yes to leave the others out, or split_folders=no if all are classes"
        )


def _part(split: str, place: Path, uri: str, skipped: dict[str, list[str]], root: Path) -> Part:
    classes: dict[str, list[Path]] = {}
    for inner in folders_in(place):
        listing = list_files(inner, *IMAGE_ENDINGS)
        for reason, paths in listing.skipped.items():
            _note(skipped, reason, paths, root)
        if not listing.files:
            raise DataError(f"{uri}: the class folder {inner.name!r} is empty; fill it, or remove it")
        classes[readable(inner.name)] = listing.files
    if not classes:
        raise DataError(
            f"{uri} has no folders of classes (looked in {place.name!r}); put the pictures of a class in one"
        )
    return Part(split, classes)


def _note(skipped: dict[str, list[str]], reason: str, paths: list[Path], root: Path) -> None:
    if paths:
        names = [readable(path.relative_to(root).as_posix()) for path in paths]
        skipped.setdefault(reason, []).extend(names)


def _pictures(parts: list[Part], root: Path) -> Iterator[Found]:
    for part in parts:
        for label, files in part.classes.items():
            for file in files:
                yield Found(part.split, label, readable(file.relative_to(root).as_posix()), file.read_bytes)
