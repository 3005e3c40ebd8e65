"""A copy of the checkout's sources, for tests that build from them or edit them."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("cli", "components", "pipelines", "toolchain")
FILES = ("LICENSE", "README.md", "pyproject.toml")


def copy_sources(target: Path) -> Path:
    """Copy the packages and what a build of the wheel reads to the new folder ``target``, and return it."""
    target.mkdir()
    for name in PACKAGES:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, target)
    return target
