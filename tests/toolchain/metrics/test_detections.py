"""Match predictions with objects: by hand, against pycocotools' curves, and against another implementation."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolchain.artifacts.dataset import new_dataset, open_dataset
from toolchain.artifacts.image import OBJECTS_TYPE
from toolchain.artifacts.provenance import Work
from toolchain.errors import ArtifactError, DataError
from toolchain.metrics.bootstrap import Bootstrap
from toolchain.metrics.detections import (
    AnnotatedImage,
    Detections,
    Objects,
    detections_of,
    matching,
    objects_of,
    read_truth,
    stretch,
)
from toolchain.metrics.detections.comparing import compare
from toolchain.metrics.detections.matching import (
    ALL,
    OVERLAPS,
    SIZES,
    Matches,
    average_precision,
    best_threshold,
    counts_above,
    match,
    mean,
)
from toolchain.metrics.detections.table import read_table, table_of

BOOTSTRAP = Bootstrap(resamples=100)


def entry(box: list[float], label: int = 0, **more: Any) -> dict[str, Any]:
    return {"label": label, "box": box, "rotation": 0.0, "crowd": False, "difficult": False, **more}


def objects(*entries: dict[str, Any], classes: int = 3) -> Objects:
    return objects_of(entries, 1000, 1000, classes, "image 1")


def boxes_at(*corners: tuple[float, float], side: float = 10) -> list[list[float]]:
    return [[left, top, left + side, top + side] for left, top in corners]


def scene(seed: int, images: int = 12, classes: int = 3) -> tuple[list[Detections], list[Objects]]:
    """Return objects of all sizes, some neutral, and predictions that are near some of them."""
    random = np.random.default_rng(seed)
    predictions, truth = [], []
    for _ in range(images):
        count, crowds = random.integers(0, 9), random.integers(0, 2)
        corners = random.uniform(0, 600, (count + crowds, 2))
        boxes = np.concatenate([corners, corners + random.uniform(8, 200, (count + crowds, 2))], axis=1)
        labels, crowd = random.integers(0, classes, count + crowds), np.arange(count + crowds) >= count
        truth.append(Objects(boxes, labels, crowd, crowd))
        near = boxes + random.normal(0, 6, boxes.shape)
        far = np.tile(random.uniform(0, 300, (4, 2)), 2) + np.array([0, 0, 40, 60])
        scores = random.random(len(boxes) + 4)
        predictions.append(
            detections_of(np.concatenate([near, far]), scores, np.append(labels, random.integers(0, classes, 4)))
        )
    return predictions, truth


def ap(matches: Matches, overlaps: int | None = None) -> np.ndarray:
    return average_precision(matches, np.ones((1, len(matches.expected))), overlaps)[0]


# --- average precision ---


def test_average_precision_of_a_published_example(monkeypatch: pytest.MonkeyPatch):
    """15 objects and 24 predictions: R. Padilla, Object-Detection-Metrics, whose README has 26.84 % at 11 recalls."""
    right = {0.95: 1, 0.91: 1, 0.70: 1, 0.62: 1, 0.54: 1, 0.48: 1, 0.18: 1}
    wrong = [0.949, 0.88, 0.84, 0.80, 0.78, 0.74, 0.71, 0.67, 0.45, 0.449, 0.44, 0.439, 0.43, 0.38, 0.35, 0.23, 0.14]
    there = boxes_at(*((20 * index, 0) for index in range(15)))
    prediction = detections_of(
        there[: len(right)] + boxes_at(*((20 * index, 500) for index in range(len(wrong)))),
        [*right, *wrong],
        [0] * (len(right) + len(wrong)),
    )
    monkeypatch.setattr(matching, "RECALLS", np.linspace(0, 1, 11))
    found = match([prediction], [objects(*(entry(box) for box in there))], 1)
    assert ap(found[ALL])[0, 0] == pytest.approx(0.2684, abs=5e-5)


def test_average_precision_by_hand():
    truth = [objects(*(entry(box) for box in boxes_at((0, 0), (20, 0), (40, 0), (60, 0))))]
    prediction = detections_of(boxes_at((0, 0), (300, 300), (20, 0)), [0.9, 0.8, 0.7], [0, 0, 0])
    # Right, wrong, right: precision 1 up to recall 1/4 (26 of 101 recalls), 2/3 up to 2/4 (25 more), 0 beyond.
    assert ap(match([prediction], truth, 1)[ALL])[0, 0] == pytest.approx((26 + 25 * 2 / 3) / 101)


def test_overlap_decides_from_which_share_on_an_predictions_is_right():
    truth = [objects(entry([0, 0, 10, 10]))]
    prediction = detections_of([[0, 0, 10, 7.2]], [0.9], [0])  # IoU .72
    assert ap(match([prediction], truth, 1)[ALL])[:, 0].round(6).tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("seed", range(3))
def test_curves_are_those_of_pycocotools(seed: int):
    predictions, truth = scene(seed)
    evaluator = matching._evaluator(predictions, truth, 3, OVERLAPS)
    with redirect_stdout(io.StringIO()):
        evaluator.evaluate()
        evaluator.accumulate()
    expected = evaluator.eval["precision"][..., 0].mean(axis=1)  # overlaps, classes, sizes; -1 where nothing is
    found = match(predictions, truth, 3)
    for index, name in enumerate(SIZES):
        own = np.where(np.isnan(ap(found[name])), -1, ap(found[name]))
        np.testing.assert_allclose(own, expected[:, :, index], atol=1e-12, err_msg=name)


def test_an_image_that_is_drawn_twice_counts_as_two():
    predictions, truth = scene(7, images=6)
    weights = np.array([2, 0, 1, 3, 0, 1])
    indices = np.repeat(np.arange(6), weights)
    doubled = match([predictions[p] for p in indices], [truth[p] for p in indices], 3)[ALL]
    drawn = average_precision(match(predictions, truth, 3)[ALL], weights[None])
    np.testing.assert_allclose(drawn[0], ap(doubled), atol=1e-12)


def test_another_implementation_gives_the_same_map():
    supervision = pytest.importorskip("supervision")
    predictions, truth = scene(3)
    truth = [Objects(t.boxes[~t.crowd], t.labels[~t.crowd], t.neutral[~t.crowd], t.crowd[~t.crowd]) for t in truth]
    metric = supervision.metrics.MeanAveragePrecision()
    metric.update(
        [supervision.Detections(xyxy=a.boxes, confidence=a.scores, class_id=a.labels) for a in predictions],
        [supervision.Detections(xyxy=t.boxes, class_id=t.labels) for t in truth],
    )
    expected = metric.compute()
    found = match(predictions, truth, 3)[ALL]
    assert mean(ap(found, 1)[None])[0] == pytest.approx(expected.map50, abs=1e-6)
    assert mean(ap(found)[None])[0] == pytest.approx(expected.map50_95, abs=1e-6)


def test_crowds_and_difficult_objects_are_neither_found_nor_missed():
    there = boxes_at((0, 0), (100, 0), (200, 0))
    truth = [objects(entry(there[0]), entry(there[1], difficult=True), entry([200, 0, 300, 100], crowd=True))]
    prediction = detections_of([*there, [250, 50, 260, 60]], [0.5, 0.9, 0.9, 0.8], [0] * 4)  # two are in the crowd
    found = match([prediction], truth, 1)[ALL]
    assert found.expected.tolist() == [[1]]
    assert ap(found)[0, 0] == pytest.approx(1.0)
    right, wrong = counts_above(found, 0.0)
    assert (right.tolist(), wrong.tolist()) == ([[1]], [[0]])


def test_a_class_that_is_nowhere_has_no_average_precision():
    predictions, truth = scene(1, classes=2)
    assert np.isnan(ap(match(predictions, truth, 3)[ALL])[:, 2]).all()


def test_images_without_objects_or_predictions_are_valid():
    none = detections_of([], [], [])
    found = match([none, none], [objects(), objects(entry([0, 0, 9, 9]))], 1)[ALL]
    assert found.expected.tolist() == [[0], [1]]
    assert ap(found)[0, 0] == 0.0
    assert best_threshold(found) == 0.5


def test_the_best_threshold_is_where_f1_is_highest():
    truth = [objects(*(entry(box) for box in boxes_at((0, 0), (20, 0))))]
    prediction = detections_of(boxes_at((0, 0), (20, 0), (300, 0), (400, 0)), [0.9, 0.6, 0.4, 0.3], [0] * 4)
    assert best_threshold(match([prediction], truth, 1)[ALL]) == 0.6


@settings(max_examples=25)
@given(st.integers(0, 1000), st.floats(0, 1))
def test_no_more_predictions_are_right_than_objects_are_there(seed: int, threshold: float):
    predictions, truth = scene(seed, images=3)
    found = match(predictions, truth, 3)[ALL]
    right, wrong = counts_above(found, threshold)
    assert (right <= found.expected).all()
    assert (right + wrong).sum() <= sum(len(prediction.above(threshold)) for prediction in predictions)
    values = ap(found)
    assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()
    assert (np.diff(np.nan_to_num(values), axis=0) <= 1e-12).all(), "a larger share makes no more predictions right"


# --- comparison of variants ---


def images_of(truth: list[Objects]) -> list[AnnotatedImage]:
    return [AnnotatedImage(10 * index, 1000, 1000, objects) for index, objects in enumerate(truth)]


def compared(
    variant: list[Detections], reference: list[Detections], truth: list[Objects], **more: Any
) -> dict[str, Any]:
    settings = {"threshold": 0.3, "bootstrap": BOOTSTRAP, **more}
    return compare(variant, reference, reference, images_of(truth), ["a", "b", "c"], **settings)


def test_a_variant_agrees_with_itself_in_everything():
    predictions, truth = scene(4)
    found = compared(predictions, predictions, truth)
    assert found["agreement"] == found["origin_agreement"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert found["accuracy_drop"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["worst_class_drop"]["value"] == 0.0
    assert found["cosine"] == pytest.approx(1.0)
    assert (found["max_difference"], found["flipped"], found["flips"]) == (0.0, 0, [])


def test_agreement_counts_boxes_of_both_sides_that_match():
    truth = [objects(entry([0, 0, 10, 10])), objects()]
    here, there, nowhere = boxes_at((0, 0), (50, 0), (90, 90))
    reference = [detections_of([here, there], [0.9, 0.8], [0, 0]), detections_of([], [], [])]
    variant = [detections_of([here, there, nowhere], [0.9, 0.7, 0.1], [0, 1, 0]), detections_of([nowhere], [0.5], [0])]
    found = compared(variant, reference, truth)
    assert found["agreement"]["value"] == pytest.approx(2 * 1 / 5), "one pair matches; two and three boxes count"
    assert found["flipped"] == 2
    assert found["flips"][1] == {"row": 10, "label": "0 objects", "reference": "0 boxes", "variant": "1 box"}
    assert found["max_difference"] == 0.0


def test_a_score_that_moves_a_little_over_the_threshold_is_no_other_prediction():
    truth = [objects(entry([0, 0, 10, 10]))]
    (box,) = boxes_at((0, 0))
    found = compared([detections_of([box], [0.31], [0])], [detections_of([box], [0.29], [0])], truth)
    assert (found["agreement"]["value"], found["strict_agreement"]["value"], found["flipped"]) == (1.0, 0.0, 0)
    assert found["max_difference"] == pytest.approx(0.02)
    far = compared([detections_of([box], [0.31], [0])], [detections_of([box], [0.19], [0])], truth)
    assert (far["agreement"]["value"], far["flipped"]) == (0.0, 1)


def test_agreement_is_the_same_from_both_sides():
    (predictions, truth), (others, _) = scene(4), scene(5)
    one, other = compared(predictions, others, truth), compared(others, predictions, truth)
    assert one["agreement"]["value"] == pytest.approx(other["agreement"]["value"], abs=0.02)
    assert one["accuracy_drop"]["value"] == pytest.approx(-other["accuracy_drop"]["value"])


def test_a_drop_is_the_references_map50_minus_the_variants():
    predictions, truth = scene(4)
    worse = [Detections(a.boxes + 4, a.scores, a.labels) for a in predictions]
    found = compared(worse, predictions, truth)
    values = [mean(ap(match(side, truth, 3)[ALL], 1)[None])[0] for side in (predictions, worse)]
    assert found["accuracy_drop"]["value"] == pytest.approx(values[0] - values[1])
    assert found["accuracy_drop"]["low"] <= found["accuracy_drop"]["value"] <= found["accuracy_drop"]["high"]


def test_the_worst_class_of_a_variant_that_lost_one_is_named():
    predictions, truth = scene(4)
    blind = [Detections(a.boxes[a.labels != 1], a.scores[a.labels != 1], a.labels[a.labels != 1]) for a in predictions]
    found = compared(blind, predictions, truth)["worst_class_drop"]
    reference = ap(match(predictions, truth, 3)[ALL], 1)[0].min()
    assert found["label"] == "b"
    assert found["value"] == pytest.approx(reference)


def test_no_more_images_are_listed_than_requested():
    (predictions, truth), (others, _) = scene(4), scene(5)
    found = compared(predictions, others, truth, flips=2)
    assert len(found["flips"]) == 2 < found["flipped"]


def test_two_variants_that_find_nothing_agree():
    _, truth = scene(4)
    nothing = [detections_of([], [], [])] * len(truth)
    found = compared(nothing, nothing, truth)
    assert found["agreement"]["value"] == 1.0
    assert found["cosine"] is None


# --- objects and files of predictions ---


def test_predictions_and_objects_come_back_from_a_file_as_they_were():
    predictions, truth = scene(2)
    images = images_of(truth)
    back, predicted = read_table(table_of("fp32", images, predictions))
    assert [image.row for image in back] == [image.row for image in images]
    for one, other in zip(predicted, predictions, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        assert (one.labels == other.labels).all()
    for one, other in zip(back, images, strict=True):
        np.testing.assert_allclose(one.objects.boxes, other.objects.boxes, atol=1e-3)
        assert (one.objects.crowd == other.objects.crowd).all()
        assert (one.objects.neutral == other.objects.neutral).all()


def test_the_truth_of_a_split_is_read_without_its_pixels(tmp_path: Path):
    schema = pa.schema({"row": pa.int64(), "width": pa.int64(), "height": pa.int64(), "objects": OBJECTS_TYPE})
    rows = [
        {"row": 4, "width": 90, "height": 60, "objects": [{"label": 1, "box": [1, 2, 3, 4], "difficult": True}]},
        {"row": 7, "width": 90, "height": 60, "objects": []},
    ]
    with new_dataset(tmp_path / "dataset", schema, Work("data.split", None), ("a", "b")) as writer:
        writer.write("test", pa.Table.from_pylist(rows, schema))
        writer.write("train", schema.empty_table())
    dataset = open_dataset(tmp_path / "dataset")
    first, second = read_truth(dataset, "test")
    assert (first.row, first.width, first.height, len(second.objects)) == (4, 90, 60, 0)
    assert (first.objects.boxes.tolist(), first.objects.labels.tolist()) == ([[1, 2, 3, 4]], [1])
    assert (first.objects.neutral.tolist(), first.objects.crowd.tolist()) == ([True], [False])
    with pytest.raises(DataError, match="has no rows in its train split"):
        read_truth(dataset, "train")


def test_a_file_without_the_columns_is_rejected():
    with pytest.raises(ArtifactError, match="the predictions lack boxes"):
        read_table(table_of("fp32", [], []).drop_columns(["boxes"]))


def test_a_rotated_box_becomes_the_upright_one_around_it():
    assert objects(entry([10, 20, 30, 24], rotation=90.0)).boxes[0] == pytest.approx([18, 12, 22, 32])


def test_what_reaches_beyond_the_images_is_cut():
    assert objects(entry([-5, 990, 20, 1010])).boxes.tolist() == [[0, 990, 20, 1000]]


@pytest.mark.parametrize("box", [[10, 10, 10, 20], [30, 10, 20, 20], [1001, 5, 1010, 9]])
def test_a_box_without_area_is_rejected(box: list[float]):
    with pytest.raises(DataError, match=r"image 1 has a box without area in the image \("):
        objects(entry(box))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_beyond_the_list_is_rejected(label: int):
    with pytest.raises(DataError, match=f"an object of label {label}, but there are 3 label names"):
        objects(entry([0, 0, 5, 5], label))


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 500), st.integers(1, 500))
def test_stretching_and_back_changes_nothing(width: int, height: int, across: int, down: int):
    boxes = np.array([[0, 0, width, height], [1, 2, 3, 4]], np.float64)
    there = stretch(boxes, (width, height), (across, down))
    assert there[0] == pytest.approx([0, 0, across, down])
    np.testing.assert_allclose(stretch(there, (across, down), (width, height)), boxes, atol=1e-9)
