import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar

from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.expected import read_expected
from toolchain.artifacts.measurement import open_measurement
from toolchain.artifacts.variants import open_variants
from toolchain.errors import ArtifactError, ConfigError, DataError
from toolchain.evaluate.accuracy import Config, run
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification import Rows, calibration, confuse, intervals, measure, roc
from toolchain.metrics.probabilities import softmax


def answers(rows: int, classes: int, seed: int = 0, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that lean to the truth, and the truth."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    logits = generator.standard_normal((rows, classes)) + skill * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def measured(logits: np.ndarray, labels: np.ndarray, names: str = "abcdefgh", **settings: object) -> dict:
    rows = Rows(np.arange(len(labels)), labels, list(names[: logits.shape[1]]))
    config = Config(**settings)
    bootstrap = Bootstrap(resamples=config.resamples, confidence=config.confidence, seed=config.seed)
    return measure(logits, np.full(len(labels), 9), rows, bootstrap, config.bins, config.lengths)


@pytest.mark.parametrize("classes", [2, 5])
def test_figures_are_those_of_scikit_learn(classes: int):
    logits, labels = answers(600, classes)
    predicted, found = logits.argmax(axis=1), measured(logits, labels)
    report = metrics.classification_report(labels, predicted, output_dict=True)
    assert found["accuracy"]["value"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["f1"]["value"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["confusion"] == metrics.confusion_matrix(labels, predicted).tolist()
    for position, entry in enumerate(found["per_class"]):
        expected = report[str(position)]
        assert entry["precision"] == pytest.approx(expected["precision"])
        assert entry["recall"] == pytest.approx(expected["recall"])
        assert entry["f1"] == pytest.approx(expected["f1-score"])
        assert entry["rows"] == expected["support"]


def test_the_area_of_two_classes_is_that_of_scikit_learn():
    logits, labels = answers(500, 2)
    logits = logits.round(1)  # ties
    probabilities = softmax(logits)
    found = roc(probabilities, labels)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities[:, 1]))
    assert metrics.auc(
        [point["false_positive_rate"] for point in found["points"]],
        [point["true_positive_rate"] for point in found["points"]],
    ) == pytest.approx(found["auc"], abs=0.005)


def test_the_area_of_more_classes_is_the_mean_of_one_against_the_rest():
    logits, labels = answers(500, 4)
    expected = metrics.roc_auc_score(labels, softmax(logits), multi_class="ovr", average="macro")
    assert roc(softmax(logits), labels)["auc"] == pytest.approx(expected)


def test_the_curve_runs_from_nothing_to_everything_with_thresholds_that_json_can_hold():
    logits, labels = answers(300, 2)
    points = roc(softmax(logits), labels)["points"]
    first, last = points[0], points[-1]
    assert (first["false_positive_rate"], first["true_positive_rate"]) == (0, 0)
    assert (last["false_positive_rate"], last["true_positive_rate"]) == (1, 1)
    assert [p["threshold"] for p in points] == sorted((p["threshold"] for p in points), reverse=True)
    json.dumps(points, allow_nan=False)


def test_one_class_alone_has_no_curve():
    logits, _ = answers(10, 2)
    assert roc(softmax(logits), np.ones(10, int)) == {"auc": None, "points": []}


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    # Guo et al. 2017: 60 rows at 0.9 of which 45 are right (gap .15), 40 rows at 0.6 of which 24 are right (no gap).
    probabilities = np.array([[0.1, 0.9]] * 60 + [[0.4, 0.6]] * 40)
    labels = np.array([1] * 45 + [0] * 15 + [1] * 24 + [0] * 16)
    found = calibration(probabilities, labels, 15)
    assert found["expected_error"] == pytest.approx(0.6 * 0.15)
    assert [entry["rows"] for entry in found["bins"]] == [40, 60]


def test_the_comparison_with_the_most_frequent_class_is_the_exact_mcnemar_test_of_statsmodels():
    logits, labels = answers(300, 3, skill=0.2)
    found = measured(logits, labels)["baseline"]
    most = np.bincount(labels).argmax()
    correct, baseline = logits.argmax(axis=1) == labels, labels == most
    table = [[(correct & baseline).sum(), (correct & ~baseline).sum()], [(~correct & baseline).sum(), 0]]
    assert (found["better"], found["worse"]) == (table[0][1], table[1][0])
    assert found["better"] > found["worse"]
    assert found["p_value"] == pytest.approx(mcnemar(table, exact=True).pvalue / 2, rel=1e-3)  # theirs has two sides
    assert (found["label"], found["share"]) == ("abc"[most], baseline.mean())


def test_a_model_that_always_predicts_the_most_frequent_class_is_no_better_than_it():
    labels = np.array([0, 1] * 50)
    logits = np.tile(np.array([[1.0, 0.0]], np.float32), (100, 1))
    found = measured(logits, labels, "ab")["baseline"]
    assert found == {"label": "a", "share": 0.5, "better": 0, "worse": 0, "p_value": 1.0}


def test_intervals_are_those_of_drawing_rows():
    logits, labels = answers(400, 3)
    predicted = logits.argmax(axis=1)
    generator, drawn = np.random.default_rng(5), []
    for _ in range(1000):
        rows = generator.integers(0, 400, 400)
        drawn.append(metrics.f1_score(labels[rows], predicted[rows], average="macro"))
    found = intervals(confuse(predicted, labels, 3), Bootstrap(resamples=4000))["f1"]
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist(), abs=0.006)


