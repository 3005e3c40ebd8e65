import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import bootstrap as scipy_bootstrap

from toolchain.errors import ConfigError
from toolchain.metrics import bootstrap
from toolchain.metrics.bootstrap import Bootstrap


def share_of_second(counts):
    return counts[:, 1] / counts.sum(axis=1)


def test_an_interval_of_a_share_is_that_of_scipy():
    rows = np.repeat([0, 1], [150, 850])
    expected = scipy_bootstrap(
        (rows,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = Bootstrap(resamples=4000).of_counts(np.array([150, 850]), share_of_second)
    assert found.value == 0.85
    assert found.low == pytest.approx(expected.low, abs=0.002)
    assert found.high == pytest.approx(expected.high, abs=0.002)


def test_an_interval_of_a_median_is_that_of_scipy():
    samples = np.random.default_rng(3).lognormal(sigma=0.2, size=60)
    expected = scipy_bootstrap(
        (samples,), np.median, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = Bootstrap(resamples=4000).of_median(samples[:, None])
    assert found.value == np.median(samples)
    assert found.low == pytest.approx(expected.low, abs=0.01)
    assert found.high == pytest.approx(expected.high, abs=0.01)


def test_a_disturbed_round_widens_the_interval_no_more_than_one_sample_would():
    rounds = np.ones((9, 4))
    rounds[0] = 50.0
    assert Bootstrap().of_median(rounds).to_json() == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_draws_the_same_however_many_cells_fit_at_once(monkeypatch: pytest.MonkeyPatch):
    counts = np.array([150, 850])
    whole = Bootstrap().of_counts(counts, share_of_second)
    monkeypatch.setattr(bootstrap, "CELLS_AT_ONCE", 20)
    assert Bootstrap().of_counts(counts, share_of_second) == whole


def test_another_seed_draws_otherwise():
    counts = np.array([150, 850])
    assert Bootstrap(seed=1).of_counts(counts, share_of_second) != Bootstrap().of_counts(counts, share_of_second)


@given(st.lists(st.integers(0, 300), min_size=2, max_size=2).filter(sum))
def test_the_metric_is_in_its_interval(counts: list[int]):
    found = Bootstrap(resamples=200).of_counts(np.array(counts), share_of_second)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize(
    "settings", [{"resamples": 99}, {"confidence": 1.0}, {"confidence": 0.4}, {"confidence": 95.0}, {"seed": -1}]
)
def test_rejects_settings_that_cannot_work(settings: dict[str, float]):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"{name} is"):
        Bootstrap(**settings)
