import subprocess
import sys
from dataclasses import MISSING, Field, fields
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import components

ROOT = Path(components.__file__).parent
STEPS = sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("*/[!_]*.py"))
HEAVY = {"torch", "tensorflow", "jax", "transformers", "mlflow", "pyarrow", "pandas"}


def default_of(field: "Field[Any]") -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


@pytest.mark.parametrize("step", STEPS)
def test_a_component_has_exactly_the_settings_of_its_step(step: str):
    component = getattr(import_module(f"components.{step}"), step.split(".")[-1])
    settings = {
        p.name: p.default for p in signature(component.python_func).parameters.values() if p.default is not p.empty
    }
    config = import_module(f"toolchain.{step}").Config
    assert settings == {field.name: default_of(field) for field in fields(config)}


@pytest.mark.parametrize("step", STEPS)
def test_a_component_only_calls_its_step(step: str):
    source = (ROOT / f"{step.replace('.', '/')}.py").read_text(encoding="utf-8")
    body = source.partition('    """\n    from ')[2] or source.partition('"""\n    from ')[2]
    assert f"from toolchain.{step} import" in source
    assert not {"for", "while", "if", "with", "try:"} & set(body.split()), (
        "the body of a component has no loops and no branches"
    )
    assert "packages_to_install" not in source


def test_every_component_has_a_step():
    assert STEPS, "no components found"
    assert all(find_spec(f"toolchain.{step}") for step in STEPS)


def test_importing_components_and_pipelines_imports_no_step():
    modules = [f"components.{step}" for step in STEPS]
    modules += [f"pipelines.{path.stem}" for path in (ROOT.parent / "pipelines").glob("[!_]*.py")]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent, capture_output=True, text=True)
    loaded = set(printed.stdout.split())
    assert not loaded & HEAVY
    # Which parses sources, with the standard library alone, to name images by the code in them.
    assert {name for name in loaded if name.startswith("toolchain")} <= {"toolchain", "toolchain.import_closure"}
