"""Find YOLO's images and text files, in the layouts of Ultralytics, Darknet (CVAT) and LabelImg."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from toolchain.annotations.files import read_lines, safe_name, without_image_suffix
from toolchain.annotations.splits import split_rank
from toolchain.annotations.types import Finding
from toolchain.annotations.yolo.classes import ClassLists, Config, find_configs
from toolchain.annotations.yolo.label_files import (
    IMAGES,
    LABELS,
    LabelFiles,
    find_label_file,
    label_folder,
    without_layout,
)
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_SUFFIXES, descendant, files_under, readable
from toolchain.split_names import SPLIT_WORDS, TEST, TRAIN, VALIDATION, split_of

MISSING_SPLIT = "missing_split"  # the check that missing folders and lists are counted for
MISSING_RULE = "folder or list of images that does not exist"
DARKNET_KEYS = ("classes", "names", "backup", "task", "eval", "results", "top", "map")  # of obj.data, without images


@dataclass(frozen=True)
class Entry:
    """One image or text file."""

    name: str  # of the image, below its folder or list
    file: Path | None  # of the image
    label_file: Path | None
    subset: str | None
    labels: tuple[str, ...] = ()  # that the numbers in its text file stand for


@dataclass
class Layout:
    """The images and text files of a folder."""

    labels: tuple[str, ...] = ()
    entries: list[Entry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # of data.yaml or obj.data
    findings: list[Finding] = field(default_factory=list)
    has_splits: bool = False  # whether data.yaml or obj.data gives the split of each image

    def report(self, rule: str, cases: list[str]) -> None:
        if cases:
            self.findings.append(Finding.of(rule, cases))


def find_layout(source: Path, images_dir: Path | None) -> Layout:
    """Return the images and text files in ``source``, a folder or a data.yaml; ``images_dir`` may hold the images.

    Raises:
        DataError: there is no list of classes, two of them differ, or none of the named images exists.
    """
    configs = find_configs(source)
    layouts = {config.path: _of_config(config, images_dir) for config in configs}
    used = [config for config in configs if layouts[config.path].entries]
    if len(configs) == 1 and not used:
        missing = [example for finding in layouts[configs[0].path].findings for example in finding.examples]
        names = ", ".join(missing) or "it names no folder"
        raise DataError(f"{configs[0].path} names images that do not exist: {names}")
    if not used:
        return _of_class_lists(source, images_dir)
    merged = Layout(config=used[0].values, has_splits=all(layouts[config.path].has_splits for config in used))
    for config in used:
        merged.entries += layouts[config.path].entries
        merged.findings += [*config.findings, *layouts[config.path].findings]
    merged.labels = tuple(dict.fromkeys(label for config in used for label in config.labels))
    merged.entries, in_two_splits = _unique(merged.entries)
    merged.report("image in two splits (kept for test, else for validation)", in_two_splits)
    for config in used if images_dir is None else []:
        merged.report(f"image in no split of {config.path.name} (left out)", _unlisted(config.path, merged.entries))
    return merged


def _of_config(config: Config, images_dir: Path | None) -> Layout:
    """Return the images that ``config`` names; if it names no folder, those in its own folder."""
    locations = _locations(config)
    if not locations:
        layout = Layout()
        _pair(layout, config.path.parent, images_dir, lambda label_file: config.labels)
        return layout
    layout = Layout(has_splits=True)
    missing: list[str] = []
    missing_test: list[str] = []
    is_unsplit = _is_unsplit(config, locations)
    for key, paths in locations.items():
        split = split_of(key)
        if is_unsplit and split == VALIDATION:
            continue
        for location in paths:
            entries = list(_of_location(config, location, None if is_unsplit and split == TRAIN else key, images_dir))
            if not entries and _locate(config, location) is None:
                (missing_test if split == TEST else missing).append(f"{location} ({key} in {config.path.name})")
            layout.entries += entries
    layout.report(f"{MISSING_SPLIT}: {MISSING_RULE}", missing)
    layout.report(f"{MISSING_RULE} (there is no test split)", missing_test)  # Roboflow always names one
    return layout


def _is_unsplit(config: Config, locations: dict[str, list[str]]) -> bool:
    """Return whether training and validation have the same folders."""
    located = {key: [str(_locate(config, path) or path) for path in paths] for key, paths in locations.items()}
    train, validation = ([located[key] for key in locations if split_of(key) == split] for split in (TRAIN, VALIDATION))
    return bool(train) and train == validation


def _locations(config: Config) -> dict[str, list[str]]:
    """Return the folders and lists of images by the key that names them."""
    found: dict[str, list[str]] = {}
    for given, value in config.values.items():
        key = str(given)  # YAML can make a number or a boolean of a key
        is_list = config.is_darknet and key not in DARKNET_KEYS and str(value).endswith(".txt")
        if value and (key.lower() in SPLIT_WORDS or is_list):
            values = value if isinstance(value, list) else [value]
            found[key] = [str(path).replace("\\", "/").removeprefix("./").rstrip("/") for path in values]
    return found


def _locate(config: Config, location: str) -> Path | None:
    """Return the path at ``location``; for a path of another machine, the longest end of it that exists.

    The part that names the split (valid in /content/set/valid/images) must be in that end, so that no other split is
    found.
    """
    for root in config.roots:
        if (exact := root / location).exists():
            return exact
    parts = [part for part in location.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    last = next((index for index, part in enumerate(parts) if split_of(part)), None)
    if last is None:
        last = len(parts) - 1 if len(parts) < len(location.split("/")) else 0
    ends = ("/".join(parts[start:]) for start in range(last + 1))
    return next((found for end in ends for root in config.roots if (found := descendant(root, end))), None)


def _of_location(config: Config, location: str, subset: str | None, images_dir: Path | None) -> Iterator[Entry]:
    """Yield the images of one location: a folder, or a text file that lists them."""
    path = _locate(config, location)
    if path and path.is_file():
        roots = [root for root in (images_dir, *config.roots, path.parent) if root]
        yield from (_of_line(config, roots, line, subset) for line in read_lines(path))
        return
    parts = [part for part in location.split("/") if part not in ("", ".", "..")]
    folder = path or config.roots[-1].joinpath(*parts)  # its images were not exported, but text files may exist
    label_files = LabelFiles.of(label_folder(folder, len(parts)))
    top = images_dir or folder
    for file in files_under(top, *IMAGE_SUFFIXES):
        name = file.relative_to(top).as_posix()
        label_file = label_files.use(name)
        if images_dir is None or label_file:
            yield Entry(readable(without_layout(name)), file, label_file, subset, config.labels)
    for name, unused in label_files.unused():
        yield Entry(readable(name), None, unused, subset, config.labels)


def _of_line(config: Config, roots: list[Path], line: str, subset: str | None) -> Entry:
    """Return the image in a line of a list; CVAT's lines begin with "data/" although there is no such folder."""
    parts = [part for part in line.replace("\\", "/").split("/") if part not in ("", ".", "..") and part[-1:] != ":"]
    last = next((index for index, part in enumerate(parts[:-1]) if split_of(part)), len(parts) - 1)
    ends = ["/".join(parts[start:]) for start in range(last + 1)]
    exact = ((end, path) for end in ends for root in roots if (path := root / end).is_file())
    loose = ((end, hit) for end in ends for root in roots if (hit := descendant(root, end)) and hit.is_file())
    end, file = next(chain(exact, loose), (safe_name(line.replace("\\", "/").removeprefix("./")), None))
    found = (label_file for name in (end, *ends) for root in roots if (label_file := find_label_file(root, name)))
    return Entry(readable(_without_top_folders(end, subset)), file, next(found, None), subset, config.labels)


