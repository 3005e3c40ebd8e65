import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from toolchain.frameworks.length_batches import batches_by_length, count_batches, even_batches

LENGTHS = st.lists(st.integers(1, 64), max_size=300)


@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_every_row_comes_once_and_no_batch_is_too_large(lengths: list[int], rows: int, seed: int):
    batches = batches_by_length(lengths, rows, seed)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))
    assert all(0 < len(batch) <= rows for batch in batches)


@given(LENGTHS, st.integers(0, 9))
def test_the_same_seed_gives_the_same_batches(lengths: list[int], seed: int):
    assert batches_by_length(lengths, 8, seed) == batches_by_length(lengths, 8, seed)


def test_another_seed_mixes_the_rows_differently():
    assert batches_by_length([5] * 100, 8, 0) != batches_by_length([5] * 100, 8, 1)


def test_little_is_padded():
    lengths = np.random.default_rng(0).integers(4, 64, 2000)
    batches = batches_by_length(lengths.tolist(), 32, 0)
    padded = sum(max(lengths[batch]) * len(batch) for batch in batches)
    assert padded < 1.05 * lengths.sum()


def test_batches_do_not_come_in_order_of_length():
    lengths = list(range(1, 401))
    longest = [max(batch) for batch in batches_by_length(lengths, 8, 0)]
    assert longest != sorted(longest)


@given(st.integers(1, 300), st.integers(1, 40))
def test_even_batches_have_every_row_once_and_none_of_one_row_where_there_are_two(count: int, rows: int):
    batches = even_batches(list(range(count)), rows)
    sizes = [len(batch) for batch in batches]
    assert [position for batch in batches for position in batch] == list(range(count))
    assert len(batches) == count_batches(count, rows)
    assert max(sizes) <= (3 if rows == 2 else rows)
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= min(2, rows, count)
