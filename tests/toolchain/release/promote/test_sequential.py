"""The test keeps its error rates, finds bad shares, and its decisions are final."""

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.errors import ConfigError
from toolchain.release.promote.sequential import BAD, GOOD, UNDECIDED, Hypotheses, SequentialTest

FAILURES = Hypotheses(good=0.001, bad=0.02, alpha=0.01, beta=0.05)
SLOW = Hypotheses(good=0.05, bad=0.15, alpha=0.05, beta=0.05)
RUNS = 4000  # of a simulation
NOISE = 3 * (0.05 * 0.95 / RUNS) ** 0.5  # three standard deviations of a share of 5 % found by one


def decided(hypotheses: Hypotheses, share: float, polls: list[int], runs: int = RUNS) -> dict[str, float]:
    """Return how often each decision is met in ``runs`` tests of a true ``share``, looked at after ``polls`` trials."""
    draws = np.random.default_rng(1945).random((runs, polls[-1])) < share
    events = draws.cumsum(axis=1)[:, [look - 1 for look in polls]]
    found = []
    for row in events:
        test = SequentialTest(hypotheses)
        for count, trials in zip(row.tolist(), polls, strict=True):
            test = test.update(count, trials)
            if test.decision:
                break
        found.append(test.decision)
    return {decision: found.count(decision) / runs for decision in (GOOD, BAD, UNDECIDED)}


def test_the_ratio_is_as_worked_out_by_hand():
    # 2 of 10, bad 0.2 to good 0.1: 2 ln 2 + 8 ln (0.8 / 0.9) = 1.386294 - 0.942264
    hypotheses = Hypotheses(good=0.1, bad=0.2, alpha=0.05, beta=0.05)
    assert hypotheses.log_ratio(2, 10) == pytest.approx(0.444030, abs=1e-6)
    assert hypotheses.log_ratio(0, 0) == 0


@pytest.mark.parametrize(
    ("events", "trials", "decision"),
    [
        # ln(20) = 2.99573 and ln(0.98 / 0.999) = -0.0192023: two failures count 5.99146, and 4.60517 is reached
        (2, 2, BAD),
        (2, 70, BAD),  # 5.99146 - 68 * 0.0192023 = 4.68571
        (2, 80, UNDECIDED),  # 4.49368
        (1, 1, UNDECIDED),  # 2.99573
        (0, 156, UNDECIDED),  # -2.99556, and ln 0.05 = -2.99573
        (0, 157, GOOD),  # -3.01476
        (1, 312, UNDECIDED),  # 2.99573 - 311 * 0.0192023 = -2.97619
        (1, 314, GOOD),  # -3.01459
    ],
)
def test_decisions_are_as_worked_out_by_hand(events: int, trials: int, decision: str):
    assert FAILURES.decide(events, trials) == decision


def test_min_trials_decide_without_an_event():
    assert FAILURES.min_trials == 157
    assert SLOW.min_trials == 27  # ln 0.05 / ln(0.85 / 0.95) = 26.93


@pytest.mark.parametrize("polls", [list(range(1, 1001)), [7, 11, 60, 61, 300, 999], list(range(50, 1001, 50))])
def test_false_alarms_are_at_most_alpha_for_any_schedule(polls: list[int]):
    for share in (SLOW.good, SLOW.good / 2):
        assert decided(SLOW, share, polls)[BAD] <= SLOW.alpha + NOISE


def test_misses_are_at_most_beta_and_bad_shares_are_found():
    for share in (SLOW.bad, 0.3):
        found = decided(SLOW, share, list(range(1, 1001)))
        assert found[GOOD] <= SLOW.beta + NOISE
        assert found[BAD] >= 1 - SLOW.beta - NOISE


def test_a_good_share_is_called_good_soon():
    assert decided(SLOW, SLOW.good, list(range(10, 1001, 10)))[GOOD] >= 1 - SLOW.alpha


shares = st.floats(0.0005, 0.9)
counts = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60)


@st.composite
def hypotheses(draw: st.DrawFn) -> Hypotheses:
    pairs = st.lists(shares, min_size=2, max_size=2).map(sorted)
    good, bad = draw(pairs.filter(lambda pair: pair[1] - pair[0] > 1e-6))  # closer shares need 10^7 trials and more
    return Hypotheses(good=good, bad=bad, alpha=draw(st.floats(0.001, 0.4)), beta=draw(st.floats(0.001, 0.4)))


@given(hypotheses(), counts)
def test_decisions_are_final(given: Hypotheses, steps: list[tuple[int, int]]):
    test, events, trials = SequentialTest(given), 0, 0
    for bad, fine in steps:
        events, trials = events + bad, trials + bad + fine
        before, test = test, test.update(events, trials)
        assert not before.decision or test.decision == before.decision
        if not before.decision:
            assert test.decision == given.decide(events, trials)


@given(hypotheses(), st.integers(0, 500), st.integers(0, 500))
def test_events_raise_the_ratio_and_other_trials_lower_it(given: Hypotheses, events: int, fine: int):
    ratio = given.log_ratio(events, events + fine)
    assert given.log_ratio(events + 1, events + fine + 1) > ratio > given.log_ratio(events, events + fine + 1)


@given(hypotheses())
def test_a_new_test_is_undecided(given: Hypotheses):
    assert given.decide(0, 0) == UNDECIDED
    assert given.decide(0, given.min_trials) == GOOD
    assert given.decide(0, given.min_trials - 1) == UNDECIDED
    most = int(-log(given.alpha) / log(given.bad / given.good)) + 1
    assert given.decide(most, most) == BAD


@pytest.mark.parametrize("seen", [(3, 2), (-1, 2), (1, 9), (2, 8)])
def test_impossible_counts_are_an_error(seen: tuple[int, int]):
    with pytest.raises(ValueError, match="after 2 in 9"):
        SequentialTest(SLOW).update(2, 9).update(*seen)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"good": 0.0}, "good is 0.0: give a share between 0 and 1"),
        ({"bad": 1.0}, "bad is 1.0"),
        ({"bad": float("nan")}, "bad is nan"),
        ({"good": 0.2, "bad": 0.2}, "a good share must be below a bad one"),
        ({"alpha": 0.6, "beta": 0.4}, "their sum must be below 1"),
    ],
)
def test_invalid_hypotheses_are_an_error(said: dict, reason: str):
    with pytest.raises(ConfigError, match=reason):
        Hypotheses(**{"good": 0.05, "bad": 0.15, "alpha": 0.05, "beta": 0.05, **said})
