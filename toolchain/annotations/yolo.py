"""YOLO: one text file a picture, one line an object, in fractions of the picture; three layouts of folders.

Ultralytics': data.yaml names the folders of pictures of each split, and "images" in a path becomes "labels".
Darknet's, which CVAT exports as "YOLO 1.1": obj.data, obj.names, and lists of pictures. LabelImg's: classes.txt
beside the text files. A line is ``class x y width height``, or ``class x0 y0 x1 y1 ...`` for an outline, or with four
corners for an oriented box. Nine numbers can be either: data.yaml's ``task`` decides, else whether all lines have 5 or
9.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from toolchain.annotations import geometry
from toolchain.annotations.files import (
    PICTURE_ENDINGS,
    files_under,
    first_inside,
    inside,
    is_picture,
    lines_of,
    number,
    parse_yaml,
    real_size,
    stem_of,
)
from toolchain.annotations.model import (
    UNKNOWN_CLASS,
    YOLO,
    Collection,
    Finding,
    Outline,
    Picture,
    Thing,
    clean,
    envelope,
    of_format,
    split_of,
    with_subset,
)
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError

DETECT, SEGMENT, OBB, POSE = "detect", "segment", "obb", "pose"
TASKS = (DETECT, SEGMENT, OBB, POSE)
CLASS_LISTS = ("classes.txt", "obj.names", "predefined_classes.txt")
SUBSETS = {"validation": "val"}
EXACT = 1e-8  # of the larger side: corners that differ by more from the box made of them are kept beside it
CORNER_TOLERANCE = 1e-5  # of the picture's larger side: four corners that are a rectangle up to six written decimals


@dataclass(frozen=True)
class _Entry:
    """A picture's name below its list's folder, its file if there is one, its text file if there is one."""

    name: str
    file: Path | None
    text: Path | None
    subset: str | None


def read(folder: Path, pictures: Path | None = None, task: str = "") -> Collection:
    """Return the annotations in ``folder``, which has one of the three layouts.

    Args:
        folder: With data.yaml, obj.data, or a list of classes beside the text files.
        pictures: Where the pictures are, if apart.
        task: "detect", "segment", "obb" or "pose"; "": as data.yaml or the lines say.
    """
    strays: list[Path] = []
    if yamls := _yamls(folder):
        config = parse_yaml(yamls[0])
        labels, entries = _names(config, yamls[0]), _ultralytics(yamls[0].parent, config, pictures)
    elif darknet := sorted(folder.glob("*.data")):
        config = _darknet_config(darknet[0])
        labels, entries = _darknet(folder, config, pictures)
    else:
        config = {}
        labels, entries, strays = _beside(folder, pictures)
    found = task or (POSE if "kpt_shape" in config else str(config.get("task") or "")) or _task(entries)
    if found not in TASKS:
        raise DataError(f"{folder}: task {found!r} is not known; it is one of {', '.join(TASKS)}")

    def each() -> Iterator[Picture]:
        for entry in entries:
            yield _picture(entry, labels, found)

    extra = {k: v for k, v in config.items() if k not in ("path", "train", "val", "test", "names", "nc", "task")}
    about = {"task": found, **clean(**{YOLO: extra})}
    return Collection(
        format="yolo", labels=labels, pictures=each, about=about, findings=tuple(_findings(entries, strays))
    )


def write(folder: Path, collection: Collection, pictures: Iterator[Picture], task: str) -> None:
    """Write ``pictures`` to ``folder`` in Ultralytics' layout, for ``task``; their files are not copied."""
    import yaml

    positions = {label: position for position, label in enumerate(collection.labels)}
    subsets = set()
    for picture in pictures:
        subset = SUBSETS.get(picture.split, picture.split)
        subsets.add(subset)
        target = folder / "labels" / subset / f"{stem_of(picture.name)}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = [line_of(thing, picture, positions, task) for thing in picture.things]
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    known: dict[str, Any] = {name: f"images/{name}" for name in ("train", "val", "test") if name in subsets}
    if not known:  # not split yet: Ultralytics insists on both
        known = {"train": "images/all", "val": "images/all"}
    elif UNSPLIT in subsets:
        known["train"] = [*([known["train"]] if "train" in known else []), "images/all"]
    names: dict[int, str] = dict(enumerate(collection.labels))
    value: dict[str, Any] = {"path": ".", **known, "names": names, "task": task, **of_format(collection.about, YOLO)}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    return f"images/{SUBSETS.get(picture.split, picture.split)}/{picture.name}"


