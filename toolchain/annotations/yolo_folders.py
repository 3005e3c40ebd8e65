"""Where YOLO's pictures and text files are, in the layouts of Ultralytics, Darknet (CVAT) and LabelImg."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolchain.annotations.files import (
    PICTURE_ENDINGS,
    files_under,
    first_inside,
    inside,
    lines_of,
    parse_yaml,
    stem_of,
    tidy,
)
from toolchain.errors import DataError

CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt")


@dataclass(frozen=True)
class Entry:
    """A picture's name below its list's folder, its file if there is one, its text file if there is one."""

    name: str
    file: Path | None
    text: Path | None
    subset: str | None


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    labels: tuple[str, ...]
    entries: list[Entry]
    config: dict[str, Any]  # of data.yaml or obj.data
    strays: list[Path]  # text files of another purpose


def find(folder: Path, pictures: Path | None) -> Found:
    """Return the pictures and text files in ``folder``; ``pictures`` is where the pictures are, if apart.

    Raises:
        DataError: there is no list of classes, or one that is none.
    """
    if yamls := _yamls(folder):
        config = parse_yaml(yamls[0])
        return Found(_names(config, yamls[0]), _ultralytics(yamls[0].parent, config, pictures), config, [])
    if darknet := sorted(folder.glob("*.data")):
        config = _darknet_config(darknet[0])
        return Found(*_darknet(folder, config, pictures), config, [])
    labels, entries, strays = _beside(folder, pictures)
    return Found(labels, entries, {}, strays)


def is_yolo(path: Path) -> bool:
    """Return whether the first lines of the text file ``path`` are YOLO's; an empty file has none that are not."""
    return all(len(words) >= 5 and words[0].lstrip("-").isdigit() for words in map(str.split, lines_of(path)[:5]))


def _yamls(folder: Path) -> list[Path]:
    """Return the files that list classes and folders, data.yaml first."""
    found = [path for ending in ("*.yaml", "*.yml") for path in sorted(folder.glob(ending))]
    return sorted((path for path in found if "names" in parse_yaml(path)), key=lambda path: path.stem != "data")


def _names(config: dict[str, Any], path: Path) -> tuple[str, ...]:
    names = config["names"]
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(
                f"{path}: the keys of names are {sorted(map(str, names))[:8]}, not 0, 1, 2, ... without a gap"
            )
        names = [names[position] for position in sorted(names)]
    if not isinstance(names, list):
        raise DataError(f"{path}: names is a {type(names).__name__}; give a list")
    return tuple(str(name) for name in names)


def _ultralytics(base: Path, config: dict[str, Any], pictures: Path | None) -> list[Entry]:
    root = base / str(config.get("path") or ".")
    root = root if root.is_dir() else base  # "path" is often that of another machine
    places = {key: config.get(key) for key in ("train", "val", "test") if config.get(key)}
    merged = places.get("train") == places.get("val")  # one folder for both: not split
    entries: list[Entry] = []
    for key, given in places.items():
        if merged and key == "val":
            continue
        subset = None if merged and key == "train" else key
        for place in given if isinstance(given, list) else [given]:
            entries += _listed_folder(root, base, str(place), subset, pictures)
    return entries


def _listed_folder(root: Path, base: Path, place: str, subset: str | None, pictures: Path | None) -> list[Entry]:
    """Return the pictures of one place of data.yaml: a folder, or a text file that lists them."""
    relative = place.removeprefix("./").removeprefix("../")  # Roboflow writes ../train/images for what is beside
    path = next((p for p in (root / place, base / place, root / relative, base / relative) if p.exists()), None)
    if path is None:
        path = root / relative  # pictures that were not exported; their text files may be there
    if path.is_file():
        names = [line.removeprefix("./") for line in lines_of(path)]
        return [_entry_of_list(root, path.parent, name, subset, pictures) for name in names]
    labels = _labels_folder(path)
    texts = (
        {file.relative_to(labels).with_suffix(""): file for file in files_under(labels, ".txt")}
        if labels.is_dir()
        else {}
    )
    where = pictures or path
    files = files_under(where, *PICTURE_ENDINGS) if where.is_dir() else []
    found = {file.relative_to(where).with_suffix("") for file in files}
    entries = [
        Entry(file.relative_to(where).as_posix(), file, texts.get(file.relative_to(where).with_suffix("")), subset)
        for file in files
        if pictures is None or file.relative_to(where).with_suffix("") in texts
    ]
    return entries + [Entry(str(stem), None, texts[stem], subset) for stem in sorted(texts) if stem not in found]


