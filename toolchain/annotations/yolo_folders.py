"""Where YOLO's images and text files are, in the layouts of Ultralytics, Darknet (CVAT) and LabelImg."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from toolchain.annotations.files import lines_of, stem_of, tidy
from toolchain.annotations.model import Finding
from toolchain.annotations.yolo_classes import ClassLists, Config, configs_of
from toolchain.annotations.yolo_texts import IMAGES, LABELS, Texts, folder_of_texts, without_layout
from toolchain.errors import DataError
from toolchain.image_files import IMAGE_ENDINGS, descendant, files_under, readable
from toolchain.split_names import SPLITS, TEST, TRAIN, VALIDATION, WORDS, split_of

MISSING = "missing_split"  # begins the rule of the finding that a named folder or list is not there
GONE = "folder or list of images that is named and is not there"
NO_LISTS = ("classes", "names", "backup", "task", "eval", "results", "top", "map")  # keys of obj.data without images
FIRST = (TEST, VALIDATION, TRAIN)  # of two splits of one image: it is not learned from if it is measured on
SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """An image's name below its list's folder, its file if there is one, its text file if there is one."""

    name: str
    file: Path | None
    text: Path | None
    subset: str | None
    labels: tuple[str, ...] = ()  # that the numbers in its text stand for


@dataclass
class Found:
    """What a folder holds."""

    labels: tuple[str, ...] = ()
    entries: list[Entry] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)  # of data.yaml or obj.data
    findings: list[Finding] = field(default_factory=list)
    has_splits: bool = False  # whether data.yaml or obj.data says which split an image is in

    def note(self, rule: str, examples: list[str]) -> None:
        if examples:
            self.findings.append(Finding(rule=rule, count=len(examples), examples=tuple(examples[:SHOWN])))


def find(source: Path, apart: Path | None) -> Found:
    """Return the images and texts in ``source``, a folder or a data.yaml; ``apart`` is where the images are, if so.

    Raises:
        DataError: there is no list of classes, two of them differ, or none of the images that are named exists.
    """
    configs = configs_of(source)
    read = {config.path: _of_config(config, apart) for config in configs}
    used = [config for config in configs if read[config.path].entries]
    if len(configs) == 1 and not used:
        gone = [example for finding in read[configs[0].path].findings for example in finding.examples]
        raise DataError(f"{configs[0].path} names images that do not exist: {', '.join(gone) or 'it names no folder'}")
    if not used:
        return _beside(source, apart)
    found = Found(config=used[0].values, has_splits=all(read[config.path].has_splits for config in used))
    for config in used:
        found.entries += read[config.path].entries
        found.findings += [*config.findings, *read[config.path].findings]
    found.labels = tuple(dict.fromkeys(label for config in used for label in config.labels))
    found.entries, both = _once(found.entries)
    found.note("image in two splits (kept for the test, else for validation)", both)
    for config in used if apart is None else []:
        found.note(f"image in no split of {config.path.name} (left out)", _unnamed(config.path, found.entries))
    return found


def _of_config(config: Config, apart: Path | None) -> Found:
    """Return the images that ``config`` names; where it names no folder, those in the folders around it."""
    given = _locations(config)
    if not given:
        return _around(config, apart)
    found = Found(has_splits=True)
    missing: dict[bool, list[str]] = {True: [], False: []}  # by whether it is for a test
    located = {
        key: [str(_located(config, location) or location) for location in locations] for key, locations in given.items()
    }
    train, validation = ([located[key] for key in given if split_of(key) == split] for split in (TRAIN, VALIDATION))
    merged = bool(train) and train == validation  # one folder for both: not split
    for key, locations in given.items():
        if merged and split_of(key) == VALIDATION:
            continue
        for location in locations:
            entries = list(_of_location(config, location, None if merged and split_of(key) == TRAIN else key, apart))
            if not entries and _located(config, location) is None:
                missing[split_of(key) == TEST].append(f"{location} ({key} in {config.path.name})")
            found.entries += entries
    found.note(f"{MISSING}: {GONE}", missing[False])
    found.note(f"{GONE} (there is no test then)", missing[True])  # Roboflow names one whether there is one or not
    return found


def _locations(config: Config) -> dict[str, list[str]]:
    """Return the folders and lists of images by the key that names them."""
    found: dict[str, list[str]] = {}
    for given, value in config.values.items():
        key = str(given)  # YAML can make a number or a truth of a key
        is_named = key.lower() in WORDS or (config.is_darknet and key not in NO_LISTS and str(value).endswith(".txt"))
        if is_named and value:
            values = value if isinstance(value, list) else [value]
            found[key] = [str(each).replace("\\", "/").removeprefix("./").rstrip("/") for each in values]
    return found


def _located(config: Config, location: str) -> Path | None:
    """Return the path at ``location``; for a path of another machine, that at the longest end of it that exists.

    What says the split (valid in /content/set/valid/images) must be in that end, for another split is not meant.
    """
    for root in config.roots:
        if (exact := root / location).exists():
            return exact
    parts = [part for part in location.split("/") if part not in ("", ".", "..") and not part.endswith(":")]
    last = next((number for number, part in enumerate(parts) if split_of(part)), None)
    if last is None:
        last = len(parts) - 1 if len(parts) < len(location.split("/")) else 0
    ends = ("/".join(parts[start:]) for start in range(last + 1))
    return next((found for end in ends for root in config.roots if (found := descendant(root, end))), None)


def _of_location(config: Config, location: str, subset: str | None, apart: Path | None) -> Iterator[Entry]:
    """Yield the images of one location: a folder, or a text file that lists them."""
    path = _located(config, location)
    if path and path.is_file():
        roots = [root for root in (apart, *config.roots, path.parent) if root]
        yield from (_of_line(config, roots, line, subset) for line in lines_of(path))
        return
    parts = [part for part in location.split("/") if part not in ("", ".", "..")]
    folder = path or config.roots[-1].joinpath(*parts)  # images that were not exported; their text files may be there
    texts = Texts.of(folder_of_texts(folder, len(parts)))
    where = apart or folder
    for file in files_under(where, *IMAGE_ENDINGS):
        name = file.relative_to(where).as_posix()
        text = texts.take(name)
        if apart is None or text:
            yield Entry(readable(without_layout(name)), file, text, subset, config.labels)
    for name, text in texts.rest():
        yield Entry(readable(name), None, text, subset, config.labels)


def _of_line(config: Config, roots: list[Path], line: str, subset: str | None) -> Entry:
    """Return the image in a line of a list; CVAT begins it with "data/" though there is no such folder."""
    parts = [part for part in line.replace("\\", "/").split("/") if part not in ("", ".", "..") and part[-1:] != ":"]
    last = next((number for number, part in enumerate(parts[:-1]) if split_of(part)), len(parts) - 1)
    ends = ["/".join(parts[start:]) for start in range(last + 1)]
    exact = ((end, path) for end in ends for root in roots if (path := root / end).is_file())
    loose = ((end, hit) for end in ends for root in roots if (hit := descendant(root, end)) and hit.is_file())
    end, file = next(chain(exact, loose), (tidy(line.replace("\\", "/").removeprefix("./")), None))
    texts = (text for each in (end, *ends) for root in roots if (text := Texts.beside(root, each)))
    return Entry(readable(_shown(end, subset)), file, next(texts, None), subset, config.labels)


def _shown(name: str, subset: str | None) -> str:
    """Return ``name`` without the folders at its begin that only say what is in them, such as data/obj_train_data."""
    parts = name.split("/")
    split = split_of(subset or "")
    while len(parts) > 1 and (parts[0] in ("data", IMAGES) or parts[0].startswith("obj_") or _means(parts[0], split)):
        parts = parts[1:]
    return "/".join(parts)


def _means(folder: str, split: str | None) -> bool:
    return split is not None and split_of(folder) == split


def _once(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    """Return each image once, and the names of those in two splits."""
    kept: dict[object, Entry] = {}
    both: list[str] = []
    for entry in entries:
        key = entry.file or entry.text or (entry.subset, entry.name)
        known = kept.setdefault(key, entry)
        if known.subset != entry.subset:
            both.append(f"{entry.name}: {known.subset} and {entry.subset}")
            ranks = {split: rank for rank, split in enumerate(FIRST)}
            rank = {each: ranks.get(split_of(each or "") or "", len(SPLITS)) for each in (known.subset, entry.subset)}
            kept[key] = min(known, entry, key=lambda each: rank[each.subset])
    return list(kept.values()), both


def _unnamed(config: Path, entries: list[Entry]) -> list[str]:
    used = {entry.file.resolve() for entry in entries if entry.file}
    images = files_under(config.parent, *IMAGE_ENDINGS)
    return [path.relative_to(config.parent).as_posix() for path in images if path.resolve() not in used]


def _around(config: Config, apart: Path | None) -> Found:
    """Return the images in the folder of ``config``, which names none, with their texts."""
    found = Found()
    _pair(found, config.path.parent, apart, lambda text: config.labels)
    return found


def _beside(folder: Path, apart: Path | None) -> Found:
    """Return what is in LabelImg's layout: images beside their texts or apart, with lists of classes beside these."""
    lists = ClassLists.of(folder)
    found = Found()
    _pair(found, folder, apart, lists.of_text)
    found.labels = lists.used()
    return found


def _pair(found: Found, folder: Path, apart: Path | None, labels: Callable[[Path], tuple[str, ...]]) -> None:
    """Add to ``found`` the images in ``folder`` or ``apart`` with their texts, and texts without an image."""
    inner = descendant(folder, LABELS)
    texts = Texts.of(inner if apart and inner else folder)
    where = apart or folder
    for file in files_under(where, *IMAGE_ENDINGS):
        name = file.relative_to(where).as_posix()
        text = texts.take(name)
        found.entries.append(Entry(readable(without_layout(name)), file, text, None, labels(text) if text else ()))
    for name, text in texts.rest():
        found.entries.append(Entry(readable(name), None, text, None, labels(text)))
    found.entries.sort(key=lambda entry: stem_of(entry.name))
    found.note("text file that has no picture and is no YOLO (left out)", [path.name for path in texts.strays])
