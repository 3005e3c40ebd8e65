"""Shapes are parsed leniently: valid parts are kept, with the reason for the others."""

import pytest

from toolchain.annotations.shapes import (
    EMPTY_BOX,
    Shape,
    count_labeled,
    from_polygons,
    parse_numbers,
    shape_or_error,
    with_box,
    with_keypoints,
)
from toolchain.annotations.types import Box
from toolchain.errors import DataError

TRIANGLE = (0.0, 0.0, 4.0, 0.0, 4.0, 3.0)


def no_box() -> Box:
    raise DataError("no box")


def test_polygons_are_flat_lists_or_pairs():
    flat, pairs = from_polygons([list(TRIANGLE)]), from_polygons([[[0, 0], [4, 0], [4, 3]]])
    assert flat == pairs == Shape(box=(0, 0, 4, 3), polygons=(TRIANGLE,))


@pytest.mark.parametrize(
    ("part", "error", "box"),
    [([1, 1, 9, 9], "2 points", (0, 0, 9, 9)), ([1, 2, 3], "3 numbers", (0, 0, 4, 3)), ("x", "'x'", (0, 0, 4, 3))],
)
def test_an_invalid_polygon_keeps_the_others(part: object, error: str, box: Box):
    shape = from_polygons([list(TRIANGLE), part, None, []])
    assert (shape.polygons, shape.box) == ((TRIANGLE,), box)
    assert error in shape.error


def test_an_error_keeps_the_rest_of_the_shape():
    assert shape_or_error(lambda: Shape(box=no_box())) == Shape(error="no box")
    assert with_box(Shape(box=(0, 0, 1, 1)), no_box) == Shape(box=(0, 0, 1, 1), error="no box")
    assert with_box(Shape(), lambda: (0, 0, 1, 1)).box == (0, 0, 1, 1)
    assert with_keypoints(Shape(error="first"), [1, 2]).error == "first"
    assert with_keypoints(Shape(), [1, 2, "x"]) == Shape(box=EMPTY_BOX, error="keypoints: 'x' is not a number")


def test_numbers_are_finite():
    assert parse_numbers(["1", 2.5], "edges") == (1.0, 2.5)
    with pytest.raises(DataError, match="edges: 'nan'"):
        parse_numbers(["nan"], "edges")


def test_labeled_keypoints_are_counted():
    assert count_labeled(with_keypoints(Shape(), [1, 2, 0, 3, 4, 1, 5, 6, 2]).keypoints) == 2
