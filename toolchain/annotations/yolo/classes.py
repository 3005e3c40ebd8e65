"""Read the classes that YOLO's numbers stand for: from data.yaml, obj.data, or lists such as classes.txt.

Each list applies to its own folder and those below it. Two lists for the same files must agree.
"""

from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from toolchain.annotations.files import parse_yaml, read_lines, read_text
from toolchain.annotations.types import Finding
from toolchain.annotations.yolo.label_files import CLASS_LISTS, LABELS
from toolchain.errors import DataError
from toolchain.image_files import descendant, files_in, files_under
from toolchain.split_names import SPLIT_WORDS

YAML, DARKNET = (".yaml", ".yml"), ".data"
MAX_CLASSES = 100_000  # without names: a wrong nc must not fill the memory with generated ones


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
        """The folders that its paths are relative to, the most likely one first."""
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
        for path in find_class_lists(top):
            folders.setdefault(path.parent, []).append(path)
        if not folders:
            raise DataError(f"{top} has no list of classes for its YOLO lines; add data.yaml, or classes.txt")
        ordered = sorted(folders, key=lambda folder: (len(folder.parts), folder))  # the top's first
        return cls(top, {folder: _longest(folders[folder]) for folder in ordered})

    def labels_for(self, label_file: Path) -> tuple[str, ...]:
        """Return the classes of ``label_file``: of the nearest list in its folder or above, else of the only list.

        Raises:
            DataError: there are several lists elsewhere, and they differ.
        """
        for folder in label_file.parents:
            near = next((path for path in (folder, folder / LABELS) if path in self.lists), None)
            if near:
                self._used.add(near)
                return self.lists[near][1]
            if folder == self.top:
                break
        _check_equal(list(self.lists.values()), str(label_file))
        self._used |= set(self.lists)
        return max((labels for _, labels in self.lists.values()), key=len)

    def used_labels(self) -> tuple[str, ...]:
        """Return the classes of all lists that some file needed, each once; of all lists if none was needed."""
        folders = [folder for folder in self.lists if folder in self._used or not self._used]
        return tuple(dict.fromkeys(label for folder in folders for label in self.lists[folder][1]))


def find_class_lists(top: Path) -> list[Path]:
    """Return the lists of classes in ``top`` and below."""
    found = files_under(top, ".txt", ".names", ".labels")
    return [path for path in found if path.name.lower() in CLASS_LISTS or path.suffix.lower() == ".names"]


def find_configs(source: Path) -> list[Config]:
    """Return the data.yaml or obj.data of ``source``, or of the folders in it if there is none at the top.

    Raises:
        DataError: two of them, or one and a list of classes in its folder, differ; or the only one is damaged.
    """
    if source.is_file():
        return [_read_config(source)]
    at_top = _find_config(source, strict=True)
    if at_top or _lists_in(source):
        return [at_top] if at_top else []
    folders = sorted({path.parent for path in files_under(source, *YAML, DARKNET)})
    return [config for folder in folders if (config := _find_config(folder, strict=False))]


def _lists_in(folder: Path) -> list[Path]:
    """Return the lists of classes in ``folder`` itself."""
    return [path for path in find_class_lists(folder) if path.parent == folder]


def is_config(path: Path) -> bool:
    """Return whether ``path`` is a data.yaml or an obj.data that can be read."""
    try:
        return _is_config(path)
    except DataError:
        return False


def _is_config(path: Path) -> bool:
    if path.suffix.lower() == DARKNET:
        return "names" in _pairs(path)
    values = parse_yaml(path)
    return "names" in values or ("nc" in values and any(str(key).lower() in SPLIT_WORDS for key in values))


def _find_config(folder: Path, strict: bool) -> Config | None:
    """Return the data.yaml or obj.data in ``folder``; ``strict``: raise if the only one is damaged."""
    files = [*files_in(folder, *YAML), *files_in(folder, DARKNET)]
    paths = sorted((path for path in files if is_config(path)), key=lambda path: path.stem not in ("data", "obj"))
    if not paths:
        if strict and (damaged := next((path for path in files if path.stem == "data"), None)):
            _is_config(damaged)  # raises what is wrong with it
        return None
    first, *others = configs = [_read_config(path) for path in paths]
    inner = descendant(folder, LABELS)
    lists = [*_lists_in(folder), *(find_class_lists(inner) if inner and inner.is_dir() else [])]
    given = [*((config.path, config.labels) for config in configs), *((path, _class_list(path)) for path in lists)]
    _check_equal(given, str(folder))
    if others:
        rule = f"dataset file ignored in favor of {first.path.name}"
        first.findings.append(Finding.of(rule, [config.path.name for config in others]))
    return first


def _read_config(path: Path) -> Config:
    if path.suffix.lower() == DARKNET:
        values: dict[str, Any] = _pairs(path)
        return Config(path, values, _darknet_names(path, values), is_darknet=True)
    values = parse_yaml(path)
    labels = _yaml_names(values, path)
    config = Config(path, values, labels)
    duplicates = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    if duplicates:
        config.findings.append(Finding.of("two classes with the same name (merged)", duplicates))
    return config


def _yaml_names(values: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Return the names of the classes as they are written, since YAML reads a class "no" as False."""
    import yaml

    if "names" not in values:
        if type(values["nc"]) is not int or not 0 < values["nc"] <= MAX_CLASSES:
            raise DataError(f"{path}: nc is {values['nc']!r}; give the number of classes, or better their names")
        return tuple(f"class_{number}" for number in range(values["nc"]))  # as Ultralytics names them
    names = yaml.load(read_text(path), yaml.BaseLoader)["names"]  # reads every value as text
    if isinstance(names, dict):
        if sorted(names) != sorted(map(str, range(len(names)))):
            raise DataError(f"{path}: the keys of names are {sorted(names)[:8]}, not 0, 1, 2, ... without a gap")
        names = [names[str(index)] for index in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: names is a {type(values['names']).__name__}; give a list of names")
    return tuple(names)


def _pairs(path: Path) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in read_lines(path) if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _darknet_names(path: Path, values: dict[str, Any]) -> tuple[str, ...]:
    """Return the classes of the list that the .data file ``path`` names, in which "data/" is the file's own folder."""
    given = str(values["names"]).replace("\\", "/")
    ends = (given, given.removeprefix("data/"), given.rpartition("/")[2])
    found = next((file for end in ends if (file := descendant(path.parent, end)) and file.is_file()), None)
    if found is None:
        raise DataError(f"{path} names the list of classes {given}, which does not exist; add obj.names")
    return _class_list(found)


def _longest(paths: list[Path]) -> tuple[Path, tuple[str, ...]]:
    """Return the longest of the lists ``paths``; DataError if they differ."""
    lists = [(path, _class_list(path)) for path in paths]
    _check_equal(lists, str(paths[0].parent))
    return max(lists, key=lambda entry: len(entry[1]))


def _class_list(path: Path) -> tuple[str, ...]:
    return tuple(read_lines(path))


def _check_equal(lists: list[tuple[Path, tuple[str, ...]]], where: str) -> None:
    """Raise DataError if two of ``lists`` give one number different names."""
    for (one, labels), (other, others) in combinations(lists, 2):
        for number, (label, name) in enumerate(zip(labels, others, strict=False)):
            if label.casefold() != name.casefold():
                raise DataError(
                    f"{where}: {one.name} and {other.name} differ: class {number} is {label!r} in {one} and {name!r} "
                    f"in {other}; remove the wrong file"
                )
