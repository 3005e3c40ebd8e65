from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.lifecycle import registry
from toolchain.release import fetch, register
from toolchain.services.mlflow import Tracker

Reported = Callable[..., tuple[Any, Path]]


@pytest.fixture(scope="module")
def twice(reported: Reported, database: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a model that was registered twice: from one training, then from another."""
    folder = tmp_path_factory.mktemp("registrations")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database)
        for seed in (0, 1):
            places, report = reported(seed=seed)
            config = register.Config(model_name="twice-trained")
            register.run(
                places.variants, places.dataset, places.accuracy, places.verdict, report, folder / str(seed), config
            )
    return "twice-trained"


@pytest.fixture
def model(twice: str, registry_uri: str) -> str:
    return twice


def fetched(tmp_path: Path, model: str) -> fetch.Result:
    return fetch.run(tmp_path / "variants", tmp_path / "dataset", fetch.Config(model=model))


def test_brings_back_the_last_variants_and_their_test_rows(model: str, reported: Reported, tmp_path: Path):
    assert fetched(tmp_path, model) == fetch.Result(variants=3, rows=600)
    variants, rows = open_variants(tmp_path / "variants"), open_dataset(tmp_path / "dataset")
    places = reported(seed=1)[0]
    assert {name: one.digest for name, one in variants.models.items()} == {
        name: one.digest for name, one in open_variants(places.variants).models.items()
    }
    original = open_dataset(places.dataset)
    assert rows.table("test").equals(original.table("test"))
    assert (rows.labels, list(rows.splits), rows.dropped) == (original.labels, ["test"], original.dropped)
    assert [entry.step for entry in rows.lineage] == ["data.ingest", "augment.text", "release.register"]
    assert [entry.step for entry in variants.models["fp32"].lineage][-1] == "export.onnx"


@pytest.mark.parametrize("which", [":1", ":2", ":3"])
def test_a_version_stands_for_all_that_were_registered_with_it(
    model: str, which: str, reported: Reported, tmp_path: Path
):
    fetched(tmp_path, model + which)
    first = open_variants(reported(seed=0)[0].variants)
    assert open_variants(tmp_path / "variants").digest == first.digest


def test_an_alias_stands_for_all_that_were_registered_with_it(model: str, reported: Reported, tmp_path: Path):
    fetched(tmp_path, f"{model}@candidate-avx2")
    assert open_variants(tmp_path / "variants").digest == open_variants(reported(seed=1)[0].variants).digest


def test_what_was_fetched_registers_again_without_a_new_version(
    model: str, reported: Reported, tmp_path: Path, registry_uri: str
):
    fetched(tmp_path, model)
    places, report = reported(seed=1)
    result = register.run(
        tmp_path / "variants", tmp_path / "dataset", places.accuracy, places.verdict, report, tmp_path / "again",
        register.Config(model_name=model),
    )  # fmt: skip
    assert result.added == 0


def test_reports_that_there_is_no_such_model(registry_uri: str, tmp_path: Path):
    with pytest.raises(DataError, match="no model 'nobody' is registered in sqlite"):
        fetched(tmp_path, "nobody")
    assert not list(tmp_path.iterdir())


def test_rejects_files_that_were_changed_in_the_registry(model: str, tmp_path: Path, registry_uri: str):
    found = registry.find(Tracker(), model)
    assert found is not None
    files = Path(registry_uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    version = found.versions["int8-dynamic"]
    place = files / version.run / "artifacts" / version.path / "tokenizer.json"
    kept = place.read_text()
    place.write_text("{ }")
    with pytest.raises(ArtifactError, match="changed after it was written"):
        fetched(tmp_path, model)
    place.write_text(kept)
    assert not (tmp_path / "variants").exists()
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("model", ["", "@candidate", "a:b", "a:1@b", "it's"])
def test_rejects_what_names_no_model(model: str):
    with pytest.raises(ConfigError, match="model is"):
        fetch.Config(model=model)
