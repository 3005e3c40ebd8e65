"""The classes that YOLO's numbers stand for: of data.yaml, obj.data, or of lists such as classes.txt, one or many.

Each list holds for its own folder and those below it. Two lists for the same files must agree.
"""

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from toolchain.annotations.files import lines_of, parse_yaml, text_of
from toolchain.annotations.model import Finding
from toolchain.annotations.yolo_texts import CLASS_LISTS, LABELS
from toolchain.errors import DataError
from toolchain.image_files import descendant, files_in, files_under
from toolchain.split_names import WORDS

YAML, DARKNET = (".yaml", ".yml"), ".data"
MAX_CLASSES = 100_000  # without names: a wrong nc must not fill the memory with made-up ones


@dataclass
class Config:
    """A data.yaml or an obj.data."""

    path: Path
    values: dict[str, Any]
    labels: tuple[str, ...]
    is_darknet: bool = False
    findings: list[Finding] = field(default_factory=list)

    @property
    def roots(self) -> list[Path]:
        """The folders that its paths begin at, the likely one first."""
        base = self.path.parent
        given = base / str(self.values.get("path") or ".").replace("\\", "/")
        if self.is_darknet or not given.is_dir():  # "path" is often that of another machine
            return [base]
        return [given, base] if given.resolve() != base.resolve() else [base]


@dataclass
class ClassLists:
    """The lists of classes in a folder and below."""

    top: Path
    lists: dict[Path, tuple[Path, tuple[str, ...]]]  # file and classes, by the folder that they are in
    _used: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, top: Path) -> "ClassLists":
        """Return the lists below ``top``.

        Raises:
            DataError: there is none, or two in one folder differ.
        """
        folders: dict[Path, list[Path]] = {}
        for path in class_lists(top):
            folders.setdefault(path.parent, []).append(path)
        if not folders:
            raise DataError(f"{top} has no list of classes for its YOLO lines; add data.yaml, or classes.txt")
        ordered = sorted(folders, key=lambda folder: (len(folder.parts), folder))  # the top's first
        return cls(top, {folder: _agreed(folders[folder]) for folder in ordered})

    def of_text(self, text: Path) -> tuple[str, ...]:
        """Return the classes of the file ``text``: of the nearest list in its folder or above, else of the only one.

        Raises:
            DataError: lists that differ are elsewhere.
        """
        for folder in text.parents:
            near = next((path for path in (folder, folder / LABELS) if path in self.lists), None)
            if near:
                self._used.add(near)
                return self.lists[near][1]
            if folder == self.top:
                break
        _check_equal(list(self.lists.values()), str(text))
        self._used |= set(self.lists)
        return max((labels for _, labels in self.lists.values()), key=len)

    def used(self) -> tuple[str, ...]:
        """Return the classes of all lists that some file needed, each name once; of all lists when none was needed."""
        folders = [folder for folder in self.lists if folder in self._used or not self._used]
        return tuple(dict.fromkeys(label for folder in folders for label in self.lists[folder][1]))


def class_lists(top: Path) -> list[Path]:
    """Return the lists of classes in ``top`` and below."""
    found = files_under(top, ".txt", ".names", ".labels")
    return [path for path in found if path.name.lower() in CLASS_LISTS or path.suffix.lower() == ".names"]


def configs_of(source: Path) -> list[Config]:
    """Return the data.yaml or obj.data of ``source``, or, where its top has none, of the folders in it that have one.

    Raises:
        DataError: two of them, or one and a list of classes in its folder, differ; or the only one is damaged.
    """
    if source.is_file():
        return [_config(source)]
    at_top = _config_in(source, strict=True)
    if at_top or lists_in(source):
        return [at_top] if at_top else []
    folders = sorted({path.parent for path in files_under(source, *YAML, DARKNET)})
    return [config for folder in folders if (config := _config_in(folder, strict=False))]


def lists_in(source: Path) -> list[Path]:
    """Return the lists of classes in ``source`` itself."""
    return [path for path in class_lists(source) if path.parent == source]


def is_config(path: Path) -> bool:
    """Return whether ``path`` is a data.yaml or an obj.data; one that is damaged is none."""
    try:
        return _is_config(path)
    except DataError:
        return False


