import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar

from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification import Rows, calibration, confuse, intervals, measure, roc
from toolchain.metrics.probabilities import softmax
from toolchain.metrics.settings import MetricSettings


def random_logits(rows: int, classes: int, seed: int = 0, skill: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that lean to the truth, and the truth."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    logits = generator.standard_normal((rows, classes)) + skill * np.eye(classes)[labels]
    return logits.astype(np.float32), labels


def measured(logits: np.ndarray, labels: np.ndarray, names: str = "abcdefgh", resamples: int = 1000) -> dict:
    rows = Rows(np.arange(len(labels)), labels, list(names[: logits.shape[1]]))
    return measure(logits, np.full(len(labels), 9), rows, MetricSettings(Bootstrap(resamples=resamples)))


@pytest.mark.parametrize("classes", [2, 5])
def test_metrics_are_those_of_scikit_learn(classes: int):
    logits, labels = random_logits(600, classes)
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
    logits, labels = random_logits(500, 2)
    logits = logits.round(1)  # ties
    probabilities = softmax(logits)
    found = roc(probabilities, labels)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities[:, 1]))
    assert metrics.auc(
        [point["false_positive_rate"] for point in found["points"]],
        [point["true_positive_rate"] for point in found["points"]],
    ) == pytest.approx(found["auc"], abs=0.005)


def test_the_area_of_more_classes_is_the_mean_of_one_against_the_rest():
    logits, labels = random_logits(500, 4)
    expected = metrics.roc_auc_score(labels, softmax(logits), multi_class="ovr", average="macro")
    assert roc(softmax(logits), labels)["auc"] == pytest.approx(expected)


def test_the_curve_runs_from_nothing_to_everything_with_thresholds_that_json_can_hold():
    logits, labels = random_logits(300, 2)
    points = roc(softmax(logits), labels)["points"]
    first, last = points[0], points[-1]
    assert (first["false_positive_rate"], first["true_positive_rate"]) == (0, 0)
    assert (last["false_positive_rate"], last["true_positive_rate"]) == (1, 1)
    assert [p["threshold"] for p in points] == sorted((p["threshold"] for p in points), reverse=True)
    json.dumps(points, allow_nan=False)


def test_one_class_alone_has_no_curve():
    logits, _ = random_logits(10, 2)
    assert roc(softmax(logits), np.ones(10, int)) == {"auc": None, "points": []}


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    # Guo et al. 2017: 60 rows at 0.9 of which 45 are right (gap .15), 40 rows at 0.6 of which 24 are right (no gap).
    probabilities = np.array([[0.1, 0.9]] * 60 + [[0.4, 0.6]] * 40)
    labels = np.array([1] * 45 + [0] * 15 + [1] * 24 + [0] * 16)
    found = calibration(probabilities, labels, 15)
    assert found["expected_error"] == pytest.approx(0.6 * 0.15)
    assert [entry["rows"] for entry in found["bins"]] == [40, 60]


def test_the_comparison_with_the_most_frequent_class_is_the_exact_mcnemar_test_of_statsmodels():
    logits, labels = random_logits(300, 3, skill=0.2)
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
    logits, labels = random_logits(400, 3)
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
    logits, labels = random_logits(200, 2)
    wide = np.concatenate([logits, np.full((200, 1), -99, np.float32)], axis=1)
    with_absent, without = measured(wide, labels), measured(logits, labels)
    assert with_absent["worst_class"] in "ab"
    assert with_absent["f1"]["value"] == pytest.approx(without["f1"]["value"])
    assert with_absent["per_class"][2] == {"label": "c", "precision": 0, "recall": 0, "f1": 0, "rows": 0}


def test_slices_hold_every_row_once_and_leave_empty_ones_out():
    logits, labels = random_logits(6, 2, skill=9.0)
    rows = Rows(np.arange(6), labels, ["a", "b"])
    tokens = np.array([3, 16, 17, 32, 65, 900])
    found = measure(logits, tokens, rows, MetricSettings(Bootstrap()))["slices"]
    assert [(entry["name"], entry["rows"]) for entry in found] == [
        ("1 to 16 tokens", 2),
        ("17 to 32 tokens", 2),
        ("more than 64 tokens", 2),
    ]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 30), st.integers(2, 5)), elements=st.floats(-9, 9, width=32)),
    st.integers(0, 99),
)
def test_metrics_of_any_logits_are_shares_and_json(logits: np.ndarray, seed: int):
    labels = np.random.default_rng(seed).integers(0, logits.shape[1], len(logits))
    found = measured(logits, labels, resamples=100)
    assert 0 <= found["worst_class_accuracy"] <= found["accuracy"]["value"] <= 1
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]
    assert 0 <= found["calibration"]["expected_error"] <= 1
    assert sum(entry["rows"] for entry in found["slices"]) == len(labels)
    json.dumps(found, allow_nan=False)