def _labels_folder(path: Path) -> Path:
    """Return ``path`` with its last part "images" as "labels"."""
    parts = list(path.parts)
    for position in range(len(parts) - 1, -1, -1):
        if parts[position] == "images":
            return Path(*parts[:position], "labels", *parts[position + 1 :])
    return path


def _entry_of_list(root: Path, base: Path, name: str, subset: str | None, pictures: Path | None) -> Entry:
    """Return the picture that is listed as ``name``, which CVAT begins with "data/" though there is no such folder."""
    if tidy(name) != name:  # absolute, often of another machine: what is below "images" can be here too
        name = tidy(f"images/{name.rpartition('/images/')[2]}" if "/images/" in name else name)
    places = [place for place in (pictures, root, base) if place]
    names = [name, name.removeprefix("data/")]
    file = next((found for each in names if (found := first_inside(places, each))), None)
    labels = [_labels_folder(root / each) for each in names]
    texts = [path.with_name(f"{stem_of(path.name)}.txt") for path in labels]
    shown = names[1].partition("images/")[2] or names[1]
    return Entry(shown.removeprefix(f"{subset}/"), file, next((text for text in texts if text.is_file()), None), subset)


def _darknet_config(path: Path) -> dict[str, Any]:
    pairs = (line.split("=", 1) for line in lines_of(path) if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _darknet(folder: Path, config: dict[str, Any], pictures: Path | None) -> tuple[tuple[str, ...], list[Entry]]:
    """Return labels and pictures of obj.data; its paths begin with "data/", which is ``folder`` itself."""
    names = _darknet_file(folder, config.get("names", "obj.names"))
    if names is None:
        raise DataError(f"{folder}: its .data file names no list of labels that is there; add obj.names")
    entries = []
    for key, given in config.items():
        if key in ("classes", "names", "backup", "task"):
            continue
        listed = _darknet_file(folder, given)
        for line in lines_of(listed) if listed else []:
            name = line.removeprefix("data/")
            file = first_inside([place for place in (folder, pictures) if place], name) or (
                first_inside([pictures], name.partition("/")[2]) if pictures else None
            )
            text = inside(folder, f"{stem_of(name)}.txt")
            shown = name.partition("/")[2] if name.startswith("obj_") else name
            entries.append(Entry(tidy(shown or name), file, text, key))
    return tuple(lines_of(names)), entries


def _darknet_file(folder: Path, given: str) -> Path | None:
    return inside(folder, given.removeprefix("data/")) or inside(folder, given)


def _beside(folder: Path, pictures: Path | None) -> tuple[tuple[str, ...], list[Entry], list[Path]]:
    """Return labels, pictures and texts of another purpose in LabelImg's layout, pictures beside or apart."""
    listed = first_inside([folder, folder / "labels"], CLASS_LISTS[0]) or next(
        (path for name in CLASS_LISTS for path in files_under(folder, ".txt", ".names") if path.name == name), None
    )
    if listed is None:
        raise DataError(f"{folder} has no list of classes for its YOLO lines; add data.yaml, or classes.txt")
    root = folder / "labels" if (folder / "labels").is_dir() else folder
    texts = {p.relative_to(root).with_suffix(""): p for p in files_under(root, ".txt") if p.name not in CLASS_LISTS}
    where = pictures or (folder / "images" if (folder / "images").is_dir() else folder)
    files = {path.relative_to(where).with_suffix(""): path for path in files_under(where, *PICTURE_ENDINGS)}
    strays = [path for stem, path in texts.items() if stem not in files and not is_yolo(path)]
    texts = {stem: path for stem, path in texts.items() if path not in strays}
    entries = []
    for stem in sorted(texts.keys() | files.keys()):
        file = files.get(stem)
        entries.append(Entry(file.relative_to(where).as_posix() if file else str(stem), file, texts.get(stem), None))
    return tuple(lines_of(listed)), entries, strays
