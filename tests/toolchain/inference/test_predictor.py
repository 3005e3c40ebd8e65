from pathlib import Path

import numpy as np
import pytest

from tests.support.models import one_box, picture, word_counter, write_model, write_words
from toolchain.artifacts.model import open_model
from toolchain.errors import ArtifactError
from toolchain.inference.predictor import Predictor


def test_a_classifier_predicts_probabilities_and_runs_to_logits(tmp_path: Path):
    predictor = Predictor(open_model(write_words(tmp_path / "words")))
    rows = predictor.prepare(["good great"])
    assert predictor.run(rows)[0].tolist() == [0, 2]
    assert predictor.predict(rows)[0] == pytest.approx(np.exp([0, 2]) / np.exp([0, 2]).sum())


def test_a_detector_predicts_boxes_in_pixels_of_the_image(tmp_path: Path):
    model = open_model(write_model(tmp_path / "box", "object-detection", one_box, ("item", "whole")))
    predictor = Predictor(model)
    (row,) = predictor.prepare([{"bytes": picture(1, width=40, height=16), "path": "wide.png"}])
    (found,) = predictor.predict([row])
    assert found.boxes[0].tolist() == [0, 0, 20, 8]


def test_an_output_that_is_not_finite_is_an_error(tmp_path: Path):
    folder = write_model(tmp_path / "words", "text-classification", lambda path: word_counter(path, weight=np.inf))
    predictor = Predictor(open_model(folder))
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        predictor.predict(predictor.prepare(["good bad"]))
