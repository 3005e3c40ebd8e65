import pytest

from cli.serving.models import aliases_of, check_name
from toolchain.errors import ConfigError
from toolchain.services.mlflow import Tracker


@pytest.mark.parametrize("name", ["", "reviews:3", "reviews@champion", "a/b", "it's", ".hidden"])
def test_a_name_with_more_than_the_model_is_not_valid(name: str):
    with pytest.raises(ConfigError, match="--version"):
        check_name(name)


def test_a_bare_name_is_valid():
    assert check_name("film_reviews-2") is None  # type: ignore[func-returns-value]


def test_an_unregistered_model_is_named_with_the_nearest(tmp_path, monkeypatch: pytest.MonkeyPatch):
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db")
    tracker.add_version("reviews", tracker.create_run("any", "any", {}), "model", {}, "")
    tracker.set_alias("reviews", "champion", "1")
    assert aliases_of(tracker, "reviews") == {"champion": "1"}
    with pytest.raises(ConfigError, match="did you mean 'reviews'"):
        aliases_of(tracker, "review")
