from pathlib import Path

import numpy as np
import pytest

from tests.support.models import one_box, picture, write_model, write_words
from toolchain.artifacts.model import Model, open_model
from toolchain.inference.batch_prediction import predict, predict_all
from toolchain.inference.runtime import open_session
from toolchain.inference.tasks import task_of

TEXTS = ["good " * (1 + index % 7) + "bad" * (index % 2) for index in range(40)]


@pytest.fixture
def words(tmp_path: Path) -> Model:
    return open_model(write_words(tmp_path / "words"))


@pytest.mark.parametrize("streams", [1, 2])
def test_predictions_are_in_the_order_of_the_values(streams: int, words: Model):
    input_ = task_of(words).input
    alone = [predict(open_session(words), input_, [text])[0] for text in TEXTS]
    together = predict(open_session(words, streams=streams), input_, TEXTS, batch_size=4, streams=streams)
    assert together == pytest.approx(np.stack(alone))
    assert together.dtype == np.float32


def test_all_parts_are_predicted_with_their_lengths(words: Model):
    outputs, lengths = predict_all(words, [TEXTS[:15], [], TEXTS[15:]], threads=2)
    assert np.stack(outputs) == pytest.approx(predict(open_session(words), task_of(words).input, TEXTS))
    assert lengths == [len(text.split()) for text in TEXTS]


def test_boxes_are_in_pixels_of_the_given_sizes(tmp_path: Path):
    model = open_model(write_model(tmp_path / "box", "object-detection", one_box, ("item", "whole")))
    values = [{"bytes": picture(level, width=40, height=16), "path": "wide.png"} for level in (1, 2, 3)]
    outputs, _ = predict_all(model, [values[:2], values[2:]], threads=1, sizes=[(8, 8), (80, 8), (8, 80)])
    assert [found.boxes[0].tolist() for found in outputs] == [[0, 0, 4, 4], [0, 0, 40, 4], [0, 0, 4, 40]]
