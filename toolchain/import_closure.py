"""The files of this package that a module imports, directly or through others, found without importing anything."""

import ast
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parent
ROOT = PACKAGE.parent


def import_closure(module: str, root: Path = ROOT) -> set[Path]:
    """Return the source files of ``module`` and of every module of this package that it imports.

    Imports inside functions count. The ``__init__.py`` of each package on the way counts too, since Python runs it.

    Args:
        module: A dotted name, as in ``toolchain.train.vision``.
        root: The folder that holds the package.
    """
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path and path not in found:
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
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return tuple(name for name in found if name.split(".")[0] == PACKAGE.name)
