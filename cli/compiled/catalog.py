"""List the pipelines: every module of pipelines/ is one, named after its file."""

import ast
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from cli.settings import ROOT
from toolchain.errors import ConfigError

FOLDER = ROOT / "pipelines"


@dataclass(frozen=True)
class Entry:
    name: str  # as in `toolchain submit NAME`
    summary: str  # the first line of the module
    file: Path


def entries(folder: Path = FOLDER) -> list[Entry]:
    """Return the pipelines in ``folder``, by name, without importing them."""
    files = sorted(path for path in folder.glob("[!_]*.py"))
    return [Entry(path.stem, _summary(path), path) for path in files]


def find(name: str, folder: Path = FOLDER) -> Entry:
    """Return the pipeline called ``name``.

    Raises:
        ConfigError: there is none; the message suggests a similar name.
    """
    known = {entry.name: entry for entry in entries(folder)}
    if name not in known:
        raise ConfigError(
            f"there is no pipeline {name!r}{suggestion(name, list(known))} (available: {', '.join(known)})"
        )
    return known[name]


def suggestion(name: str, known: list[str]) -> str:
    """Return ", did you mean 'x'?" for the ``known`` name most similar to ``name``; "" if none is similar."""
    similar = get_close_matches(name, known, n=1)
    return f", did you mean {similar[0]!r}?" if similar else ""


def _summary(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
