"""One vocabulary for the names of splits."""

import pytest
from datasets.data_files import SPLIT_KEYWORDS

from toolchain.split_names import split_in, split_of

THEIRS = [(word, str(split)) for split, words in SPLIT_KEYWORDS.items() for word in words]


@pytest.mark.parametrize(("word", "split"), THEIRS)
def test_the_words_of_hugging_face_datasets_mean_the_same_split(word: str, split: str):
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
def test_fillers_years_and_capitals_do_not_matter(name: str, split: str):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name", ["", "cat", "test_tubes", "train_station", "trains", "validity", "developer", "2017", "all"]
)
def test_a_name_that_means_something_else_is_no_split(name: str):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("name", "split"),
    [("raccoon_train", "train"), ("bdd100k-labels-val", "validation"), ("train_val", "train"), ("my_cats", None)],
)
def test_a_list_can_have_other_words_in_its_name(name: str, split: str | None):
    assert split_in(name) == split
