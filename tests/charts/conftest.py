"""The chart, rendered by helm as a cluster would get it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.chart import CHART, HELM, IMAGES, helm, rendered


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HELM is None and item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="helm is not installed: make helm builds it"))


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
