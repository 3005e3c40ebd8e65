"""Compare evidently's results with SciPy's, and measure the false alarm rate."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from toolchain.artifacts.profile import Profile
from toolchain.monitor.drift.comparison import compare

Rows = list[dict[str, Any]]


def profile(**more: Any) -> Profile:
    known: dict[str, Any] = {"model": "", "split": "test", "numbers": {}, "labels": ()}
    return Profile(**known | more)


def drawn(seed: int, count: int, shift: float = 0.0, positive: float = 0.5) -> Rows:
    draw = np.random.default_rng(seed)
    return [
        {
            "label": "positive" if draw.random() < positive else "negative",
            "numbers": {"tokens": float(draw.poisson(20)), "surprise": draw.normal(8 + shift)},
        }
        for _ in range(count)
    ]


def profile_of(rows: Rows) -> Profile:
    names = rows[0]["numbers"]
    numbers = {name: tuple(row["numbers"][name] for row in rows) for name in names}
    return profile(numbers=numbers, labels=tuple(row["label"] for row in rows))


def found(known: Profile, rows: Rows, level: float = 0.01) -> dict[str, Any]:
    return {column.name: column for column in compare(known, rows, level)[0]}


def test_p_values_and_distances_match_scipy():
    known, window = drawn(0, 400), drawn(1, 200, shift=0.2)
    columns = found(profile_of(known), window)
    for name in ("tokens", "surprise"):
        sides = [[row["numbers"][name] for row in rows] for rows in (known, window)]
        expected = stats.ks_2samp(*sides)
        assert columns[name].p_value == pytest.approx(expected.pvalue)
        assert columns[name].distance == pytest.approx(expected.statistic, abs=1e-4)
    table = [
        [sum(row["label"] == name for row in rows) for rows in (known, window)] for name in ("negative", "positive")
    ]
    assert columns["label"].p_value == pytest.approx(stats.chi2_contingency(table)[1])
    assert columns["label"].distance == pytest.approx(abs(table[0][0] / 400 - table[0][1] / 200), abs=1e-4)


def test_the_level_is_divided_by_the_number_of_descriptors():
    columns = found(profile_of(drawn(0, 300)), drawn(1, 300), level=0.03)
    assert {column.threshold for column in columns.values()} == {0.01}


def test_data_and_prediction_drift_are_distinguished():
    known = profile_of(drawn(0, 1000))
    columns = found(known, drawn(1, 500, shift=1))
    assert [name for name, column in columns.items() if column.drift_detected] == ["surprise"]
    assert {name: column.type for name, column in columns.items()} == {
        "tokens": "data",
        "surprise": "data",
        "label": "prediction",
    }
    assert [name for name, column in found(known, drawn(1, 500, positive=0.8)).items() if column.drift_detected] == [
        "label"
    ]


@pytest.mark.slow
def test_false_alarm_rate_does_not_exceed_the_level():
    """Both samples are new rows of one source each time. The bound is the 99th percentile of the number of alarms in
    200 checks at a rate of 5 %."""
    alarms = 0
    for seed in range(200):
        columns = found(profile_of(drawn(2 * seed, 300)), drawn(2 * seed + 1, 150), level=0.05)
        alarms += any(column.drift_detected for column in columns.values())
    assert alarms <= stats.binom.ppf(0.99, 200, 0.05)


def test_descriptors_of_few_rows_are_skipped_and_reported():
    known, window = drawn(0, 100), drawn(1, 100)
    for row in window[:60]:
        row["numbers"]["surprise"] = None
    columns, skipped = compare(profile_of(known), window, 0.01)
    assert [column.name for column in columns] == ["tokens", "label"]
    assert skipped == ["surprise"]
    assert columns[0].threshold == 0.005


def test_rows_without_a_descriptor_are_ignored():
    known, window = drawn(0, 100), drawn(1, 100)
    for row in window[:40]:
        row["numbers"]["surprise"] = None
    assert found(profile_of(known), window)["surprise"].window["rows"] == 60


def test_a_new_predicted_class_is_drift():
    known, window = drawn(0, 500), drawn(1, 300)
    for row in window[:100]:
        row["label"] = "a new one"
    column = found(profile_of(known), window)["label"]
    assert column.drift_detected
    assert column.window["shares"]["a new one"] == pytest.approx(1 / 3, abs=1e-4)
    assert column.reference["shares"]["a new one"] == 0


def test_rare_classes_are_merged():
    """With 300 rare classes the chi-square test is not valid unless they are merged."""
    draw = np.random.default_rng(0)
    known = profile(numbers={}, labels=tuple(f"class {n}" for n in draw.integers(0, 300, 900)))
    rows = [{"label": f"class {n}", "numbers": {}} for n in draw.integers(0, 300, 400)]
    assert not found(known, rows)["label"].drift_detected


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_descriptor_drifts_only_when_it_changes(value: float):
    known = profile(numbers={"digits": (value,) * 200}, labels=("positive",) * 200)
    same = [{"label": "positive", "numbers": {"digits": value}}] * 100
    assert not any(column.drift_detected for column in found(known, same).values())
    assert found(known, same)["label"].p_value == 1
    other = [{"label": "positive", "numbers": {"digits": value + 0.1}}] * 100
    assert found(known, other)["digits"].drift_detected
    assert found(known, other)["digits"].distance == 1


@settings(max_examples=15)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60),
    st.lists(st.floats(-1e6, 1e6), min_size=20, max_size=60),
    st.lists(st.sampled_from("abc"), min_size=20, max_size=20),
)
def test_columns_are_always_valid_json(first: list[float], second: list[float], labels: list[str]):
    import json

    known = profile(numbers={"tokens": tuple(first[:20])}, labels=tuple(labels))
    rows = [{"label": label, "numbers": {"tokens": value}} for label, value in zip(labels, second[:20], strict=True)]
    for column in found(known, rows).values():
        assert 0 <= column.p_value <= 1
        assert 0 <= column.distance <= 1
        json.dumps(column.to_json(), allow_nan=False)
