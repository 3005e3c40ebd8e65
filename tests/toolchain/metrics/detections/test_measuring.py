from typing import Any

import numpy as np
import pytest

from toolchain.errors import ArtifactError, DataError
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.detections import AnnotatedImage, Detections, Objects, detections_of
from toolchain.metrics.detections.measuring import measure

NAMES = ["tree", "car"]


def annotated(row: int, boxes: list[list[float]], labels: list[int], neutral: bool = False) -> AnnotatedImage:
    flags = np.full(len(boxes), neutral)
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    return AnnotatedImage(
        row, 400, 400, Objects(corners, np.array(labels, np.int64), flags, np.zeros(len(boxes), bool))
    )


def measured(predictions: list[Detections], images: list[AnnotatedImage], **more: Any) -> dict[str, Any]:
    return measure(predictions, images, NAMES, Bootstrap(resamples=200), **more)


SMALL, LARGE, OTHER = [0, 0, 20, 20], [100, 100, 220, 220], [300, 0, 350, 50]
IMAGES = [annotated(0, [SMALL, LARGE], [0, 0]), annotated(1, [OTHER], [1]), annotated(2, [], [])]
# Both trees are found, and one that is none; the car is found with a low score, and a wrong car with a high one.
PREDICTIONS = [
    detections_of([SMALL, LARGE, OTHER], [0.9, 0.8, 0.3], [0, 0, 0]),
    detections_of([OTHER], [0.2], [1]),
    detections_of([SMALL], [0.6], [1]),
]


def test_metrics_by_hand():
    found = measured(PREDICTIONS, IMAGES, threshold=0.25)
    tree, car = found["per_class"]
    assert tree == {
        "label": "tree",
        "precision": pytest.approx(2 / 3),
        "recall": 1.0,
        "f1": pytest.approx(0.8),
        "rows": 2,
        "ap50": pytest.approx(1.0),
    }
    assert car == {"label": "car", "precision": 0.0, "recall": 0.0, "f1": 0.0, "rows": 1, "ap50": pytest.approx(0.5)}
    assert found["accuracy"]["value"] == pytest.approx(0.75)
    assert found["map"]["value"] == pytest.approx(0.75)
    assert found["f1"]["value"] == pytest.approx(0.4)
    assert (found["worst_class"], found["worst_class_accuracy"]) == ("car", pytest.approx(0.5))
    assert found["threshold"] == 0.25


def test_without_a_threshold_the_best_of_the_predictions_is_taken():
    assert measured(PREDICTIONS, IMAGES)["threshold"] == 0.8


def test_objects_of_each_size_have_their_metrics():
    slices = {entry["name"].split()[0]: entry for entry in measured(PREDICTIONS, IMAGES)["slices"]}
    assert {name: entry["rows"] for name, entry in slices.items()} == {"small": 1, "medium": 1, "large": 1}
    assert slices["large"]["accuracy"] == pytest.approx(1.0)
    assert slices["medium"]["accuracy"] == pytest.approx(1.0), "the wrong car is small"


def test_the_curve_falls_from_the_surest_prediction():
    curve = measured(PREDICTIONS, IMAGES)["curve"]
    assert [point["threshold"] for point in curve] == [0.9, 0.8, 0.6, 0.3, 0.2]
    assert [point["recall"] for point in curve] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 2 / 3, 1])
    assert [point["precision"] for point in curve] == pytest.approx([1, 1, 2 / 3, 2 / 4, 3 / 5])


def test_intervals_hold_the_metric_and_are_the_same_each_time():
    one, other = measured(PREDICTIONS, IMAGES), measured(PREDICTIONS, IMAGES)
    assert one == other
    for name in ("accuracy", "map", "f1"):
        assert one[name]["low"] <= one[name]["value"] <= one[name]["high"]


def test_a_detector_that_finds_nothing_has_no_accuracy():
    found = measured([detections_of([], [], [])] * 3, IMAGES)
    assert found["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["curve"] == []


def test_a_class_that_is_nowhere_is_not_the_worst():
    found = measured(PREDICTIONS[:1], IMAGES[:1])
    assert found["worst_class"] == "tree"
    assert found["per_class"][1]["rows"] == 0


@pytest.mark.parametrize("images", [[annotated(0, [], [])], [annotated(0, [SMALL], [0], neutral=True)]])
def test_images_without_an_object_that_counts_are_rejected(images: list[AnnotatedImage]):
    with pytest.raises(DataError, match="no labelled objects"):
        measured(PREDICTIONS[:1], images)


def test_a_prediction_that_is_no_number_is_rejected():
    with pytest.raises(ArtifactError, match="the prediction for row 0 contains NaN or Inf"):
        measured([detections_of([SMALL], [np.nan], [0])], IMAGES[:1])


def test_a_label_beyond_the_names_is_rejected():
    with pytest.raises(ArtifactError, match="row 0 has label 2"):
        measured([detections_of([SMALL], [0.9], [2])], IMAGES[:1])
