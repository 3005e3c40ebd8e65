"""YOLO: one text file a picture, one line an object, in fractions of the picture; three layouts of folders.

Ultralytics': data.yaml names the folders of pictures of each split, and "images" in a path becomes "labels".
Darknet's, which CVAT exports as "YOLO 1.1": obj.data, obj.names, and lists of pictures. LabelImg's: classes.txt
beside the text files. A line is ``class x y width height``, or ``class x0 y0 x1 y1 ...`` for an outline, or with four
corners for an oriented box. Nine numbers can be either: data.yaml's ``task`` decides, else whether all lines have 5 or
9.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from toolchain import split_names
from toolchain.annotations import geometry, masks
from toolchain.annotations.files import lines_of, number, real_size, stem_of
from toolchain.annotations.model import (
    KEYPOINTS,
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
from toolchain.annotations.shapes import NOWHERE, marked, numbers
from toolchain.annotations.splits import with_splits
from toolchain.annotations.yolo_folders import Entry, find
from toolchain.annotations.yolo_points import POINT_KEYS, Points, keypoints_of, named_points, numbers_of_a_point
from toolchain.artifacts.dataset import UNSPLIT
from toolchain.errors import DataError
from toolchain.image_files import is_image

DETECT, SEGMENT, OBB, POSE = "detect", "segment", "obb", "pose"
TASKS = (DETECT, SEGMENT, OBB, POSE)
SUBSETS = {"validation": "val"}
EXACT = 1e-8  # of the larger side: corners that differ by more from the box made of them are kept beside it


def read(source: Path, pictures: Path | None = None, task: str = "") -> Collection:
    """Return the annotations in ``source``, which has one of the three layouts.

    Args:
        source: A folder with data.yaml, obj.data, or lists of classes beside the text files; or a data.yaml itself.
        pictures: Where the pictures are, if apart.
        task: "detect", "segment", "obb" or "pose"; "": as data.yaml or the lines say.
    """
    folders = find(source, pictures)
    entries, config = folders.entries, folders.config
    _check_texts(source, entries)
    found = task or (POSE if "kpt_shape" in config else str(config.get("task") or "")) or _task(entries)
    if found not in TASKS:
        raise DataError(f"{source}: task {found!r} is not known; it is one of {', '.join(TASKS)}")

    point_numbers = numbers_of_a_point(config.get("kpt_shape"))

    def each() -> Iterator[Picture]:
        for entry in entries:
            yield _picture(entry, found, point_numbers)

    extra = {k: v for k, v in config.items() if k not in ("path", "names", "nc", "task", *split_names.WORDS)}
    collection = Collection(
        format="yolo",
        labels=folders.labels,
        pictures=each,
        about={"task": found, **clean(**{YOLO: extra, KEYPOINTS: named_points(config, folders.labels)})},
        findings=(*_findings(entries), *folders.findings),
    )
    return collection if folders.has_splits else with_splits(collection, source, pictures)


def write(folder: Path, collection: Collection, pictures: Iterator[Picture], task: str) -> None:
    """Write ``pictures`` to ``folder`` in Ultralytics' layout, for ``task``; their files are not copied."""
    import yaml

    positions = {label: position for position, label in enumerate(collection.labels)}
    points = Points.of(collection) if task == POSE else None
    subsets = set()
    for picture in pictures:
        subset = SUBSETS.get(picture.split, picture.split)
        subsets.add(subset)
        target = folder / "labels" / subset / f"{stem_of(picture.name)}.txt"
        target.parent.mkdir(parents=True, exist_ok=True)
        lines = [line_of(thing, picture, positions, task, points) for thing in picture.things]
        target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    known: dict[str, Any] = {name: f"images/{name}" for name in ("train", "val", "test") if name in subsets}
    if not known:  # not split yet: Ultralytics insists on both
        known = {"train": "images/all", "val": "images/all"}
    elif UNSPLIT in subsets:
        known["train"] = [*([known["train"]] if "train" in known else []), "images/all"]
    names: dict[int, str] = dict(enumerate(collection.labels))
    said = of_format(collection.about, YOLO)
    said = said | points.config(collection) if points else {k: v for k, v in said.items() if k not in POINT_KEYS}
    value: dict[str, Any] = {"path": ".", **known, "names": names, "task": task, **said}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
    (folder / "data.yaml").write_text(text, encoding="utf-8")


def place(picture: Picture) -> str:
    """Return where, below the target, the file of ``picture`` goes."""
    return f"images/{SUBSETS.get(picture.split, picture.split)}/{picture.name}"


def task_of(pictures: Iterator[Picture]) -> str:
    """Return the task that holds most of ``pictures``: "obb" with an oriented box, "segment" with any outline."""
    found = DETECT
    for picture in pictures:
        for thing in picture.things:
            if thing.rotation:
                return OBB
            if marked(thing.keypoints):
                return POSE
            found = SEGMENT if thing.polygons or thing.mask else found
    return found


