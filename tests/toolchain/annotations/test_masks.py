"""Run lengths are those of pycocotools and of CVAT."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_masks
from shapely import contains_xy
from shapely.geometry import Polygon

from toolchain.annotations.masks import box_of, decode, encode, from_window, polygons, to_counts, to_text, to_window
from toolchain.annotations.yolo.writer import join_polygons
from toolchain.errors import DataError

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda s: arrays(np.uint8, s, elements=st.integers(0, 1))
)


@given(MASKS)
def test_encoding_matches_pycocotools(mask: "np.ndarray"):
    height, width = mask.shape
    theirs = coco_masks.encode(np.asfortranarray(mask))
    assert encode(mask) == theirs["counts"].decode()
    assert (decode(encode(mask), width, height) == mask).all()


@given(MASKS)
def test_compression_of_counts_matches_pycocotools(mask: "np.ndarray"):
    height, width = mask.shape
    counts = to_counts(encode(mask))
    assert coco_masks.frPyObjects({"counts": counts, "size": [height, width]}, height, width)[
        "counts"
    ].decode() == to_text(counts)


@given(MASKS.filter(lambda mask: mask.any()))
def test_a_cvat_window_represents_the_mask(mask: "np.ndarray"):
    height, width = mask.shape
    counts, window = to_window(encode(mask), width, height)
    assert from_window(counts, window, width, height) == encode(mask)
    x, y, w, h = coco_masks.toBbox(coco_masks.encode(np.asfortranarray(mask)))
    assert box_of(encode(mask), width, height) == (x, y, x + w, y + h)


def test_a_window_counts_along_its_rows():
    text = from_window([1, 2, 1], (1, 0, 2, 2), 4, 3)  # 01 10 in a window one column from the left
    assert decode(text, 4, 3).tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("text", ["\n", "x", "0o"])
def test_invalid_rle_is_rejected(text: str):
    with pytest.raises(DataError, match="RLE"):
        decode(text, 3, 3)


def test_a_window_outside_its_image_is_rejected():
    with pytest.raises(DataError, match="is not inside its image of 4 x 3"):
        from_window([4], (3, 0, 2, 2), 4, 3)


@given(MASKS.filter(lambda mask: mask.any()))
def test_the_polygons_of_a_mask_enclose_exactly_its_pixels(mask: "np.ndarray"):
    height, width = mask.shape
    found = polygons(encode(mask), width, height)
    inside = np.zeros(mask.shape, bool)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for polygon in found:  # a hole takes out what is around it
        inside ^= contains_xy(Polygon(np.reshape(polygon, (-1, 2))).buffer(0), x, y)
    assert (inside == mask.astype(bool)).all()
    assert shoelace(join_polygons(found)) == pytest.approx(float(mask.sum()))


def shoelace(points: tuple[float, ...]) -> float:
    xs, ys = points[0::2], points[1::2]
    return sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs))) / 2


def test_polygons_have_points_at_turns_only():
    mask = np.zeros((5, 6), np.uint8)
    mask[1:4, 1:5] = 1
    mask[2, 3] = 0
    assert [sorted(zip(o[0::2], o[1::2], strict=True)) for o in polygons(encode(mask), 6, 5)] == [
        [(1, 1), (1, 4), (5, 1), (5, 4)],
        [(3, 2), (3, 3), (4, 2), (4, 3)],
    ]
