from pathlib import Path

import numpy as np
import pytest

from tests.support.models import WORDS, write_words
from toolchain.artifacts.model import open_model
from toolchain.inference.requests import Limits, RequestError
from toolchain.inference.text_input import SMALL_CHARACTERS, TextInput


@pytest.fixture
def texts(tmp_path: Path) -> TextInput:
    return TextInput(open_model(write_words(tmp_path / "words")))


def test_texts_become_token_ids_padded_to_the_longest(texts: TextInput):
    prepared = texts.prepare(["good", "bad and dull"])
    assert [texts.length(row) for row in prepared] == [1, 3]
    ids = texts.stack(prepared)["input_ids"]
    assert ids.tolist() == [[WORDS["good"], 0, 0], [WORDS["bad"], WORDS["[UNK]"], WORDS["dull"]]]
    assert texts.stack(prepared, 5)["input_ids"].shape == (2, 5)


@pytest.mark.parametrize(
    ("rows", "pointer", "message"),
    [
        (["good", 1], "/texts/1", "must be a string"),
        ([" "], "/texts/0", "blank"),
        (["good", "bad", "x" * 11], "/texts/2", "11 characters, 10 are allowed"),
        ([], "/texts", "at least one row"),
    ],
)
def test_a_request_that_is_not_valid_is_rejected_where_it_is(
    rows: list[object], pointer: str, message: str, texts: TextInput
):
    with pytest.raises(RequestError, match=message) as raised:
        texts.parse(rows, Limits(text_characters=10), "/texts")
    assert raised.value.pointer == pointer


def test_a_tensor_has_as_many_texts_as_its_shape_states(texts: TextInput):
    assert texts.parse_tensor(["good", "bad"], [2], Limits(), "/data") == ["good", "bad"]
    with pytest.raises(RequestError, match="the shape has 1 rows, the data 2"):
        texts.parse_tensor(["good", "bad"], [1], Limits(), "/data")


def test_a_file_is_one_text(texts: TextInput):
    assert texts.parse_file("café".encode(), Limits()) == "café"


def test_only_short_texts_are_prepared_in_the_event_loop(texts: TextInput):
    assert texts.is_small(["x" * SMALL_CHARACTERS])
    assert not texts.is_small(["x" * SMALL_CHARACTERS, "x"])


def test_the_neutral_text_is_valid(texts: TextInput):
    assert texts.parse([texts.neutral()], Limits(), "") == [texts.neutral()]
    assert np.isfinite(texts.stack(texts.prepare([texts.neutral()]))["input_ids"]).all()