def line_of(thing: Thing, picture: Picture, positions: dict[str, int], task: str, points: Points | None = None) -> str:
    """Return the line of ``thing`` in ``picture`` for ``task``, with its key points where ``points`` says their form.

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
        known = len(given) == 8 and _near(computed, given, geometry.CORNER_TOLERANCE * max(width, height))
        values = _scaled(given if known else computed, 1 / width, 1 / height)
    elif task == SEGMENT:
        outlines = thing.polygons or (masks.outlines(thing.mask, width, height) if thing.mask else ())
        outline = joined(outlines) if outlines else geometry.corners(thing)
        values = _scaled(outline, 1 / width, 1 / height)
    else:
        middle = ((left + right) / 2 / width, (top + bottom) / 2 / height)
        values = (*middle, (right - left) / width, (bottom - top) / height)
        values = (*values, *points.numbers(thing, width, height)) if points else values
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


def _check_texts(source: Path, entries: list[Entry]) -> None:
    """Raise DataError when no image at all has a text file: they are somewhere else then, for a model needs some."""
    images = [entry for entry in entries if entry.file]
    if images and all(entry.text is None for entry in entries):
        raise DataError(
            f"{source}: none of its {len(images):,} images has a text file, {images[0].name} neither; put the text "
            f"files into a folder labels beside images, or beside the images"
        )


def _findings(entries: list[Entry]) -> Iterator[Finding]:
    """Yield what looks as if something were missing."""
    bare = [entry.name for entry in entries if entry.text is None]
    if bare:
        rule = "picture without a text file (taken as empty)"
        yield Finding(rule=rule, count=len(bare), examples=tuple(bare[:5]))
    subsets = {entry.subset or UNSPLIT for entry in entries} - {e.subset or UNSPLIT for e in entries if e.text}
    if subsets:
        rule = "split of which no picture has a text file (taken as empty)"
        yield Finding(rule=rule, count=len(subsets), examples=tuple(sorted(subsets)))


def _task(entries: list[Entry]) -> str:
    """Return the task that the lines show by how many numbers they have."""
    counts: set[int] = set()
    for entry in entries:
        counts |= {len(line.split()) for line in lines_of(entry.text)} if entry.text else set()
    if counts <= {5, 6}:  # the sixth is a prediction's score; an outline has an odd number
        return DETECT
    return OBB if counts <= {5, 9} else SEGMENT


def _picture(entry: Entry, task: str, point_numbers: int) -> Picture:
    width, height = _size(entry.file)
    lines = lines_of(entry.text) if entry.text else []
    things = tuple(
        _thing(line, (width, height), entry.labels, task, point_numbers, f"{entry.text}, line {n}")
        for n, line in enumerate(lines, 1)
    )
    subset = entry.subset
    about = {} if subset in (None, "val", "valid") else with_subset(subset)
    return Picture(
        name=entry.name, file=entry.file, width=width, height=height, split=split_of(subset), things=things, about=about
    )


def _size(file: Path | None) -> tuple[int, int]:
    """Return the size of the picture ``file``; 0 when there is none or it is no picture, which a check tells of."""
    if file is None or not is_image(file):
        return 0, 0
    try:
        return real_size(file)
    except DataError:
        return 0, 0


def _thing(
    line: str, size: tuple[int, int], labels: tuple[str, ...], task: str, point_numbers: int, where: str
) -> Thing:
    words = line.split()
    label = _label(words[0], labels)
    try:
        return _of_numbers(label, numbers(words[1:], "a number"), size, task, point_numbers)
    except DataError as error:
        return Thing(label=label, box=NOWHERE, broken=f"{where}: {error}")


def _label(word: str, labels: tuple[str, ...]) -> str:
    """Return the label that the number ``word`` stands for; numpy.savetxt writes it as 0.00e+00."""
    try:
        index = number(word, "a class")
    except DataError:
        return f"{UNKNOWN_CLASS}{word}"
    return labels[int(index)] if index == int(index) and 0 <= index < len(labels) else f"{UNKNOWN_CLASS}{word}"


def _of_numbers(label: str, values: Outline, size: tuple[int, int], task: str, point_numbers: int) -> Thing:
    if task == POSE and len(values) >= 4:
        return replace(_box(label, values[:4], size, {}), keypoints=keypoints_of(values[4:], size, point_numbers))
    if len(values) == 4:
        return _box(label, values, size, {})
    if len(values) == 5 and task == DETECT:  # a prediction: the last is its score
        return _box(label, values[:4], size, {"score": values[4]})
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{len(values) + 1} numbers; a box has 5, an outline 7 or more, always an odd number")
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
    found = geometry.oriented_box(points, geometry.CORNER_TOLERANCE * max(larger, 1))
    if not found:
        return None
    thing = Thing(label=label, box=found[0], rotation=found[1])
    exact = _near(corners(thing), points, EXACT * max(larger, 1))
    return thing if exact else replace(thing, attributes={YOLO: {"corners": list(points)}})


def _near(one: Outline, other: Outline, most: float) -> bool:
    """Return whether no number of ``one`` is further than ``most`` from that of ``other``."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= most


def _scaled(values: Outline, x: float, y: float) -> Outline:
    return tuple(value * (y if position % 2 else x) for position, value in enumerate(values))
