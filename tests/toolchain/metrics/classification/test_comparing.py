import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import recall_score

from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.classification.comparing import Predictions, compare

NAMES = ["no", "yes"]


def predictions(predicted: list[int], labels: list[int]) -> Predictions:
    classes = np.array(predicted, np.int64)
    return Predictions(np.arange(len(classes)) + 70, np.array(labels, np.int64), classes, np.eye(2)[classes] * 3.0)


def compared(
    variant: list[int], reference: list[int], labels: list[int], resamples: int = 1000, flips: int = 100
) -> dict:
    sides = predictions(variant, labels), predictions(reference, labels)
    return compare(*sides, sides[1], NAMES, Bootstrap(resamples=resamples), flips)


def noisy_pair(rows: int, flips: int, seed: int = 0) -> tuple[list[int], list[int], list[int]]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 2, rows)
    reference = np.where(generator.random(rows) < 0.85, labels, 1 - labels)
    variant = reference.copy()
    variant[generator.permutation(rows)[:flips]] ^= 1
    return variant.tolist(), reference.tolist(), labels.tolist()


def test_shows_how_often_and_where_a_variant_predicts_differently():
    found = compared([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 0, 1])
    assert found["agreement"]["value"] == 0.75
    assert found["flipped"] == 1
    assert found["flips"] == [{"row": 72, "label": "no", "reference": "no", "variant": "yes"}]


def test_lists_no_more_flips_than_requested():
    found = compared([1] * 9, [0] * 9, [0] * 9, flips=2)
    assert (found["flipped"], len(found["flips"])) == (9, 2)


def test_a_drop_of_ten_in_a_thousand_is_exactly_one_point():
    labels = [0, 1] * 500
    reference, variant = list(labels), list(labels)
    for position in range(10):
        variant[2 * position] = 1
    found = compared(variant, reference, labels)
    assert found["accuracy_drop"]["value"] == 0.01
    assert found["worst_class_drop"]["value"] == pytest.approx(0.02)
    assert found["worst_class_drop"]["label"] == "no"


def test_the_interval_of_a_drop_is_scipys_paired_one():
    variant, reference, labels = noisy_pair(800, 60)
    truth = np.array(labels)
    expected = scipy_bootstrap(
        ((np.array(reference) == truth).astype(float), (np.array(variant) == truth).astype(float)),
        lambda r, v, axis: r.mean(axis=axis) - v.mean(axis=axis),
        paired=True,
        n_resamples=3000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    found = compared(variant, reference, labels, resamples=3000)["accuracy_drop"]
    assert found["low"] == pytest.approx(expected.low, abs=0.003)
    assert found["high"] == pytest.approx(expected.high, abs=0.003)


def test_a_pair_is_distinguished_more_surely_than_two_strangers():
    variant, reference, labels = noisy_pair(800, 16)
    found = compared(variant, reference, labels)["accuracy_drop"]
    assert found["high"] - found["low"] < 0.025  # unpaired, two accuracies of 85 % on 800 rows: about 0.07


def test_a_gain_is_a_negative_drop():
    found = compared([0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1])
    assert found["accuracy_drop"]["value"] == -0.5
    assert found["worst_class_drop"]["value"] == -0.5


def test_a_class_that_is_not_there_cannot_be_the_worst():
    assert compared([1, 0], [1, 1], [1, 1])["worst_class_drop"]["label"] == "yes"


def test_logits_of_half_the_size_point_the_same_way():
    labels = [0, 1, 1]
    whole = predictions(labels, labels)
    half = Predictions(whole.rows, whole.labels, whole.predicted, whole.logits / 2)
    found = compare(half, whole, whole, NAMES, Bootstrap())
    assert found["cosine"] == pytest.approx(1)
    assert found["max_difference"] == 1.5


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 9))
def test_a_drop_is_never_more_than_the_disagreement(rows: int, flips: int, seed: int):
    found = compared(*noisy_pair(rows, min(flips, rows), seed), resamples=100)
    assert abs(found["accuracy_drop"]["value"]) <= 1 - found["agreement"]["value"] + 1e-12
    json.dumps(found, allow_nan=False)


@given(st.integers(2, 60), st.integers(0, 60), st.integers(0, 9))
def test_the_drop_of_the_worst_class_is_that_of_scikit_learns_lowest_recall(rows: int, flips: int, seed: int):
    variant, reference, labels = noisy_pair(rows, min(flips, rows), seed)
    worst = [min(recall_score(labels, side, labels=np.unique(labels), average=None)) for side in (reference, variant)]
    found = compared(variant, reference, labels, resamples=100)["worst_class_drop"]
    assert found["value"] == pytest.approx(worst[0] - worst[1])


def test_serving_another_class_a_little_worse_is_no_drop_while_the_worst_is_served_better():
    labels = [0] * 10 + [1] * 10
    reference = [0] * 10 + [1] * 6 + [0] * 4
    variant = [0] * 9 + [1] * 9 + [0] * 2
    found = compared(variant, reference, labels)["worst_class_drop"]
    assert found["value"] == pytest.approx(0.6 - 0.8)
    assert found["label"] == "yes"


@given(st.integers(1, 60), st.integers(0, 9))
def test_a_variant_equals_itself(rows: int, seed: int):
    _, reference, labels = noisy_pair(rows, 0, seed)
    found = compared(reference, reference, labels, resamples=100)
    assert found["agreement"] == {"value": 1, "low": 1, "high": 1}
    assert found["accuracy_drop"] == {"value": 0, "low": 0, "high": 0}
    assert found["max_difference"] == 0
