from pathlib import Path

import pytest

from toolchain.artifacts.measurement import new_measurement, open_measurement
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate import accuracy
from toolchain.evaluate.parity import Config, run


@pytest.fixture(scope="module")
def measured(new_toys, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    with new_toys(folder / "variants") as toys:
        toys.add("fp32", width=32)
        toys.add("pruned", width=8, seed=1)
        toys.add("pruned-same", width=8, seed=1, origin="pruned")
    accuracy.run(folder / "variants", dataset, folder / "accuracy", accuracy.Config(threads=1, resamples=100))
    return folder / "accuracy"


def test_compares_with_the_reference_and_with_the_origin(measured: Path, tmp_path: Path):
    result = run(measured, tmp_path / "parity", Config(resamples=100))
    found = open_measurement(tmp_path / "parity", "parity").data
    assert (found["reference"], found["rows"], list(found["variants"])) == (
        "fp32",
        400,
        ["fp32", "pruned", "pruned-same"],
    )
    same = found["variants"]["pruned-same"]
    assert same["origin"] == "pruned"
    assert same["origin_agreement"]["value"] == same["cosine"] == pytest.approx(1)
    assert same["agreement"] == found["variants"]["pruned"]["agreement"]
    assert found["variants"]["fp32"]["agreement"]["value"] == 1
    assert result.variants == 3
    assert result.lowest_origin_agreement == 1
    assert result.lowest_agreement == same["agreement"]["value"]


def test_rejects_another_kind_of_measurement(tmp_path: Path):
    with new_measurement(tmp_path / "latency", "latency", Work("evaluate.latency", None)):
        pass
    with pytest.raises(ArtifactError, match="holds 'latency', this step needs 'accuracy'"):
        run(tmp_path / "latency", tmp_path / "parity", Config())
    assert not (tmp_path / "parity").exists()


def test_rejects_an_origin_that_was_not_measured(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=8)
        toys.add("int8", width=8, origin="pruned")
    accuracy.run(tmp_path / "variants", dataset, tmp_path / "accuracy", accuracy.Config(threads=1, resamples=100))
    with pytest.raises(DataError, match="int8 was converted from 'pruned', which was not measured"):
        run(tmp_path / "accuracy", tmp_path / "parity", Config())


@pytest.mark.parametrize("settings", [{"resamples": 1}, {"confidence": 1.5}, {"seed": -1}, {"flips": -1}])
def test_rejects_settings_that_cannot_work(settings: dict[str, float]):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} is"):
        Config(**settings)