def _without_top_folders(name: str, subset: str | None) -> str:
    """Return ``name`` without top folders that only describe their content, such as data/obj_train_data."""
    parts = name.split("/")
    split = split_of(subset or "")
    while len(parts) > 1 and (
        parts[0] in ("data", IMAGES) or parts[0].startswith("obj_") or (split and split_of(parts[0]) == split)
    ):
        parts = parts[1:]
    return "/".join(parts)


def _unique(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Return each image once, and the images that are in two splits."""
    kept: dict[object, Entry] = {}
    in_two_splits: list[str] = []
    for entry in entries:
        key = entry.file or entry.label_file or (entry.subset, entry.name)
        known = kept.setdefault(key, entry)
        if known.subset != entry.subset:
            in_two_splits.append(f"{entry.name}: {known.subset} and {entry.subset}")
            kept[key] = min(known, entry, key=lambda each: split_rank(each.subset))
    return list(kept.values()), in_two_splits


def _unlisted(config: Path, entries: list[Entry]) -> list[str]:
    """Return the images in the folder of ``config`` that are not in ``entries``."""
    used = {entry.file.resolve() for entry in entries if entry.file}
    images = files_under(config.parent, *IMAGE_SUFFIXES)
    return [path.relative_to(config.parent).as_posix() for path in images if path.resolve() not in used]


def _of_class_lists(folder: Path, images_dir: Path | None) -> Layout:
    """Return LabelImg's layout: images beside their text files or in ``images_dir``, and lists of classes."""
    lists = ClassLists.of(folder)
    layout = Layout()
    _pair(layout, folder, images_dir, lists.labels_for)
    layout.labels = lists.used_labels()
    return layout


def _pair(layout: Layout, folder: Path, images_dir: Path | None, labels: Callable[[Path], tuple[str, ...]]) -> None:
    """Add the images in ``images_dir`` or ``folder`` with their text files, and text files without an image."""
    inner = descendant(folder, LABELS)
    label_files = LabelFiles.of(inner if images_dir and inner else folder)
    top = images_dir or folder
    for file in files_under(top, *IMAGE_SUFFIXES):
        name = file.relative_to(top).as_posix()
        path = label_files.use(name)
        layout.entries.append(Entry(readable(without_layout(name)), file, path, None, labels(path) if path else ()))
    for name, unused in label_files.unused():
        layout.entries.append(Entry(readable(name), None, unused, None, labels(unused)))
    layout.entries.sort(key=lambda entry: without_image_suffix(entry.name))
    layout.report(
        "text file without an image that is not YOLO (left out)", [path.name for path in label_files.unrelated]
    )
