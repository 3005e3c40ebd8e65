"""Boxes, polygons and masks stay inside the image and on their object after any policy."""

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as runs

from toolchain.augment.images.engine import Engine
from toolchain.augment.images.objects import Object, read, to_rows
from toolchain.augment.images.presets import PRESETS
from toolchain.errors import DataError

SHAPE = (60, 90)
BLANK = np.zeros((*SHAPE, 3), np.uint8)
ALBUMENTATIONS = """\
- OneOf: {p: 1, transforms: [
  Rotate: {limit: 90}, SafeRotate: {limit: 45}, Perspective: {scale: 0.1}, ShiftScaleRotate, ElasticTransform,
  GridDistortion, OpticalDistortion, RandomScale, Pad: {padding: 7}, CropAndPad: {percent: [-0.2, 0.2]},
  RandomCropFromBorders, BBoxSafeRandomCrop, AtLeastOneBBoxRandomCrop: {height: 30, width: 40},
  RandomSizedBBoxSafeCrop: {height: 30, width: 40}, LongestMaxSize: {max_size: 40}, SmallestMaxSize: {max_size: 40},
  PadIfNeeded: {min_height: 100, min_width: 100}, GridDropout, Erasing, XYMasking: {num_masks_x: 1, num_masks_y: 1,
  mask_x_length: 10, mask_y_length: 10}, PixelDropout, ThinPlateSpline, RandomGridShuffle, Morphological, Blur,
  Affine: {rotate: 20, border_mode: 4}, Affine: {rotate: 170, shear: 30, fit_output: true}]}
"""
POLICIES = {name: Engine(text, min_visibility=0.2) for name, text in PRESETS.items()}
POLICIES |= {
    "sized": Engine(PRESETS["strong"], 32, 0.2),
    "albumentations": Engine(ALBUMENTATIONS, min_visibility=0.2),
    "both": Engine(ALBUMENTATIONS + PRESETS["strong"], 40, 0.2),
}


def row(box: list[float], **more: Any) -> dict[str, Any]:
    return {"label": 0, "box": box, "rotation": 0.0, "polygons": [], "mask": "", "truncated": False} | more


def encoded(mask: np.ndarray) -> str:
    return runs.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@st.composite
def objects(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        left, top = draw(st.floats(0, 80)), draw(st.floats(0, 50))
        right, bottom = draw(st.floats(left + 2, 90)), draw(st.floats(top + 2, 60))
        box = [left, top, right, bottom]
        extra: dict[str, Any] = {}
        if draw(st.booleans()):
            extra["polygons"] = [[left, top, right, (top + bottom) / 2, left, bottom]]
        if draw(st.booleans()):
            mask = np.zeros(SHAPE)
            mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1] = 1
            extra["mask"] = encoded(mask)
        if draw(st.integers(0, 3)) == 0:
            extra["rotation"] = draw(st.floats(-180, 180))
        found.append(row(box, **extra))
    return found


@settings(max_examples=150)
@given(objects(), st.sampled_from(sorted(POLICIES)), st.integers(0, 2**32))
def test_every_box_is_inside_the_image_and_has_an_area(rows: list[dict[str, Any]], policy: str, seed: int):
    annotated = read(rows, SHAPE, "it")
    outcomes: Counter[str] = Counter()
    copy = POLICIES[policy].copy(BLANK, Random(seed), annotated, None, lambda name, outcome: outcomes.update([outcome]))
    height, width = copy.pixels.shape[:2]
    for found in to_rows(copy.objects):
        left, top, right, bottom = found["box"]
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        assert found["rotation"] == 0
        for polygon in found["polygons"]:
            assert len(polygon) >= 6
        if found["mask"]:
            mask = runs.decode({"size": [height, width], "counts": found["mask"].encode()})
            assert mask.shape == (height, width)
            assert mask.any()


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(5, 50), st.integers(5, 30), st.integers(15, 35), st.integers(15, 25))
def test_boxes_polygons_and_masks_follow_the_pixels(seed: int, left: int, top: int, width: int, height: int):
    """A white rectangle on black moves together with its box, polygon and mask."""
    image = BLANK.copy()
    image[top : top + height, left : left + width] = 255
    box = [left, top, left + width, top + height]
    polygon = [left, top, left + width, top, left + width, top + height, left, top + height]
    annotated = read([row(box, polygons=[polygon], mask=encoded(image[:, :, 0] > 0))], SHAPE, "it")
    policy = (
        "[RandomRotate90, HorizontalFlip, RandomResizedCrop: {size: [64, 80], scale: [0.4, 1]}, Affine: {rotate: 30}]"
    )
    copy = Engine(policy, min_visibility=0.3).copy(image, Random(seed), annotated)
    white = copy.pixels[:, :, 0] > 127
    for item in copy.objects:
        assert item.mask is not None
        assert np.mean(white != (item.mask > 0)) < 0.03
        rows, columns = np.nonzero(white)
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert np.abs(np.array(seen) - item.box).max() <= 2.5
        (points,) = item.polygons
        assert np.abs(np.array([*points.min(axis=0), *points.max(axis=0)]) - item.box).max() < 1e-6
        assert abs(polygon_area(points) - white.sum()) < 0.1 * white.sum() + 30


