from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain import dedup
from toolchain.dedup import KeyFiles, comparable, first_equal, first_of_each, keys_of, keys_of_texts, spelling


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A film.", "a  FILM"),
        ("“Great”, he said", "great he said"),
        ("It’s great", "it's great"),
        ("a good film , and short .", "A good film, and short."),
        ("Great!!!", "great !"),
        ("STRAẞE", "straße"),
        ("ﬁlm", "film"),
        ("ｆｉｌｍ １０", "film 10"),
        ("naïve", "NAÏVE"),
        ("cafe\u0301", "café"),
        ("−1.1 percent", "-1.1 percent"),
        ("wait...", "wait…"),
        ("a\u200bb\ufeff", "ab"),
    ],
)
def test_texts_that_mean_the_same(one: str, other: str):
    assert comparable(one) == comparable(other)
    assert keys_of_texts([one])[0] == keys_of_texts([other])[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("great", "greet"),
        (":)", ":("),
        ("ok :)", "ok :("),
        ("ok:)", "ok"),
        ("naïve", "naive"),
        ("कि", "की"),
        ("1", "2"),
        ("1.1 percent", "-1.1 percent"),
        ("1.1 percent", "11 percent"),
        (".5 points", "5 points"),
        ("1,5 Liter", "15 Liter"),
        ("at 10:30", "at 1030"),
        ("10 30", "1030"),
        ("2/3 of it", "23 of it"),
        ("3-4 years", "34 years"),
        ("10² m", "102 m"),
        ("½ a cup", "12 a cup"),
        ("C", "C#"),
        ("C", "C++"),
        ("F# is a note", "F is a note"),
        (".NET", "net"),
        ("good", "good?"),
        ("good", "good!"),
        ("it's", "its"),
        ("we're", "were"),
        ("now here", "nowhere"),
        ("in Maßen", "in Massen"),
        ("$5", "€5"),
        ("5%", "5"),
        ("#1", "1"),
        ("<3", "3"),
        ("a > b", "a < b"),
        ("so (not) good", "so not good"),
        ("fine 👍", "fine 👎"),
        ("fine 👍🏻", "fine 👍🏿"),
        ("6'2\"", "62"),
        (
            "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
            "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        ),
    ],
)
def test_texts_that_do_not(one: str, other: str):
    assert comparable(one) != comparable(other)
    assert spelling(one) != spelling(other)
    assert keys_of_texts([one])[0] != keys_of_texts([other])[0]


def test_capitals_differ_from_small_letters_in_the_spelling_alone():
    assert comparable("made in the US") == comparable("Made in the us.")
    assert spelling("made in the US") != spelling("made in the us")
    assert spelling("Made in Spain") == spelling("made in spain")


WORDS = st.text(st.characters(categories=["Lu", "Ll", "Nd"]), min_size=1)


@given(WORDS, st.text(' "\t', max_size=5), st.sampled_from(["", ",", ".", ";", ";,"]))
def test_what_stands_around_a_sentence_means_nothing(text: str, before: str, after: str):
    assert comparable(f"{before}{text}a{after}{before}") == comparable(f"{text}a")


@given(WORDS, WORDS, st.sampled_from("?!:)(+-#%&*/=<>@^_|~$€°§"))
def test_other_marks_make_another_text(one: str, other: str, mark: str):
    assert len({comparable(f"{one} {other}"), comparable(f"{one} {mark} {other}"), comparable(f"{one}{mark}")}) == 3


@given(st.text())
def test_what_is_compared_is_compared_as_it_is(text: str):
    assert comparable(comparable(text)) == comparable(text)


def test_a_missing_text_counts_as_an_empty_one():
    assert keys_of_texts([None]).tolist() == keys_of_texts([""]).tolist()


def test_keys_are_the_same_on_every_machine():
    assert keys_of(["a", ""]).tolist() == [13950350942979735504, 1760245841805064774]


@given(st.lists(st.integers(0, 20)), st.integers(1, 5))
def test_equal_keys_are_found_with_any_number_of_files(
    tmp_path_factory: pytest.TempPathFactory, keys: list[int], size: int
):
    folder = tmp_path_factory.mktemp("keys") / "new"
    files = KeyFiles(folder, len(keys) * dedup.ROWS_PER_BUCKET // size)  # many small files
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


def test_the_first_equal_agrees_on_key_and_group(tmp_path: Path):
    files = KeyFiles(tmp_path / "new", 5)
    files.add(np.array([5, 5, 5, 9, 9], np.uint64), range(5), [1, 2, 1, 1, 1])
    (entries,) = files.repeated()
    assert first_equal(entries).tolist() == [0, 0, 0, 3, 3]
    assert first_equal(entries, "group").tolist() == [0, 1, 0, 3, 3]
