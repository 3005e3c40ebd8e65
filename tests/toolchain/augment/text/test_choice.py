import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.augment.text.choice import Texts, choose


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_share_of_rows_that_was_asked_for_is_chosen(share: float):
    chosen = choose(np.arange(100_000), share, seed=0)
    assert chosen.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 100_000) ** 0.5)  # 4 standard errors


@given(st.lists(st.integers(0, 2**62), min_size=1), st.floats(0, 1), st.integers(), st.randoms())
def test_a_row_is_chosen_by_its_number_alone(rows: list[int], share: float, seed: int, random: object):
    together = choose(np.array(rows, np.int64), share, seed)
    alone = [choose(np.array([row], np.int64), share, seed)[0] for row in rows]
    assert together.tolist() == alone


def test_a_larger_share_keeps_the_rows_of_a_smaller_one():
    rows = np.arange(1000)
    assert not (choose(rows, 0.1, 3) & ~choose(rows, 0.3, 3)).any()


def test_another_seed_chooses_other_rows():
    rows = np.arange(10_000)
    both = choose(rows, 0.5, 1) & choose(rows, 0.5, 2)
    assert both.mean() == pytest.approx(0.25, abs=0.03)


def test_texts_hold_what_was_put_in_without_regard_to_case_and_space():
    texts = Texts(["A good  film.", None, "Dull"])
    assert "a good film." in texts
    assert " dull " in texts
    assert "a good film" not in texts
    assert "anything" not in Texts()
