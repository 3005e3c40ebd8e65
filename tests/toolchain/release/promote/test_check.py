"""A real server is started with a model and predicts the recorded rows over HTTP."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models import RECORDED, brightness, one_box, picture, record, word_counter, write_model
from toolchain.artifacts.expected import Row, encode_image
from toolchain.artifacts.model import open_model
from toolchain.lifecycle import trial_server
from toolchain.release.promote import check
from toolchain.release.promote.check import Check, check_with_server

GOOD = Row(text="good", scores=(0.2689414, 0.7310586))  # softmax of the counts of bad and good words, 0 and 1


def write_words(folder: Path, *rows: Row) -> Path:
    model = write_model(folder / "words", "text-classification", word_counter)
    if rows:
        record(model, list(rows))
    return model


def write_bright(folder: Path) -> Path:
    model = write_model(folder / "bright", "image-classification", brightness, ("dark", "bright"))
    record(model, [Row(image=encode_image(picture(255)), scores=(0.2689414, 0.7310586))])
    return model


def write_box(folder: Path) -> Path:
    model = write_model(folder / "box", "object-detection", one_box, ("thing", "whole"))
    file = encode_image(picture(128, width=20, height=10))
    record(model, [Row(image=file, scores=(0.9, 0.1), boxes=((0, 0, 10, 5), (0, 0, 20, 10)), labels=(0, 1))])
    return model


def checked(folder: Path) -> Check:
    return check_with_server(open_model(folder), "reviews", "7")


@pytest.mark.parametrize("write", [lambda folder: write_words(folder, GOOD), write_bright, write_box])
def test_a_model_of_every_task_matches(write: Callable[[Path], Path], tmp_path: Path):
    assert checked(write(tmp_path)) == Check(1, 1)


def test_a_server_with_tokens_is_checked_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_SERVE_TOKENS", "a-token-that-is-long,another-token-as-long")
    assert checked(write_words(tmp_path, GOOD)) == Check(1, 1)


def test_different_predictions_are_a_fault(tmp_path: Path):
    found = checked(write_words(tmp_path, GOOD, Row(text=RECORDED[3], scores=(0.1, 0.9))))
    assert (found.rows, found.matching) == (2, 0)
    assert "1 of 2 predictions differ" in found.fault


def test_recorded_predictions_of_another_model_are_a_fault(tmp_path: Path):
    other = write_words(tmp_path / "other", GOOD)
    model = write_model(tmp_path / "model", "text-classification", word_counter, ("bad", "good"))
    (model / "expected.json").write_bytes((other / "expected.json").read_bytes())
    assert "recorded predictions are of model" in checked(model).fault


def test_an_unreadable_model_is_a_fault(tmp_path: Path):
    model = write_model(tmp_path / "words", "text-classification", lambda path: path.write_bytes(b"no graph") and None)
    found = checked(model)
    assert found.rows == 0
    assert "model.onnx" in found.fault
    assert "Traceback" not in found.fault


def test_a_server_that_does_not_start_in_time_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trial_server, "START_TIMEOUT_S", 0.05)
    assert checked(write_words(tmp_path, GOOD)) == Check(1, 0, "no output for 0.05 s")


def test_without_recorded_rows_nothing_is_sent(tmp_path: Path):
    assert checked(write_words(tmp_path)) == Check(0, 0)


def test_scores_over_http_are_compared_by_class(tmp_path: Path):
    model = open_model(write_words(tmp_path, GOOD))
    expected = check.read_expected(model.path)
    assert expected is not None
    answer = json.loads('{"scores": {"negative": 0.28, "positive": 0.72}}')
    assert check._matches(answer, GOOD, expected, model)
    assert not check._matches(answer, replace(GOOD, scores=(0.72, 0.28)), expected, model)


def test_boxes_over_http_are_compared_where_they_are_sure(tmp_path: Path):
    model = open_model(write_box(tmp_path))
    expected = check.read_expected(model.path)
    assert expected is not None
    (row,) = expected.rows
    sure = {"label": "thing", "score": 0.89, "box": [0, 0, 10, 5]}
    assert check._matches({"boxes": [sure]}, row, expected, model), "the one of 0.1 need not be there"
    assert not check._matches({"boxes": []}, row, expected, model)
    assert not check._matches({"boxes": [{**sure, "label": "whole"}]}, row, expected, model)
