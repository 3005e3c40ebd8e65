import json
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.import_closure import ROOT, import_closure

LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "toolchain" and m.__file__]))
"""


@pytest.mark.parametrize("module", ["toolchain.answering", "toolchain.serve.program", "toolchain.data.clean"])
def test_every_module_that_python_loads_is_in_the_closure(module: str):
    command = [sys.executable, "-c", LOADED, module]
    loaded = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {Path(path) for path in loaded} <= import_closure(module)


def test_an_import_inside_a_function_is_in_the_closure():
    assert ROOT / "toolchain" / "services" / "storage" / "s3.py" in import_closure("toolchain.services.storage")


def test_a_module_that_does_not_exist_has_an_empty_closure():
    assert import_closure("toolchain.no_such_module") - import_closure("toolchain") == set()
