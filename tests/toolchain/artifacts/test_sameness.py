from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.artifacts import sameness
from toolchain.artifacts.sameness import KeyFiles, comparable, first_of_each, keys_of, keys_of_texts


@pytest.mark.parametrize(
    ("one", "other"),
    [("It's GREAT!", "its great"), ("a  b", "ab"), ("STRASSE", "straße"), ("ﬁlm", "film"), ("naïve", "NAÏVE")],
)
def test_texts_that_say_the_same(one: str, other: str):
    assert comparable(one) == comparable(other)
    assert keys_of_texts([one])[0] == keys_of_texts([other])[0]


@pytest.mark.parametrize(
    ("one", "other"), [("great", "greet"), (":)", ":("), ("naïve", "naive"), ("कि", "की"), ("1", "2")]
)
def test_texts_that_do_not(one: str, other: str):
    assert comparable(one) != comparable(other)
    assert keys_of_texts([one])[0] != keys_of_texts([other])[0]


@given(st.text(st.characters(categories=["L", "N"]), min_size=1), st.text(" .,!?-'\t", max_size=5))
def test_punctuation_and_spaces_around_a_text_say_nothing(text: str, around: str):
    assert comparable(around + text + around) == comparable(text)


def test_a_missing_text_counts_as_an_empty_one():
    assert keys_of_texts([None]).tolist() == keys_of_texts([""]).tolist()


def test_keys_are_the_same_on_every_machine():
    assert keys_of(["a", ""]).tolist() == [13950350942979735504, 1760245841805064774]


@given(st.lists(st.integers(0, 20)), st.integers(1, 5))
def test_equal_keys_meet_whatever_the_number_of_files(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], size: int
):
    folder = tmp_path_factory.mktemp("keys") / "new"
    files = KeyFiles(folder, len(keys) * sameness.ROWS_PER_BUCKET // size)  # many small files
    for position, key in enumerate(keys):
        files.add(np.array([key], np.uint64), [position])
    found = {}
    for entries in files.repeated():
        for entry, first in zip(entries, first_of_each(entries) if len(entries) else [], strict=True):
            found[int(entry["position"])] = int(entries[first]["position"])
    expected = {position: keys.index(key) for position, key in enumerate(keys) if keys.count(key) > 1}
    assert found == expected


def test_entries_carry_group_and_exact_key(tmp_path: Path):
    files = KeyFiles(tmp_path / "new", 2)
    files.add(np.array([5, 5], np.uint64), [0, 1], [3, 4], np.array([7, 8], np.uint64))
    (entries,) = files.repeated()
    assert entries["group"].tolist() == [3, 4]
    assert entries["exact"].tolist() == [7, 8]