def task_of(pictures: Iterator[Picture]) -> str:
    """Return the task that holds most of ``pictures``: "obb" with any oriented box, "segment" with any outline."""
    found = DETECT
    for picture in pictures:
        for thing in picture.things:
            if thing.rotation:
                return OBB
            if of_format(thing.attributes, YOLO).get("keypoints"):
                return POSE
            found = SEGMENT if thing.polygons else found
    return found


def line_of(thing: Thing, picture: Picture, positions: dict[str, int], task: str) -> str:
    """Return the line of ``thing`` in ``picture`` for ``task``.

    Raises:
        DataError: its label has no position, or the picture's size is not known.
    """
    width, height = picture.width, picture.height
    if thing.label not in positions:
        raise DataError(f"{picture.name}: label {thing.label!r} is not in the list of labels")
    if not (width and height):
        raise DataError(f"{picture.name}: its size is not known, and YOLO's lines are fractions of it")
    left, top, right, bottom = geometry.covered(thing)
    if task == OBB:
        computed, given = corners(thing), tuple(of_format(thing.attributes, YOLO).get("corners", ()))
        known = len(given) == 8 and _near(computed, given, CORNER_TOLERANCE * max(width, height))
        values = _scaled(given if known else computed, 1 / width, 1 / height)
    elif task == SEGMENT:
        outline = joined(thing.polygons) if thing.polygons else geometry.corners(thing)
        values = _scaled(outline, 1 / width, 1 / height)
    else:
        middle = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        values = (*middle, (right - left) / width, (bottom - top) / height)
        values = (*values, *of_format(thing.attributes, YOLO).get("keypoints", [])) if task == POSE else values
    return " ".join([str(positions[thing.label]), *(f"{value:.12g}" for value in values)])


def corners(thing: Thing) -> Outline:
    """Return the four corners of ``thing``, clockwise from the left upper one of the box before its rotation."""
    if len(thing.polygons) == 1 and len(thing.polygons[0]) == 8 and not thing.rotation:
        return thing.polygons[0]  # a quadrangle that is no rectangle
    return geometry.corners(thing)


def joined(outlines: tuple[Outline, ...]) -> Outline:
    """Return ``outlines`` as one, joined by bridges of no width, as Ultralytics joins COCO's."""
    first = outlines[0]
    whole = first
    for outline in outlines[1:]:
        whole = (*whole, *first[:2], *outline, *outline[:2])
    return (*whole, *first[:2]) if len(outlines) > 1 else whole


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


def _ultralytics(base: Path, config: dict[str, Any], pictures: Path | None) -> list[_Entry]:
    root = base / str(config.get("path") or ".")
    root = root if root.is_dir() else base  # "path" is often that of another machine
    places = {key: config.get(key) for key in ("train", "val", "test") if config.get(key)}
    merged = places.get("train") == places.get("val")  # one folder for both: not split
    entries: list[_Entry] = []
    for key, given in places.items():
        if merged and key == "val":
            continue
        subset = None if merged and key == "train" else key
        for place in given if isinstance(given, list) else [given]:
            entries += _listed_folder(root, base, str(place), subset, pictures)
    return entries


def _listed_folder(root: Path, base: Path, place: str, subset: str | None, pictures: Path | None) -> list[_Entry]:
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
        _Entry(file.relative_to(where).as_posix(), file, texts.get(file.relative_to(where).with_suffix("")), subset)
        for file in files
        if pictures is None or file.relative_to(where).with_suffix("") in texts
    ]
    return entries + [_Entry(str(stem), None, texts[stem], subset) for stem in sorted(texts) if stem not in found]


def _labels_folder(path: Path) -> Path:
    """Return ``path`` with its last part "images" as "labels"."""
    parts = list(path.parts)
    for position in range(len(parts) - 1, -1, -1):
        if parts[position] == "images":
            return Path(*parts[:position], "labels", *parts[position + 1 :])
    return path


def _entry_of_list(root: Path, base: Path, name: str, subset: str | None, pictures: Path | None) -> _Entry:
    """Return the picture that is listed as ``name``, which CVAT begins with "data/" though there is no such folder."""
    places = [place for place in (pictures, root, base) if place]
    names = [name, name.removeprefix("data/")]
    file = next((found for each in names if (found := first_inside(places, each))), None)
    labels = [_labels_folder(root / each) for each in names]
    texts = [path.with_name(f"{stem_of(path.name)}.txt") for path in labels]
    shown = names[1].partition("images/")[2] or names[1]
    return _Entry(
        shown.removeprefix(f"{subset}/"), file, next((text for text in texts if text.is_file()), None), subset
    )


