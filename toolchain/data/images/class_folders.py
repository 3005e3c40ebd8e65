"""Read images from class folders, inside split folders or not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_SUFFIXES, files_in, files_under, folders_in, list_files, readable
from toolchain.split_names import TEST, TRAIN, VALIDATION, split_in, split_of, without_split

AUTO, YES, NO = "auto", "yes", "no"  # whether folders with names of splits are splits
ORDER = (TEST, VALIDATION, TRAIN, UNSPLIT)  # test first: of duplicate images the first one is kept
OUTSIDE = "image outside a class folder"
UNLABELLED = "image of a split folder without class folders"


@dataclass(frozen=True)
class SourceImage:
    """One image of a source."""

    split: str  # "all" if the source has no splits
    label: str  # the class name in the source; "" if it has none
    path: str  # identifies the image for a person
    load: Callable[[], bytes]  # returns the file; called in another thread
    is_generated: bool = False  # whether the file was encoded by this step, from complete pixels


Images = Callable[[], Iterator[SourceImage]]


@dataclass(frozen=True)
class ImageSource:
    """The images of a source, and the names of skipped files by reason."""

    images: Images
    skipped: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """The class folders of one split."""

    split: str
    classes: dict[str, list[Path]]  # files by class


def open_class_folders(folder: Path, uri: str, split_folders: str = AUTO) -> ImageSource:
    """Return the images in the class folders of ``folder``; the arguments are those of ``open_folder``.

    Raises:
        DataError: there are no class folders, one is empty, or it is ambiguous which folders are splits.
    """
    root = _skip_wrappers(folder)
    splits = {} if split_folders == NO else _split_folders(root, uri, split_folders)
    skipped: dict[str, list[str]] = {}
    parts = []
    if not splits and split_folders == AUTO:
        _check_no_inner_splits(root, uri)
    for split, split_folder in (splits or {UNSPLIT: root}).items():
        class_parent = _skip_repeated_folder(split_folder, split)
        loose = files_in(class_parent, *IMAGE_SUFFIXES)
        is_unlabelled = split not in (TRAIN, UNSPLIT) and loose and not folders_in(class_parent)
        _add_skipped(skipped, UNLABELLED if is_unlabelled else OUTSIDE, loose, folder)
        if not is_unlabelled:
            parts.append(_part(split, class_parent, uri, skipped, folder))
    if splits:
        _add_skipped(skipped, OUTSIDE, files_in(root, *IMAGE_SUFFIXES), folder)
    return ImageSource(lambda: _images(parts, folder), skipped)


def _skip_wrappers(folder: Path) -> Path:
    """Return the first folder with more than one subfolder: archives often unpack to set/set/cat and set/set/dog."""
    inner = folders_in(folder)
    while len(inner) == 1 and not files_in(inner[0], *IMAGE_SUFFIXES) and folders_in(inner[0]):
        folder, inner = inner[0], folders_in(inner[0])
    return folder


def _split_folders(root: Path, uri: str, split_folders: str) -> dict[str, Path]:
    """Return the split folders in ``root`` by split; {} if its folders are classes."""
    named = _with_split_names(folders_in(root))
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
        raise DataError(f"{uri} has no folder named train; rename one, or set split_folders=auto")
    return {split: splits[split] for split in ORDER if split in splits}


def _with_split_names(folders: list[Path]) -> list[tuple[str | None, Path]]:
    """Return ``folders``, each with the split that its name denotes, None for no split.

    Names such as seg_train and seg_test denote splits if they only differ in the split's word.
    """
    named = [(split_of(path.name), path) for path in folders]
    by_rest: dict[str, dict[str, Path]] = {}
    for split, path in named:
        word = None if split else split_in(path.name)
        if word:
            by_rest.setdefault(without_split(path.name), {})[word] = path
    for similar in by_rest.values():
        if TRAIN in similar and len(similar) > 1:
            found = {path: word for word, path in similar.items()}
            named = [(split or found.get(path), path) for split, path in named]
    return named


def _skip_repeated_folder(folder: Path, split: str) -> Path:
    """Return the parent of the class folders in ``folder`` of ``split``: archives unpack to seg_train/seg_train/cat."""
    inner = folders_in(folder)
    while split != UNSPLIT and len(inner) == 1 and split_in(inner[0].name) == split and folders_in(inner[0]):
        folder, inner = inner[0], folders_in(inner[0])
    return folder


def _check_no_inner_splits(root: Path, uri: str) -> None:
    """Raise DataError if class folders contain split folders: a model would be trained on test images."""
    for path in folders_in(root):
        splits = {split: inner.name for inner in folders_in(path) if (split := split_of(inner.name))}
        if TRAIN in splits and len(splits) > 1:
            names = ", ".join(repr(name) for name in splits.values())
            raise DataError(
                f"{uri} has folders named as splits ({names}) inside the class folder {path.name!r}; move the class "
                "folders into split folders, or set split_folders=no to ignore the splits"
            )


def _check_splits(splits: dict[str, Path], others: list[Path], uri: str, split_folders: str) -> None:
    names = ", ".join(repr(path.name) for path in splits.values())
    if TRAIN not in splits:
        raise DataError(
            f"{uri} has the folders {names}, named as splits, but no folder train; add one, or set split_folders=no if "
            "they are classes"
        )
    filled = [path for path in others if files_under(path, *IMAGE_SUFFIXES)]
    if filled and split_folders != YES:
        raise DataError(
            f"{uri} has folders named as splits ({names}) and others with images, such as {filled[0].name!r}; set "
            "split_folders=yes to ignore the others, or split_folders=no if all are classes"
        )


def _part(split: str, class_parent: Path, uri: str, skipped: dict[str, list[str]], root: Path) -> Part:
    classes: dict[str, list[Path]] = {}
    for inner in folders_in(class_parent):
        listing = list_files(inner, *IMAGE_SUFFIXES)
        for reason, paths in listing.skipped.items():
            _add_skipped(skipped, reason, paths, root)
        if not listing.files:
            raise DataError(f"{uri}: the class folder {inner.name!r} is empty; add images, or remove it")
        classes[readable(inner.name)] = listing.files
    if not classes:
        raise DataError(
            f"{uri} has no class folders in {class_parent.name!r}; put the images of each class in a folder"
        )
    return Part(split, classes)


def _add_skipped(skipped: dict[str, list[str]], reason: str, paths: list[Path], root: Path) -> None:
    if paths:
        names = [readable(path.relative_to(root).as_posix()) for path in paths]
        skipped.setdefault(reason, []).extend(names)


def _images(parts: list[Part], root: Path) -> Iterator[SourceImage]:
    for part in parts:
        for label, files in part.classes.items():
            for file in files:
                yield SourceImage(part.split, label, readable(file.relative_to(root).as_posix()), file.read_bytes)
