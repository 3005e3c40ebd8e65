"""Laws of the tree that import-linter cannot see."""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from cli.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
CODE = sorted(
    path for package in ("toolchain", "components", "pipelines", "cli") for path in (ROOT / package).rglob("*.py")
)
DOORS = (
    ROOT / "toolchain" / "services",
    ROOT / "toolchain" / "hardware" / "gpu.py",
    ROOT / "cli",
    ROOT / "pipelines",
    ROOT / "components" / "images.py",
)  # may read the environment
WRAPPERS = sorted((ROOT / "components").glob("*/[!_]*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
BRANCHES = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.IfExp, ast.Match, ast.Try, ast.comprehension, ast.FunctionDef)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def reads_of_the_environment(tree: ast.AST) -> Iterator[int]:
    """Yield the lines of ``tree`` that take environ or getenv from os."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv"):
                yield node.lineno
            case ast.ImportFrom(module="os", names=names) if {"environ", "environb", "getenv"} & {
                n.name for n in names
            }:
                yield node.lineno


def imported(nodes: list[ast.stmt]) -> set[str]:
    modules = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return modules | {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}


def body(wrapper: Path) -> list[ast.stmt]:
    tree = ast.parse(wrapper.read_text())
    return next(node.body for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == wrapper.stem)


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ"]
)
def test_a_read_of_the_environment_is_seen(source: str):
    assert list(reads_of_the_environment(ast.parse(source)))


def test_the_environment_is_read_at_the_doors_only():
    inside = [path for path in CODE if not any(path.is_relative_to(door) for door in DOORS)]
    assert [
        f"{name(path)}:{line}" for path in inside for line in reads_of_the_environment(ast.parse(path.read_text()))
    ] == []


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=name)
def test_a_component_imports_only_kfp_and_its_image(wrapper: Path):
    assert imported(ast.parse(wrapper.read_text()).body) <= {"kfp", "kfp.dsl", "components.images", "typing"}


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=name)
def test_a_components_body_is_one_call_to_the_step_of_its_name(wrapper: Path):
    step = f"toolchain.{wrapper.parent.name}.{wrapper.stem}"
    assert {module for module in imported(body(wrapper)) if module.startswith("toolchain")} == {step}
    assert [node.lineno for part in body(wrapper) for node in ast.walk(part) if isinstance(node, BRANCHES)] == []


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=name)
def test_a_step_has_one_name_everywhere(wrapper: Path):
    stage, step = wrapper.parent.name, wrapper.stem
    module = ROOT / "toolchain" / stage / step
    assert module.with_suffix(".py").exists() or (module / "__init__.py").exists()
    assert (ROOT / "tests" / "toolchain" / stage / f"test_{step}.py").exists()


def test_every_pinned_package_of_data_is_held_to_one_digest():
    wanted = re.findall(
        r"^[\w.-]+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}$", (ROOT / "data.txt").read_text(), re.MULTILINE
    )
    assert len(wanted) == len(re.findall(r"^\w", (ROOT / "data.txt").read_text(), re.MULTILINE)) == 6


@pytest.mark.parametrize("sample", sorted((ROOT / "samples").glob("*.csv.gz")), ids=name)
def test_samples_are_those_that_their_readme_describes(sample: Path):
    digest = hashlib.sha256(sample.read_bytes()).hexdigest()
    assert re.search(rf"`{sample.name}` .*`{digest}`", (ROOT / "samples" / "README.md").read_text())
    assert "MIT License" in (sample.parent / sample.name.replace(".csv.gz", ".LICENSE")).read_text()


def test_conftests_and_tests_are_not_imported_as_libraries():
    found = [
        f"{name(path)}: {module}"
        for path in (ROOT / "tests").rglob("*.py")
        for module in imported([node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.stmt)])
        if module.startswith("tests.") and not module.startswith("tests.support")
    ]
    assert found == []


ASSERTING = re.compile(r"assert_|(raises|warns|fail|validate)$")  # validate: of jsonschema and its like, which raises
Calls = Mapping[str, frozenset[str]]  # the functions that each function calls, by its name; "assert" is among them


@cache
def calls_of(path: Path) -> Calls:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name: calls_in(node) for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def calls_in(function: ast.AST) -> frozenset[str]:
    nodes = list(ast.walk(function))
    functions = (node.func for node in nodes if isinstance(node, ast.Call))
    names = {one.id if isinstance(one, ast.Name) else getattr(one, "attr", "") for one in functions}
    return frozenset(names | {"assert" for node in nodes if isinstance(node, ast.Assert)})


def helpers_of(path: Path) -> Calls:
    """Return the functions that the tests in ``path`` can call: its own, those of conftests above, and the support."""
    above = [folder / "conftest.py" for folder in path.parents if (folder / "conftest.py").exists()]
    files = [*(ROOT / "tests" / "support").glob("*.py"), *above, path]
    return {key: calls for file in files for key, calls in calls_of(file).items()}


def asserts(calls: frozenset[str], helpers: Calls) -> bool:
    """Return whether a function with ``calls`` can fail a test, directly or through one of ``helpers``."""
    seen: set[str] = set()
    waiting = set(calls)
    while waiting:
        one = waiting.pop()
        if one == "assert" or ASSERTING.match(one):
            return True
        seen.add(one)
        waiting |= helpers.get(one, frozenset()) - seen
    return False


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("print(1)", False),
        ("helper()", False),
        ("assert 1", True),
        ("with pytest.raises(OSError): pass", True),
        ("other()", True),
    ],
)
def test_a_test_without_an_assertion_is_found(body: str, expected: bool):
    helpers = {"other": frozenset({"helper", "assert"}), "helper": frozenset({"helper", "print"})}
    assert asserts(calls_in(ast.parse(body)), helpers) == expected


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_every_test_asserts_something(path: Path):
    helpers = helpers_of(path)
    tests = {key: calls for key, calls in calls_of(path).items() if key.startswith("test")}
    assert [key for key, calls in tests.items() if not asserts(calls, helpers)] == []


COVERED_TOGETHER = {  # folders whose modules one file tests in a table, with the reason
    "cli/commands": ("tests/cli/test_commands.py", "each only declares options and calls one function"),
    "components": ("tests/components/test_components.py", "each is generated from its step's Config"),
    "pipelines": ("tests/pipelines/test_defaults.py", "each only connects components"),
}


def has_functions(path: Path) -> bool:
    nodes = ast.walk(ast.parse(path.read_text()))
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)


def possible_tests(module: Path) -> list[str]:
    """Return the files that may test ``module``, a path below the root.

    Of toolchain/a/b.py that is tests/toolchain/a/test_b.py, and of toolchain/a/b/c.py tests/toolchain/a/b/test_c.py, or
    tests/toolchain/a/test_b.py for the package as a whole. A leading underscore is left out.
    """
    tests = [Path("tests") / module.parent / f"test_{module.stem.lstrip('_')}.py"]
    if len(module.parts) > 3:
        tests.append(Path("tests") / module.parent.parent / f"test_{module.parent.name}.py")
    together = [file for folder, (file, _) in COVERED_TOGETHER.items() if module.is_relative_to(folder)]
    return [*map(str, tests), *together]


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("toolchain/a/b.py", "tests/toolchain/a/test_b.py"),
        ("toolchain/a/b/c.py", "tests/toolchain/a/b/test_c.py"),
        ("toolchain/a/b/c.py", "tests/toolchain/a/test_b.py"),
        ("pipelines/_pods.py", "tests/pipelines/test_pods.py"),
    ],
)
def test_a_module_may_be_tested_at_its_path(module: str, test: str):
    assert test in possible_tests(Path(module))
    assert "tests/test_toolchain.py" not in possible_tests(Path(module))


MODULES = [path for path in CODE if path.stem not in ("__init__", "__main__") and has_functions(path)]


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_is_tested_at_its_path(path: Path):
    tests = possible_tests(path.relative_to(ROOT))
    assert any((ROOT / file).is_file() for file in tests), f"{name(path)} has no test: write {tests[0]}"


def test_every_command_is_tested_in_the_table_of_commands():
    modules = {path.stem for path in (ROOT / "cli" / "commands").glob("[!_]*.py")} - {"options"}
    assert modules == {command.replace("-", "_") for command in COMMANDS}