def _is_config(path: Path) -> bool:
    if path.suffix.lower() == DARKNET:
        return "names" in _pairs(path)
    values = parse_yaml(path)
    return "names" in values or ("nc" in values and any(str(key).lower() in WORDS for key in values))


def _config_in(folder: Path, strict: bool) -> Config | None:
    """Return what the data.yaml or obj.data in ``folder`` says; ``strict``: raise where the only one is damaged."""
    files = [*files_in(folder, *YAML), *files_in(folder, DARKNET)]
    paths = sorted((path for path in files if is_config(path)), key=lambda path: path.stem not in ("data", "obj"))
    if not paths:
        if strict and (named := next((path for path in files if path.stem == "data"), None)):
            _is_config(named)  # raises what is wrong with it
        return None
    configs = [_config(path) for path in paths]
    inner = descendant(folder, LABELS)
    lists = [*lists_in(folder), *(class_lists(inner) if inner and inner.is_dir() else [])]
    _check_equal([*((config.path, config.labels) for config in configs), *((p, _lines(p)) for p in lists)], str(folder))
    if len(configs) > 1:
        names = tuple(config.path.name for config in configs[1:])
        rule = f"file of a data set that was not read, since {configs[0].path.name} was"
        configs[0].findings.append(Finding(rule=rule, count=len(names), examples=names))
    return configs[0]


def _config(path: Path) -> Config:
    if path.suffix.lower() == DARKNET:
        values: dict[str, Any] = _pairs(path)
        return Config(path, values, _names_of_darknet(path, values), is_darknet=True)
    values = parse_yaml(path)
    labels = _names(values, path)
    config = Config(path, values, labels)
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if twice:
        config.findings.append(
            Finding(rule="two classes with one name (taken as one)", count=len(twice), examples=tuple(twice[:5]))
        )
    return config


def _names(values: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the names of the classes as they are written, for YAML would make False of a class "no"."""
    import yaml

    if "names" not in values:
        if type(values["nc"]) is not int or not 0 < values["nc"] <= MAX_CLASSES:
            raise DataError(f"{path}: nc is {values['nc']!r}; give the number of classes, or better their names")
        return tuple(f"class_{number}" for number in range(values["nc"]))  # as Ultralytics calls them
    names = yaml.load(text_of(path), yaml.BaseLoader)["names"]  # makes nothing but texts
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise DataError(f"{path}: the keys of names are {sorted(names)[:8]}, not 0, 1, 2, ... without a gap")
        names = [names[str(position)] for position in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: names is a {type(values['names']).__name__}; give a list of names")
    return tuple(names)


def _pairs(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in lines_of(path) if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _names_of_darknet(path: Path, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the classes that the .data file ``path`` names; its paths begin with "data/", which is its own folder."""
    given = str(values["names"]).replace("\\", "/")
    ends = (given, given.removeprefix("data/"), given.rpartition("/")[2])
    found = next((file for end in ends if (file := descendant(path.parent, end)) and file.is_file()), None)
    if found is None:
        raise DataError(f"{path} names the list of classes {given}, which is not there; add obj.names")
    return _lines(found)


def _agreed(paths: list[Path]) -> tuple[Path, tuple[str, ...]]:
    """Return the longest of the lists ``paths``, with which the others agree."""
    lists = [(path, _lines(path)) for path in paths]
    _check_equal(lists, str(paths[0].parent))
    return max(lists, key=lambda entry: len(entry[1]))


def _lines(path: Path) -> tuple[str, ...]:
    return tuple(lines_of(path))


def _check_equal(lists: list[tuple[Path, tuple[str, ...]]], where: str) -> None:
    """Raise DataError when two of ``lists`` give one number different names."""
    for (one, labels), (other, others) in combinations(lists, 2):
        for number, (label, name) in enumerate(zip(labels, others, strict=False)):
            if label.casefold() != name.casefold():
                raise DataError(
                    f"{where}: {one.name} and {other.name} differ: class {number} is {label!r} in {one} and {name!r} "
                    f"in {other}; remove the one that is wrong"
                )
