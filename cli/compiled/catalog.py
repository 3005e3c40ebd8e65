"""Which pipelines there are: every module of pipelines/ is one, under its file's name."""

import ast
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cli.settings import ROOT
from toolchain.errors import ConfigError

FOLDER = ROOT / "pipelines"


@dataclass(frozen=True)
class Entry:
    name: str  # what a person types
    summary: str  # the first line of the module
    file: Path


def entries(folder: Path = FOLDER) -> list[Entry]:
    """Return the pipelines in ``folder``, by name; no module is imported for that."""
    files = sorted(path for path in folder.glob("[!_]*.py"))
    return [Entry(path.stem, _summary(path), path) for path in files]


def find(name: str, folder: Path = FOLDER) -> Entry:
    """Return the pipeline called ``name``.

    Raises:
        ConfigError: there is none; the message suggests the nearest.
    """
    known = {entry.name: entry for entry in entries(folder)}
    if name not in known:
        raise ConfigError(
            f"there is no pipeline {name!r}{suggestion(name, list(known))} (there are {', '.join(known)})"
        )
    return known[name]


def suggestion(word: str, words: list[str]) -> str:
    """Return ", did you mean 'x'?" for the word nearest to ``word``, or nothing where none is near."""
    near = get_close_matches(word, words, n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def _summary(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
