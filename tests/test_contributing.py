"""The examples of CONTRIBUTING.md, applied to a copy of the sources: their files, changes and commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, copy_sources

GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PART = re.compile(r"^`(?P<path>[\w./-]+)`:$|^```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
FOLDERS = ("docs/start", "samples", "tests/support")
FILES = ("CONTRIBUTING.md", "Makefile", "constraints.txt", "data.txt", "tests/conftest.py")

pytestmark = pytest.mark.slow


def section(title: str) -> str:
    return GUIDE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def change(file: Path, diff: str) -> None:
    """Apply one hunk of a diff, whose lines must occur once in ``file``."""
    before = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != "+")
    after = "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] != "-")
    text = file.read_text(encoding="utf-8")
    assert text.count(before) == 1, f"{file.name} does not have these lines once:\n{before}"
    file.write_text(text.replace(before, after), encoding="utf-8")


def execute(commands: str, folder: Path) -> None:
    script = commands.replace("toolchain ", "python -m cli ").replace("make ", f"make READY= PY={sys.executable} ")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "TOOLCHAIN_RUNS": str(folder / "runs"),
    }
    done = subprocess.run(["bash", "-ec", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def follow(titles: list[str], folder: Path) -> None:
    """Write the files, apply the changes and run the commands of sections of the guide, in order."""
    copy_sources(folder)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for title in titles:
        path = folder
        for part in PART.finditer(section(title)):
            if part["path"]:
                path = folder / part["path"]
            elif part["language"] == "bash":
                execute(part["body"], folder)
            elif part["language"] == "diff":
                change(path, part["body"])
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(part["body"], encoding="utf-8")


def test_a_step_and_a_pipeline_are_added(tmp_path: Path):
    follow(["Add a step", "Add a pipeline"], tmp_path / "checkout")
    assert 'placeholder: str = "EMAIL"' in (tmp_path / "checkout" / "components" / "data" / "mask.py").read_text()
    assert "### prepare_masked" in (tmp_path / "checkout" / "docs" / "start" / "parameters.md").read_text()
    assert list((tmp_path / "checkout" / "runs").glob("prepare_masked-*/artifacts/*/mask/masked"))


def test_a_task_is_added(tmp_path: Path):
    follow(["Add a task"], tmp_path / "checkout")


def test_a_back_end_is_added(tmp_path: Path):
    follow(["Add a back end"], tmp_path / "checkout")


def test_an_example_is_checked_against_the_sources(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text("one\ntwo\n")
    change(file, " one\n+more\n two\n")
    assert file.read_text() == "one\nmore\ntwo\n"
    with pytest.raises(AssertionError, match=r"module\.py"):
        change(file, "-three\n")
