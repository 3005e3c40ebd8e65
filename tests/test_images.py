"""An image is one constant, one folder and one extra, and holds what its steps import."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components import images

ROOT = Path(__file__).parents[1]
WRAPPERS = sorted((ROOT / "components").glob("*/[!_]*.py"))
IMAGES = {constant: value for constant, value in vars(images).items() if constant.isupper() and ":" in str(value)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OWN = {"dl-toolchain", "toolchain", "components", "pipelines"}
# toolchain.inference imports it for a variant of that back end only, which other images never see.
OPENED_BY_SOME = {"openvino"}


def image_of(wrapper: Path) -> str:
    """Return the name of the constant that the component at ``wrapper`` gives as base_image."""
    names = re.findall(r"base_image=(\w+)", wrapper.read_text())
    assert len(set(names)) == 1, f"{wrapper.name} names {names}"
    return str(names[0])


@cache
def installed_with(extra: str) -> frozenset[str]:
    """Return the distributions that pip brings for the core and ``extra``, dependencies of dependencies included."""
    found: set[str] = set()
    waiting = [Requirement(text) for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra])]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name)
        if key == "dl-toolchain":
            waiting += [Requirement(r) for inner in wanted.extras for r in PROJECT["optional-dependencies"][inner]]
        elif key not in found:
            found.add(key)
            waiting += [r for r in map(Requirement, requires(key) or []) if needed(r, wanted.extras)]
    return frozenset(found)


def needed(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("toolchain", include_external_packages=True, exclude_type_checking_imports=True)


@pytest.mark.parametrize("constant", sorted(IMAGES))
def test_an_image_has_one_name_everywhere(constant: str):
    assert IMAGES[constant].split("/")[-1].split(":")[0] == constant.lower()
    dockerfile = (ROOT / "images" / constant.lower() / "Dockerfile").read_text()
    assert f'".[{constant.lower()}]"' in dockerfile
    assert IMAGES[constant] in dockerfile
    assert re.search(r"^USER [1-9]\d*$", dockerfile, re.MULTILINE), "must not run as root"


def test_there_is_no_image_without_a_constant():
    assert {path.name for path in (ROOT / "images").iterdir()} == {constant.lower() for constant in IMAGES}


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_an_image_holds_what_its_steps_import(wrapper: Path):
    step = f"toolchain.{wrapper.parent.name}.{wrapper.stem}"
    upstream = {module.split(".")[0] for module in graph().find_upstream_modules(step, as_package=True)}
    brought_by = packages_distributions()
    installed = installed_with(image_of(wrapper).lower())
    missing = {
        module: brought_by[module]
        for module in upstream - OWN - OPENED_BY_SOME - set(sys.stdlib_module_names)
        if not installed & {canonicalize_name(distribution) for distribution in brought_by[module]}
    }
    assert missing == {}


def test_a_components_image_is_a_constant():
    for wrapper in WRAPPERS:
        imports = [node for node in ast.parse(wrapper.read_text()).body if isinstance(node, ast.ImportFrom)]
        assert image_of(wrapper) in {
            alias.name for node in imports if node.module == "components.images" for alias in node.names
        }