def polygon_area(points: np.ndarray) -> float:
    x, y = points[:, 0], points[:, 1]
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2


def test_a_rotated_box_becomes_an_polygon_and_the_box_around_it():
    (item,) = read([row([20, 20, 40, 30], rotation=90)], SHAPE, "it")
    assert np.allclose(item.box, [25, 15, 35, 35])
    (item,) = read([row([20, 20, 40, 30], rotation=30)], SHAPE, "it")
    cosine, sine = np.cos(np.pi / 6), np.sin(np.pi / 6)
    assert np.allclose(item.polygons[0][0], [30 - 10 * cosine + 5 * sine, 25 - 10 * sine - 5 * cosine])
    (found,) = to_rows([item])
    assert found["rotation"] == 0
    assert len(found["polygons"][0]) == 8


def test_a_cutout_hides_covered_objects():
    policy = "- CoarseDropout: {num_holes_range: [1, 1], hole_height_range: [60, 60], hole_width_range: [90, 90], p: 1}"
    outcomes: Counter[str] = Counter()
    annotated = read([row([10, 10, 30, 30])], SHAPE, "it")
    copy = Engine(policy).copy(BLANK, Random(0), annotated, None, lambda name, outcome: outcomes.update([outcome]))
    assert (copy.objects, dict(outcomes)) == ([], {"below minimum visibility": 1})


def test_visibility_is_relative_to_the_original_box():
    """Two crops that keep 60 % each leave 36 %."""
    annotated = read([row([0, 0, 50, 20])], SHAPE, "it")
    crops = "[Crop: {x_max: 30, y_max: 60}, Crop: {x_max: 18, y_max: 60}]"
    assert Engine(crops, min_visibility=0.3).copy(BLANK, Random(0), annotated).objects[
        0
    ].visible_share == pytest.approx(0.36)
    assert Engine(crops, min_visibility=0.5).copy(BLANK, Random(0), annotated).objects == []


def test_a_mosaic_has_the_boxes_of_all_its_images():
    def painted(value: int) -> tuple[np.ndarray, list[Object]]:
        image = np.full((*SHAPE, 3), value, np.uint8)
        image[10:50, 15:75] = value + 40
        return image, read([row([15, 10, 75, 50])], SHAPE, "it")

    image, annotated = painted(10)
    others = [painted(value) for value in (60, 110, 160)]
    engine = Engine("- Mosaic: {p: 1}", min_visibility=0.05)
    for seed in range(20):
        copy = engine.copy(image, Random(seed), annotated, lambda rng, count: others)
        assert copy.pixels.shape == (*SHAPE, 3)
        assert copy.boxes == 4
        assert len(copy.objects) > 1
        for item in copy.objects:
            left, top, right, bottom = (round(edge) for edge in item.box)
            inside = copy.pixels[top:bottom, left:right, 0]
            assert np.isin(inside, [50, 100, 150, 200]).mean() > 0.9


def test_a_mosaic_without_partners_repeats_the_image():
    copy = Engine("- Mosaic: {p: 1}").copy(BLANK + 9, Random(0), read([row([5, 5, 80, 55])], SHAPE, "it"))
    assert (copy.pixels == 9).all()
    assert copy.objects


@pytest.mark.parametrize("box", [[10, 10, 10, 20], [100, 10, 120, 20], [30, 30, 20, 40]])
def test_a_box_without_area_inside_the_image_is_rejected(box: list[float]):
    with pytest.raises(DataError, match=r"it has the box .* which has no area inside the image of 90 x 60 pixels"):
        read([row(box)], SHAPE, "it")


def test_an_unreadable_mask_is_rejected():
    with pytest.raises(DataError, match="it has a mask that is not compressed COCO RLE"):
        read([row([1, 1, 9, 9], mask="no mask at all")], SHAPE, "it")