def _darknet_config(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in lines_of(path) if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _darknet(folder: Path, config: dict[str, str], pictures: Path | None) -> tuple[tuple[str, ...], list[_Entry]]:
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
            entries.append(_Entry(shown or name, file, text, key))
    return tuple(lines_of(names)), entries


def _darknet_file(folder: Path, given: str) -> Path | None:
    return inside(folder, given.removeprefix("data/")) or inside(folder, given)


def _findings(entries: list[_Entry], strays: list[Path]) -> Iterator[Finding]:
    """Yield what looks as if something were missing."""
    bare = [entry.name for entry in entries if entry.text is None]
    for rule, names in (
        ("picture without a text file (taken as empty)", bare),
        ("text file that has no picture and is no YOLO (left out)", [path.name for path in strays]),
    ):
        if names:
            yield Finding(rule=rule, count=len(names), examples=tuple(names[:5]))


def is_yolo(path: Path) -> bool:
    """Return whether the first lines of the text file ``path`` are YOLO's; an empty file has none that are not."""
    return all(len(words) >= 5 and words[0].lstrip("-").isdigit() for words in map(str.split, lines_of(path)[:5]))


def _beside(folder: Path, pictures: Path | None) -> tuple[tuple[str, ...], list[_Entry], list[Path]]:
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
        entries.append(_Entry(file.relative_to(where).as_posix() if file else str(stem), file, texts.get(stem), None))
    return tuple(lines_of(listed)), entries, strays


def _task(entries: list[_Entry]) -> str:
    """Return the task that the lines show by how many numbers they have."""
    counts: set[int] = set()
    for entry in entries:
        counts |= {len(line.split()) for line in lines_of(entry.text)} if entry.text else set()
    if counts <= {5}:
        return DETECT
    return OBB if counts <= {5, 9} else SEGMENT


def _picture(entry: _Entry, labels: tuple[str, ...], task: str) -> Picture:
    width, height = _size(entry.file)
    lines = lines_of(entry.text) if entry.text else []
    things = tuple(
        _thing(line, (width, height), labels, task, f"{entry.text}, line {n}") for n, line in enumerate(lines, 1)
    )
    subset = entry.subset
    about = {} if subset in (None, "val", "valid") else with_subset(subset)
    return Picture(
        name=entry.name, file=entry.file, width=width, height=height, split=split_of(subset), things=things, about=about
    )


def _size(file: Path | None) -> tuple[int, int]:
    """Return the size of the picture ``file``; 0 when there is none or it is no picture, which a check tells of."""
    if file is None or not is_picture(file):
        return 0, 0
    try:
        return real_size(file)
    except DataError:
        return 0, 0


def _thing(line: str, size: tuple[int, int], labels: tuple[str, ...], task: str, where: str) -> Thing:
    words = line.split()
    index = number(words[0], where)
    label = labels[int(index)] if index == int(index) and 0 <= index < len(labels) else f"{UNKNOWN_CLASS}{words[0]}"
    values = tuple(number(word, where) for word in words[1:])
    if task == POSE and len(values) >= 4:
        return _box(label, values[:4], size, clean(keypoints=list(values[4:])))
    if len(values) == 4:
        return _box(label, values, size, {})
    if len(values) == 5 and task == DETECT:  # a prediction: the last is its score
        return _box(label, values[:4], size, {"score": values[4]})
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{where}: {len(words)} numbers; a box has 5, an outline 7 or more, always an odd number")
    points = _scaled(values, *size)
    if task == OBB and len(values) == 8 and (oriented := _oriented(label, points, max(size))):
        return oriented
    return Thing(label=label, box=envelope((points,)), polygons=(points,))


def _box(label: str, values: Outline, size: tuple[int, int], said: dict[str, Any]) -> Thing:
    x, y, width, height = _scaled(values, *size)
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Thing(label=label, box=box, attributes=clean(**{YOLO: said}))


def _oriented(label: str, points: Outline, larger: int) -> Thing | None:
    """Return the oriented box with corners ``points``; None when they are no rectangle, or run the other way round."""
    x, y = sum(points[0::2]) / 4, sum(points[1::2]) / 4
    across, down = (points[2] - points[0], points[3] - points[1]), (points[4] - points[2], points[5] - points[3])
    width, height = math.hypot(*across), math.hypot(*down)
    angle = math.degrees(math.atan2(across[1], across[0]))
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    thing = Thing(label=label, box=box, rotation=angle)
    if not _near(corners(thing), points, CORNER_TOLERANCE * max(larger, 1)):
        return None
    exact = _near(corners(thing), points, EXACT * max(larger, 1))
    return thing if exact else replace(thing, attributes={YOLO: {"corners": list(points)}})


def _near(one: Outline, other: Outline, most: float) -> bool:
    """Return whether no number of ``one`` is further than ``most`` from that of ``other``."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


def _scaled(values: Outline, x: float, y: float) -> Outline:
    return tuple(value * (y if position % 2 else x) for position, value in enumerate(values))
