"""A version's OpenAPI document is found again by the version, and a changed one is refused."""

from pathlib import Path

import pytest

from toolchain.errors import ArtifactError
from toolchain.lifecycle import openapi_store
from toolchain.services.mlflow import Tracker, Version

FIRST = {"openapi": "3.1.0", "info": {"title": "Bücher", "version": "1"}, "paths": {}}
SECOND = {**FIRST, "info": {"title": "Bücher", "version": "2"}}


@pytest.fixture
def tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return Tracker()


@pytest.fixture
def versions(tracker: Tracker) -> list[Version]:
    """Two versions that share a run, as the variants of one training do."""
    run = tracker.create_run("any", "any", {})
    return [tracker.add_version("books", run, f"variants/{name}", {}, "") for name in ("fp32", "int8")]


def test_each_version_has_its_own_document(tracker: Tracker, versions: list[Version]):
    digests = [
        openapi_store.save(tracker, version, document)
        for version, document in zip(versions, (FIRST, SECOND), strict=True)
    ]
    assert len(set(digests)) == 2
    assert [openapi_store.load(tracker, version) for version in tracker.versions("books")] == [FIRST, SECOND]


def test_a_newer_document_replaces_an_older_one(tracker: Tracker, versions: list[Version]):
    for document in (FIRST, SECOND, SECOND):
        openapi_store.save(tracker, tracker.versions("books")[0], document)
    assert openapi_store.load(tracker, tracker.versions("books")[0]) == SECOND


def test_there_is_none_before_one_was_kept(tracker: Tracker, versions: list[Version]):
    assert openapi_store.load(tracker, versions[0]) is None


@pytest.mark.parametrize("text", ['{"openapi": "3.1.0"}', "no JSON"])
def test_one_that_was_changed_is_rejected(text: str, tracker: Tracker, versions: list[Version], tmp_path: Path):
    openapi_store.save(tracker, versions[0], FIRST)
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed" / "openapi.json").write_text(text)
    tracker.upload(versions[0].run, tmp_path / "changed", "openapi/1")
    with pytest.raises(ArtifactError, match=r"version 1 of books was changed in MLflow; remove the version's tag"):
        openapi_store.load(tracker, tracker.versions("books")[0])
