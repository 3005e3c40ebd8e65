"""Write the settings of each component from its step's Config: ``python -m cli.setup.components``.

A component's artifacts, image and metrics are written by hand; the parameters with a default, their descriptions and
the call of ``Config`` are generated, so that a setting is declared once.
"""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from cli.settings import ROOT

COMPONENTS = ROOT / "components"
WIDTH = 120  # characters of a line
MAX_PLAIN_INT = 9_999  # a larger number is written with separators


@dataclass(frozen=True)
class Setting:
    """A field of a step's Config."""

    name: str
    annotation: str  # as in the source
    default: str  # a Python literal
    description: str  # a sentence


def steps() -> list[str]:
    """Return "stage.step" of every component."""
    paths = sorted(COMPONENTS.glob("*/[!_]*.py"))
    return [f"{path.parent.name}.{path.stem}" for path in paths]


def path_of(step: str) -> Path:
    """Return the file of the component of ``step``."""
    return COMPONENTS.joinpath(*step.split(".")).with_suffix(".py")


def settings_of(step: str) -> list[Setting]:
    """Return the settings of ``step``; the description of each is the comment beside or above its field."""
    source, config = _config(step)
    values = {field.name: field for field in fields(import_module(f"toolchain.{step}").Config)}
    return [
        Setting(
            name=node.target.id,
            annotation=ast.unparse(node.annotation),
            default=_default(source, node, values[node.target.id]),
            description=_description(source.splitlines(), node),
        )
        for node in config.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def generate(step: str) -> str:
    """Return the source of the component of ``step`` with the settings of its Config."""
    source, settings = path_of(step).read_text(encoding="utf-8"), settings_of(step)
    (function,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    lines = source.splitlines(keepends=True)
    text = "".join(
        [
            *lines[: function.lineno - 1],
            _signature(function, settings),
            _docstring(function, settings),
            _body(function, lines, settings),
        ]
    )
    return _formatted(text)


def write() -> list[Path]:
    """Bring every component up to date; return the files that changed."""
    changed = []
    for step in steps():
        path, text = path_of(step), generate(step)
        if text != path.read_text(encoding="utf-8"):
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def main() -> int:
    for path in write():
        print(f"Updated {path.relative_to(ROOT)}")
    return 0


def _config(step: str) -> tuple[str, ast.ClassDef]:
    """Return the source of the module that defines the Config of ``step``, and the class."""
    path = ROOT.joinpath("toolchain", *step.split("."))
    for file in sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
        source = file.read_text(encoding="utf-8")
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and node.name == "Config":
                return source, node
    raise LookupError(f"toolchain.{step} has no class Config: define one, empty if the step has no settings")


def _default(source: str, node: ast.AnnAssign, field: Any) -> str:
    literal = ast.get_source_segment(source, node.value) if node.value else None
    try:
        ast.literal_eval(literal or "")
    except (SyntaxError, ValueError):
        value = field.default if field.default_factory is MISSING else field.default_factory()
        return f"{value:_}" if type(value) is int and value > MAX_PLAIN_INT else repr(value)
    return str(literal)  # copied, so that 1e-3 stays 1e-3


def _description(lines: list[str], node: ast.AnnAssign) -> str:
    """Return the comment of a field as a sentence: beside it, else in the lines above."""
    beside = [lines[number].rpartition("  # ")[2] for number in _span(node) if "  # " in lines[number]]
    above = node.lineno - 2
    while not beside and above >= 0 and lines[above].strip().startswith("# "):
        above -= 1
    comments = beside or [line.strip().removeprefix("# ") for line in lines[above + 1 : node.lineno - 1]]
    if not comments:
        raise LookupError(f"the field {ast.unparse(node.target)} has no comment: describe it in one beside it")
    text = " ".join(comments).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _span(node: ast.AnnAssign) -> range:
    return range(node.lineno - 1, node.end_lineno or node.lineno)


def _signature(function: ast.FunctionDef, settings: list[Setting]) -> str:
    taken = function.args.args[: len(function.args.args) - len(function.args.defaults)]
    artifacts = [f"{argument.arg}: {ast.unparse(argument.annotation or ast.Name('Any'))}" for argument in taken]
    parameters = [f"{one.name}: {one.annotation} = {one.default}" for one in settings]
    return f"def {function.name}({', '.join([*artifacts, *parameters])},):\n"


def _docstring(function: ast.FunctionDef, settings: list[Setting]) -> str:
    head, _, section = (ast.get_docstring(function) or "").partition("\n\nArgs:\n")
    known = {one.name for one in settings}
    written = [entry for entry in _entries(section) if entry.partition(":")[0] not in known]
    artifacts = {argument.arg for argument in function.args.args[: _artifact_count(function)]}
    kept = [entry for entry in written if entry.partition(":")[0] in artifacts]
    lines = [*kept, *(f"{one.name}: {one.description}" for one in settings)]
    wrapped = "\n".join(textwrap.fill(line, WIDTH, **_INDENTS) for line in lines)
    text = f"{textwrap.indent(head, '    ').strip()}\n\n    Args:\n{wrapped}\n    ".replace("\\", r"\\")
    return f'    """{text}"""\n'


_INDENTS: dict[str, Any] = {
    "initial_indent": " " * 8,
    "subsequent_indent": " " * 12,
    "break_on_hyphens": False,
    "break_long_words": False,
}


def _artifact_count(function: ast.FunctionDef) -> int:
    return len(function.args.args) - len(function.args.defaults)


def _entries(section: str) -> Iterator[str]:
    """Yield the entries of a docstring's Args section, each on one line."""
    entry: list[str] = []
    for line in section.splitlines():
        if entry and not line.startswith(" " * 8):
            yield " ".join(entry)
            entry = []
        entry.append(line.strip())
    if entry:
        yield " ".join(entry)


def _body(function: ast.FunctionDef, lines: list[str], settings: list[Setting]) -> str:
    """Return the statements of ``function``, with a call of Config that passes ``settings``."""
    (call,) = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Config"
    ]
    start, end = function.body[0].end_lineno or 0, (call.end_lineno or call.lineno) - 1
    before = "".join(lines[start : call.lineno - 1]) + lines[call.lineno - 1][: call.col_offset]
    after = lines[end][call.end_col_offset :] + "".join(lines[end + 1 :])
    passed = ", ".join(f"{one.name}={one.name}" for one in settings)
    return f"{before}Config({passed}){after}"


def _formatted(text: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "components/x.py", "-"]
    found = subprocess.run(command, input=text, capture_output=True, text=True, check=True, cwd=ROOT)
    return found.stdout


if __name__ == "__main__":
    sys.exit(main())
