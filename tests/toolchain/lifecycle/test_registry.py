"""A registry in a file, with models that are registered here."""

import json

import pytest

from toolchain.errors import ConfigError
from toolchain.lifecycle import registry
from toolchain.services.mlflow import Tracker, Version


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    found = Tracker(f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db")
    for number, digest in enumerate("ab", 1):
        version = add(found, "reviews", digest * 64)
        registry.complete(found, version.run, "reviews", {"fp32": version}, "")
        found.set_alias("reviews", ("champion", "candidate")[number - 1], str(number))
    return found


def add(tracker: Tracker, model: str, digest: str) -> Version:
    run = tracker.create_run("any", "any", {})
    tracker.add_version(model, run, "variants/fp32", {"digest": digest, "lineage": f"{'c' * 64} short"}, "")
    return tracker.versions(model)[-1]


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        ("reviews", ("reviews", "", "")),
        ("reviews:3", ("reviews", "3", "")),
        ("reviews@champion", ("reviews", "", "champion")),
    ],
)
def test_a_name_has_a_version_or_an_alias(model: str, parts: tuple[str, str, str]):
    assert registry.split_name(model) == parts
    registry.check_name(model)


@pytest.mark.parametrize("model", ["", ":3", "it's", "reviews:3@champion", "reviews:three", "reviews:²"])
def test_another_name_is_not_valid(model: str):
    with pytest.raises(ConfigError, match="model is"):
        registry.check_name(model)


@pytest.mark.parametrize(
    ("model", "number", "alias"),
    [("reviews", "2", "candidate"), ("reviews@champion", "1", "champion"), ("reviews:1", "1", "")],
)
def test_a_name_refers_to_a_version(model: str, number: str, alias: str, tracker: Tracker):
    found = registry.named(tracker, model, "no-such", "candidate")
    assert (found.version.number, found.alias) == (number, alias)
    assert found.aliases == {"champion": "1", "candidate": "2"}


@pytest.mark.parametrize(
    ("model", "reason"),
    [("revews", "did you mean 'reviews'"), ("reviews:9", "no version 9"), ("reviews@best", "no alias 'best'")],
)
def test_a_missing_model_version_or_alias_is_named(model: str, reason: str, tracker: Tracker):
    with pytest.raises(ConfigError, match=reason):
        registry.named(tracker, model, "candidate")


def test_the_last_complete_registration_is_found(tracker: Tracker):
    found = registry.find(tracker, "reviews")
    assert found is not None
    assert {variant: version.number for variant, version in found.versions.items()} == {"fp32": "2"}
    first = registry.find(tracker, "reviews@champion")
    assert first is not None
    assert first.versions["fp32"].number == "1"
    assert registry.find(tracker, "nothing") is None


def test_a_registration_with_a_damaged_tag_is_left_out(tracker: Tracker):
    version = add(tracker, "damaged", "d" * 64)
    tags = {registry.TAG_MODEL: "damaged", registry.TAG_REGISTERED: "1", registry.TAG_VERSIONS: json.dumps(["1"])}
    tracker.log(version.run, tags=tags)
    assert registry.find(tracker, "damaged") is None


def test_digests_of_origin_name_a_model_that_needs_them(tracker: Tracker):
    found = registry.digests_in_use(tracker)
    assert found["a" * 64] == "reviews:1"
    assert {"a" * 64, "b" * 64, "c" * 64} <= found.keys()
    assert "short" not in found
