import json
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain.import_closure import ROOT, import_closure, main

LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "toolchain" and m.__file__]))
"""


@pytest.mark.parametrize("module", ["toolchain.inference.predictor", "toolchain.serve.server", "toolchain.data.clean"])
def test_every_module_that_python_loads_is_in_the_closure(module: str):
    command = [sys.executable, "-c", LOADED, module]
    loaded = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert {Path(path) for path in loaded} <= import_closure(module)


def test_an_import_inside_a_function_is_in_the_closure():
    assert ROOT / "toolchain" / "services" / "storage" / "s3.py" in import_closure("toolchain.services.storage")


def test_a_module_that_does_not_exist_has_an_empty_closure():
    assert import_closure("toolchain.no_such_module") - import_closure("toolchain") == set()


def test_a_module_that_runs_in_a_child_process_is_in_the_closure():
    assert ROOT / "toolchain" / "serve" / "__main__.py" in import_closure("toolchain.release.promote")


def test_what_is_copied_runs_alone_and_brings_its_data(tmp_path: Path):
    assert main(["--to", str(tmp_path), "toolchain.data.report"]) == 0
    copied = {path.relative_to(tmp_path / "toolchain").as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"data/report/page.html", "data/report/page.css", "artifacts/dataset.py"} <= copied
    assert not any(name.startswith(("serve/", "train/", "release/")) for name in copied)
    command = [sys.executable, "-c", LOADED, "toolchain.data.report"]
    loaded = json.loads(subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout)
    assert all(Path(path).is_relative_to(tmp_path) for path in loaded)


def test_a_module_to_copy_that_does_not_exist_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--to", str(tmp_path), "toolchain.no_such_module"])
    assert "toolchain.no_such_module" in capsys.readouterr().err
