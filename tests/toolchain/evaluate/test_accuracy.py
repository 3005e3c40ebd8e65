from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate.accuracy import Config, run
from toolchain.metrics.probabilities import softmax


@pytest.fixture(scope="module")
def outcome(new_toys, dataset: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("accuracy")
    with new_toys(folder / "variants") as toys:
        toys.add("fp32", width=32)
        toys.add("pruned", width=8)
        toys.add("pruned-again", width=8, origin="pruned")
    result = run(folder / "variants", dataset, folder / "accuracy", Config(threads=1, resamples=200))
    return result, open_measurement(folder / "accuracy", "accuracy"), folder


def test_measures_every_variant_on_every_test_row(outcome, reviews):
    result, measurement, _ = outcome
    assert (result.rows, result.variants) == (400, 3)
    assert list(measurement.data["variants"]) == ["fp32", "pruned", "pruned-again"]
    assert 0.6 < result.accuracy < 0.95  # naive Bayes on real reviews
    assert measurement.data["variants"]["pruned-again"]["origin"] == "pruned"


def test_keeps_every_prediction(outcome, dataset: Path):
    result, measurement, _ = outcome
    table = pq.read_table(measurement.path / "predictions.parquet").to_pandas()
    own = table[table.variant == "fp32"]
    expected = open_dataset(dataset).table("test")
    assert own.row.tolist() == expected.column("row").to_pylist()
    assert (own.label == own.predicted).mean() == pytest.approx(result.accuracy)
    assert own.length.between(1, 128).all()
    assert [len(logits) for logits in own.logits] == [2] * 400


def test_records_what_each_variant_predicts_for_a_row_alone(outcome, reviews):
    _, measurement, folder = outcome
    table = pq.read_table(measurement.path / "predictions.parquet").to_pandas()
    for name, model in open_variants(folder / "variants").models.items():
        recorded = read_expected(measurement.path / "expected" / name)
        assert recorded.model == model.digest
        assert [row.text for row in recorded.rows] == reviews.texts[1500 : 1500 + len(recorded.rows)]
        logits = np.stack(table[table.variant == name].logits.to_list())[: len(recorded.rows)]
        # nothing is quantized here, so a row alone and a row in a padded batch have equal predictions
        assert [row.scores for row in recorded.rows] == pytest.approx(softmax(logits), abs=1e-5)


def test_what_goes_to_kubeflow_is_the_references(outcome):
    result, measurement, _ = outcome
    reference = measurement.data["variants"]["fp32"]
    assert result.labels == ["negative", "positive"]
    assert result.confusion == reference["confusion"]
    assert len(result.thresholds) == len(result.true_positive_rates) == len(result.false_positive_rates)


def test_the_same_seed_gives_the_same_measurement(outcome, dataset: Path, tmp_path: Path):
    _, measurement, folder = outcome
    run(folder / "variants", dataset, tmp_path / "again", Config(threads=1, resamples=200))
    assert open_measurement(tmp_path / "again", "accuracy").digest == measurement.digest


def test_rejects_a_split_that_is_not_there(outcome, dataset: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no split 'validation'"):
        run(outcome[2] / "variants", dataset, tmp_path / "out", Config(split="validation"))
    assert not (tmp_path / "out").exists()


def test_rejects_a_dataset_of_other_classes(outcome, write_dataset, tmp_path: Path):
    other = write_dataset(tmp_path / "data", rows=5, labels=("no", "yes"))
    with pytest.raises(DataError, match="has the classes no, yes; the model has negative, positive"):
        run(outcome[2] / "variants", other, tmp_path / "out", Config())


def test_rejects_an_empty_split(outcome, write_dataset, tmp_path: Path):
    with pytest.raises(DataError, match=r"test split .* is empty"):
        run(outcome[2] / "variants", write_dataset(tmp_path / "data", rows=0), tmp_path / "out", Config())


def test_rejects_weights_that_do_not_load_in_one_line(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add_made("fp32", lambda path: path.write_bytes(b"no graph"), "")
    with pytest.raises(ArtifactError, match=r"fp32/model\.onnx does not run in ONNX Runtime") as caught:
        run(tmp_path / "variants", dataset, tmp_path / "out", Config())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_rejects_a_variant_that_predicts_no_number(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add("fp32", width=8)
        toys.log_odds[1] = 1e38  # of unknown words: overflows in the layers behind
        toys.add("broken", width=8)
    with pytest.raises(ArtifactError, match=r"broken: it predicts NaN or Inf for .* of 400 rows"):
        run(tmp_path / "variants", dataset, tmp_path / "out", Config(threads=1))


@pytest.mark.parametrize(
    "settings",
    [
        {"split": ""},
        {"threads": -1},
        {"resamples": 5},
        {"confidence": 95},
        {"seed": -3},
        {"bins": 1},
        {"lengths": [32, 16]},
        {"lengths": [0, 16]},
    ],
)
def test_rejects_settings_that_cannot_work(settings: dict[str, object]):
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        Config(**settings)
