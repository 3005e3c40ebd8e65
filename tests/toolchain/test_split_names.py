"""Names of splits are recognized."""

import pytest
from datasets.data_files import SPLIT_KEYWORDS

from toolchain.split_names import split_in, split_of

THEIRS = [(word, str(split)) for split, words in SPLIT_KEYWORDS.items() for word in words]


@pytest.mark.parametrize(("word", "split"), THEIRS)
def test_split_keywords_of_hugging_face_datasets_are_recognized(word: str, split: str):
    for name in (word, word.upper(), word.title(), f"{word}2017", f"{word}_set", f"{word}-images", f"{word}set"):
        assert split_of(name) == split


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("training_set", "train"),
        ("TrainImages", "train"),
        ("images-train", "train"),
        ("obj_train_data", "train"),
        ("trainval", "train"),
        ("VOC2007_test", "test"),
        ("test-dev2017", "test"),
        ("instances_val2017", "validation"),
        ("minival2014", "validation"),
        ("val_1", "validation"),
    ],
)
def test_filler_words_years_and_case_are_ignored(name: str, split: str):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name", ["", "cat", "test_tubes", "train_station", "trains", "validity", "developer", "2017", "all"]
)
def test_other_names_are_not_splits(name: str):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [("raccoon_train", "train"), ("bdd100k-labels-val", "validation"), ("train_val", "train"), ("my_cats", None)],
)
def test_a_split_is_found_among_other_words(name: str, split: str | None):
    assert split_in(name) == split
