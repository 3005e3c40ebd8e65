from dataclasses import replace
from pathlib import Path

from tests.support.models import write_words
from tests.support.responses import predictor_of
from toolchain.artifacts.expected import read_expected
from toolchain.serve.versions.parity import compare


def test_recorded_predictions_match(tmp_path: Path):
    folder = write_words(tmp_path / "words")
    found = compare(predictor_of(folder), read_expected(folder))
    assert (found.rows, found.matching, found.reason) == (4, 4, "")


def test_a_row_that_differs_is_named(tmp_path: Path):
    folder = write_words(tmp_path / "words")
    expected = read_expected(folder)
    assert expected is not None
    rows = list(expected.rows)
    rows[2] = replace(rows[2], scores=rows[2].scores[::-1])
    found = compare(predictor_of(folder), replace(expected, rows=tuple(rows)))
    assert (found.rows, found.matching) == (4, 3)
    assert "row 2" in found.reason
    assert found.summary == found.reason


def test_predictions_of_another_model_are_not_compared(tmp_path: Path):
    folder, other = write_words(tmp_path / "words"), write_words(tmp_path / "other", weight=2.0)
    found = compare(predictor_of(folder), read_expected(other))
    assert found.matching == 0
    assert found.reason


def test_without_recorded_predictions_there_is_nothing_to_compare(tmp_path: Path):
    found = compare(predictor_of(write_words(tmp_path / "words")), None)
    assert (found.rows, found.reason, found.summary) == (0, "", "no recorded predictions")
