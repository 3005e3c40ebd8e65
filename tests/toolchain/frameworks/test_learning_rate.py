from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.frameworks.learning_rate import cosine_decay, linear_decay


@pytest.mark.parametrize("decay", [linear_decay, cosine_decay])
@given(st.integers(1, 500), st.floats(0, 0.99))
def test_the_rate_rises_to_its_peak_once_and_falls_to_nearly_nothing(
    decay: Callable[[int, int, float], float], steps: int, warmup: float
):
    rates = [decay(step, steps, warmup) for step in range(steps)]
    peak = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[peak] == 1
