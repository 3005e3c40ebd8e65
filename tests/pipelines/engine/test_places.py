"""How a promotion on a cluster says what pods are to be like."""

from pathlib import Path

import pytest

from pipelines.__main__ import parser
from pipelines.engine.places import _how
from pipelines.engine.settings import Settings
from toolchain.errors import ConfigError


def settings(resources: str = "") -> Settings:
    return Settings(Path("runs"), "", "", "", "sqlite:///runs/mlflow.db", resources=resources)


@pytest.mark.parametrize(
    ("words", "resources", "how"),
    [
        (["promote", "m"], "", {"size": "", "gpus": None}),
        (["promote", "m"], "small", {"size": "small", "gpus": None}),
        (["promote", "m", "--resources", "large", "--gpus", "1"], "small", {"size": "large", "gpus": 1}),
        (["promote", "m", "--gpus", "0"], "", {"size": "", "gpus": 0}),
        (["rollback", "m"], "small", {"renewed": False}),
    ],
)
def test_a_promotion_says_how_pods_are_to_be_and_a_rollback_leaves_them(
    words: list[str], resources: str, how: dict[str, object]
):
    assert _how(parser().parse_args(words), settings(resources)) == how


def test_a_size_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="'smal'"):
        _how(parser().parse_args(["promote", "m"]), settings("smal"))
