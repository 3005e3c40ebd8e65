import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.augment.text.selection import TextSet, select


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_the_requested_share_of_rows_is_selected(share: float):
    selected = select(np.arange(100_000), share, seed=0)
    assert selected.mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 100_000) ** 0.5)  # 4 standard errors


@given(st.lists(st.integers(0, 2**62), min_size=1), st.floats(0, 1), st.integers(), st.randoms())
def test_the_selection_of_a_row_depends_on_its_number_alone(rows: list[int], share: float, seed: int, random: object):
    together = select(np.array(rows, np.int64), share, seed)
    alone = [select(np.array([row], np.int64), share, seed)[0] for row in rows]
    assert together.tolist() == alone


def test_a_larger_share_keeps_the_rows_of_a_smaller_one():
    rows = np.arange(1000)
    assert not (select(rows, 0.1, 3) & ~select(rows, 0.3, 3)).any()


def test_another_seed_selects_other_rows():
    rows = np.arange(10_000)
    both = select(rows, 0.5, 1) & select(rows, 0.5, 2)
    assert both.mean() == pytest.approx(0.25, abs=0.03)


def test_a_text_set_ignores_case_and_whitespace():
    texts = TextSet(["A good  film.", None, "Dull"])
    assert "a good film." in texts
    assert " dull " in texts
    assert "a good film" not in texts
    assert "anything" not in TextSet()