def test_the_worst_class_is_the_one_found_least_often():
    labels = np.array([0] * 10 + [1] * 10)
    logits = np.eye(2, dtype=np.float32)[[0] * 9 + [1] + [1] * 6 + [0] * 4]
    found = measured(logits, labels, "no")
    assert (found["worst_class"], found["worst_class_accuracy"]) == ("o", 0.6)


def test_a_class_without_rows_is_not_the_worst_and_has_no_part_in_f1():
    logits, labels = answers(200, 2)
    wide = np.concatenate([logits, np.full((200, 1), -99, np.float32)], axis=1)
    with_absent, without = measured(wide, labels), measured(logits, labels)
    assert with_absent["worst_class"] in "ab"
    assert with_absent["f1"]["value"] == pytest.approx(without["f1"]["value"])
    assert with_absent["per_class"][2] == {"label": "c", "precision": 0, "recall": 0, "f1": 0, "rows": 0}


def test_slices_hold_every_row_once_and_leave_empty_ones_out():
    logits, labels = answers(6, 2, skill=9.0)
    rows = Rows(np.arange(6), labels, ["a", "b"])
    tokens = np.array([3, 16, 17, 32, 65, 900])
    found = measure(logits, tokens, rows, Bootstrap(), 15, [16, 32, 64])["slices"]
    assert [(entry["name"], entry["rows"]) for entry in found] == [
        ("1 to 16 tokens", 2),
        ("17 to 32 tokens", 2),
        ("more than 64 tokens", 2),
    ]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(2, 5)), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 99),
)
def test_whatever_is_answered_figures_are_shares_and_json(logits: np.ndarray, seed: int):
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    found = measured(logits, labels, resamples=100)
    assert 0 <= found["worst_class_accuracy"] <= found["accuracy"]["value"] <= 1
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]
    assert 0 <= found["calibration"]["expected_error"] <= 1
    assert sum(entry["rows"] for entry in found["slices"]) == len(labels)
    json.dumps(found, allow_nan=False)


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


def test_keeps_every_answer(outcome, dataset: Path):
    result, measurement, _ = outcome
    table = pq.read_table(measurement.path / "predictions.parquet").to_pandas()
    own = table[table.variant == "fp32"]
    expected = open_dataset(dataset).table("test")
    assert own.row.tolist() == expected.column("row").to_pylist()
    assert (own.label == own.predicted).mean() == pytest.approx(result.accuracy)
    assert own.length.between(1, 128).all()
    assert [len(logits) for logits in own.logits] == [2] * 400


def test_records_what_each_variant_answers_to_a_row_alone(outcome, reviews):
    _, measurement, folder = outcome
    table = pq.read_table(measurement.path / "predictions.parquet").to_pandas()
    for name, model in open_variants(folder / "variants").models.items():
        recorded = read_expected(measurement.path / "expected" / name)
        assert recorded.model == model.digest
        assert [row.text for row in recorded.rows] == reviews.texts[1500 : 1500 + len(recorded.rows)]
        logits = np.stack(table[table.variant == name].logits.to_list())[: len(recorded.rows)]
        # nothing is quantized here, so a row alone and a row in a padded batch have the same answer
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


def test_refuses_a_split_that_is_not_there(outcome, dataset: Path, tmp_path: Path):
    with pytest.raises(DataError, match="no split 'validation'"):
        run(outcome[2] / "variants", dataset, tmp_path / "out", Config(split="validation"))
    assert not (tmp_path / "out").exists()


def test_refuses_a_dataset_of_other_classes(outcome, write_dataset, tmp_path: Path):
    other = write_dataset(tmp_path / "data", rows=5, labels=("no", "yes"))
    with pytest.raises(DataError, match="has the classes no, yes; the model has negative, positive"):
        run(outcome[2] / "variants", other, tmp_path / "out", Config())


def test_refuses_an_empty_split(outcome, write_dataset, tmp_path: Path):
    with pytest.raises(DataError, match=r"test split .* is empty"):
        run(outcome[2] / "variants", write_dataset(tmp_path / "data", rows=0), tmp_path / "out", Config())


def test_refuses_weights_that_do_not_load_in_one_line(new_toys, dataset: Path, tmp_path: Path):
    with new_toys(tmp_path / "variants") as toys:
        toys.add_made("fp32", lambda path: path.write_bytes(b"no graph"), "")
    with pytest.raises(ArtifactError, match=r"fp32/model\.onnx does not run in ONNX Runtime") as caught:
        run(tmp_path / "variants", dataset, tmp_path / "out", Config())
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_refuses_a_variant_that_answers_with_no_number(new_toys, dataset: Path, tmp_path: Path):
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
def test_refuses_settings_that_cannot_work(settings: dict[str, object]):
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        Config(**settings)
