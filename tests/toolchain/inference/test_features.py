import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.inference.features import (
    BUCKETS,
    NO_BOX,
    Vocabulary,
    columns,
    count_tokens,
    describe_boxes,
    describe_image,
    describe_scores,
    describe_text,
)
from toolchain.metrics.detections import detections_of


def test_a_text_by_hand():
    found = describe_text("No, 7 of 10!", [2, 5, 6, 3])
    assert found == {
        "characters": 12,
        "tokens": 4,
        "characters_per_token": 3,
        "punctuation": round(2 / 12, 5),
        "digits": 0.25,
        "capitals": round(1 / 12, 5),
        "surprise": None,
    }


def test_surprise_is_the_bits_of_a_token_by_laplaces_rule():
    vocabulary = Vocabulary([6, 0])  # two buckets: 7 of 8 and 1 of 8
    assert vocabulary.surprise([2]) == pytest.approx(math.log2(8 / 7))
    assert vocabulary.surprise([3, 5]) == pytest.approx(3)
    assert vocabulary.surprise([2, 3]) == pytest.approx((math.log2(8 / 7) + 3) / 2)
    assert vocabulary.surprise([]) == 0


def test_tokens_are_counted_by_bucket():
    counts = count_tokens([[1, 2, 1], [], [BUCKETS + 1]])
    assert counts.sum() == 4
    assert counts[:3].tolist() == [0, 3, 1]


@given(st.text(max_size=60), st.lists(st.integers(0, 100_000), max_size=20))
def test_every_text_has_numbers(text: str, tokens: list[int]):
    found = describe_text(text, tokens, Vocabulary(count_tokens([tokens]).tolist()))
    assert all(value is not None and math.isfinite(value) for value in found.values())
    assert all(0 <= found[share] <= 1 for share in ("punctuation", "digits", "capitals"))  # type: ignore[operator]


def test_an_image_by_hand():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 2:] = 255  # the right half is white
    found = describe_image(pixels, (2000, 1000))
    assert found["brightness"] == found["contrast"] == 0.5
    assert found["saturation"] == 0
    assert (found["megapixels"], found["aspect"]) == (2, 2)
    assert found["sharpness"] == 1  # the Laplacian is 1 left of the edge and -1 right of it
    assert describe_image(np.full((4, 4, 3), (255, 0, 0), np.uint8), None)["saturation"] == 1


def test_a_blurred_image_is_less_sharp_and_an_inverted_one_as_sharp():
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 1)).astype(np.uint8)
    blurred = np.mean([np.roll(image, shift, (0, 1)) for shift in range(-2, 3)], axis=0).astype(np.uint8)
    sharp, soft, inverted = (describe_image(p, None) for p in (image, blurred, 255 - image))
    assert soft["sharpness"] < sharp["sharpness"] / 2  # type: ignore[operator]
    assert inverted["sharpness"] == pytest.approx(sharp["sharpness"], abs=1e-4)
    assert inverted["brightness"] == pytest.approx(1 - sharp["brightness"], abs=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (1, 9)])
def test_an_image_that_is_too_small_for_edges_has_none(size: tuple[int, int]):
    assert describe_image(np.ones((*size, 3), np.uint8), None)["sharpness"] == 0


def test_a_prediction_is_a_label_and_its_confidence():
    found = describe_scores(np.array([0.25, 0.75]), ("negative", "positive"))
    assert (found.label, found.numbers) == ("positive", {"confidence": 0.75})


def test_a_detectors_boxes_count_from_its_threshold_on():
    prediction = detections_of([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]], [0.2, 0.9, 0.5], [0, 1, 0])
    found = describe_boxes(prediction, ("cat", "dog"), 0.4)
    assert (found.label, found.numbers) == ("dog", {"confidence": 0.9, "boxes": 2})
    assert describe_boxes(prediction, ("cat", "dog"), 0.95).label == NO_BOX
    empty = describe_boxes(detections_of([], [], []), ("cat",), 0.5)
    assert (empty.label, empty.numbers) == (NO_BOX, {"confidence": None, "boxes": 0})


def test_columns_are_named_by_descriptor():
    assert columns([{"a": 1.0, "b": None}, {"a": 2.0, "b": 3.0}]) == {"a": (1.0, 2.0), "b": (None, 3.0)}
    assert columns([]) == {}
