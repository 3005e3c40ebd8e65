"""The chart, rendered by helm as a cluster would get it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "toolchain"
IMAGES = ("--set", "images.base=ghcr.io/toolchain/base:1,images.mlflow=ghcr.io/toolchain/mlflow:1")
HELM = shutil.which("helm", path=str(Path(sys.executable).parent)) or shutil.which("helm")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HELM is None and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="helm is not installed: make helm builds it"))


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM or "helm", *words], capture_output=True, text=True, timeout=120, check=False)


@cache
def rendered(*words: str) -> tuple[dict[str, Any], ...]:
    answer = helm("template", "toolchain", str(CHART), "--namespace", "charttest", *IMAGES, *words)
    assert answer.returncode == 0, answer.stderr
    return tuple(document for document in yaml.safe_load_all(answer.stdout) if document)


@pytest.fixture
def render() -> Callable[..., tuple[dict[str, Any], ...]]:
    """Return the resources that the chart makes of helm's options, ``--set`` say."""
    return rendered


@pytest.fixture
def error_of() -> Callable[..., str]:
    """Return a function that renders with options that are not valid, and returns helm's error."""

    def render_error(*words: str, images: tuple[str, ...] = IMAGES) -> str:
        answer = helm("template", "toolchain", str(CHART), *images, *words)
        assert answer.returncode != 0, "helm accepts these values"
        return answer.stderr

    return render_error


@pytest.fixture
def lint() -> Callable[..., str]:
    """Return what ``helm lint --strict`` says, having passed."""

    def check(*words: str) -> str:
        answer = helm("lint", "--strict", str(CHART), *IMAGES, *words)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout

    return check
