"""Find the files of this package that a module needs at run time, without importing it.

``python -m toolchain.import_closure --to FOLDER MODULE...`` copies them: container images hold no other part of it.
"""

import argparse
import ast
import re
import shutil
import sys
from collections.abc import Iterable
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent
DATA_SUFFIXES = frozenset({".css", ".html", ".j2", ".js", ".json", ".txt"})  # data files of modules, in their folders
MODULE_NAME = re.compile(rf"{PACKAGE.name}(\.\w+)+")


def import_closure(module: str, root: Path = ROOT) -> set[Path]:
    """Return the source files of ``module`` and of every module of this package that it imports.

    Imports inside functions count, and so do module names in strings: ``python -m`` runs those in a child process. The
    ``__init__.py`` of each package on the way counts too, since Python runs it.

    Args:
        module: A dotted name, as in ``toolchain.train.torch_image``.
        root: The folder that holds the package.
    """
    return _closure([module], root)


def runtime_files(modules: Iterable[str], root: Path = ROOT) -> set[Path]:
    """Return the import closure of ``modules`` and the data files in the folders of its modules."""
    sources = _closure(modules, root)
    folders = {path.parent for path in sources}
    return sources | {path for folder in folders for path in folder.iterdir() if path.suffix in DATA_SUFFIXES}


def copy(modules: Iterable[str], target: Path, root: Path = ROOT) -> None:
    """Copy the runtime files of ``modules`` into ``target``, each at its path below ``root``."""
    for path in sorted(runtime_files(modules, root)):
        copied = target / path.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {PACKAGE.name}.import_closure", description="Copy a part of it.")
    parser.add_argument("modules", nargs="+", metavar="MODULE")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    options = parser.parse_args(argv)
    missing = [module for module in options.modules if _file(module, ROOT) is None]
    if missing:
        parser.error(f"no such module: {', '.join(missing)}")
    copy(options.modules, options.to)
    return 0


def _closure(modules: Iterable[str], root: Path) -> set[Path]:
    found: set[Path] = set()
    waiting, seen = list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        path = None if name in seen else _file(name, root)
        seen.add(name)
        if path:
            found.add(path)
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            waiting += [*_imports(path.read_text(encoding="utf-8"), package), name.rpartition(".")[0]]
    return found


def _file(module: str, root: Path) -> Path | None:
    if not module:
        return None
    stem = root.joinpath(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _imports(source: str, package: str) -> tuple[str, ...]:
    """Return the modules of this package that ``source`` imports, or names in a string."""
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and MODULE_NAME.fullmatch(node.value):
            found += [node.value, f"{node.value}.__main__"]
    return tuple(name for name in found if name.split(".")[0] == PACKAGE.name)


if __name__ == "__main__":
    sys.exit(main())
