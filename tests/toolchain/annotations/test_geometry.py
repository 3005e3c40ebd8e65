"""Annotations are clipped and turned as their pixels are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from shapely.geometry import Polygon, box

from toolchain.annotations import Annotation
from toolchain.annotations.geometry import (
    apply_orientation,
    area,
    clip,
    clip_polygon,
    corners,
    scale,
    translate,
    upright_box,
)
from toolchain.annotations.masks import decode, encode

WIDTH, HEIGHT = 9, 6
THING = Annotation(label="a", box=(1.0, 2.0, 4.0, 3.0))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_oriented_box_matches_the_pixels_that_pillow_rotates(orientation: int):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[2:3, 1:4] = 1
    image = Image.fromarray(pixels)
    image.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(image))
    masked = Annotation(label="a", box=THING.box, mask=encode(pixels), polygons=((1, 2, 4, 2, 4, 3),))
    found = apply_orientation(masked, orientation, WIDTH, HEIGHT)
    left, top, right, bottom = (int(edge) for edge in found.box)
    drawn = np.zeros_like(upright)
    drawn[top:bottom, left:right] = 1
    assert (drawn == upright).all()
    assert (decode(found.mask, upright.shape[1], upright.shape[0]) == upright).all()
    assert set(found.polygons[0][0::2]) == {left, right}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_box_keeps_its_corners(orientation: int):
    tilted = Annotation(label="a", box=(2.0, 2.0, 6.0, 4.0), rotation=20.0)
    polygon = Annotation(label="a", box=upright_box(tilted), polygons=(corners(tilted),))
    expected = apply_orientation(polygon, orientation, WIDTH, HEIGHT).polygons[0]
    found = corners(apply_orientation(tilted, orientation, WIDTH, HEIGHT))
    points = [sorted(map(tuple, np.reshape(each, (4, 2)).round(6))) for each in (found, expected)]
    assert points[0] == points[1]


@given(st.lists(st.tuples(st.integers(-5, 15), st.integers(-5, 12)), min_size=3, max_size=3, unique=True))
def test_clipping_a_triangle_matches_shapely(points: list[tuple[int, int]]):
    triangle = Polygon(points)
    polygon = tuple(float(v) for point in points for v in point)
    part = clip_polygon(polygon, (0.0, 0.0, 9.0, 6.0))
    expected = triangle.intersection(box(0, 0, 9, 6)).area
    assert (Polygon(np.reshape(part, (-1, 2))).area if len(part) >= 6 else 0.0) == pytest.approx(expected, abs=1e-9)


def test_clipping_applies_to_box_polygons_and_mask():
    pixels = np.ones((HEIGHT, WIDTH), np.uint8)
    annotation = Annotation(label="a", box=(0.0, 0.0, 9.0, 6.0), polygons=((0, 0, 9, 0, 9, 6),), mask=encode(pixels))
    part = translate(clip(annotation, (2.0, 1.0, 6.0, 5.0), (WIDTH, HEIGHT)), -2.0, -1.0)
    assert part.box == (0, 0, 4, 4)
    assert area(part.box) == decode(part.mask, 4, 4).sum()
    assert max(part.polygons[0]) == 4


def test_a_clipped_rotated_box_becomes_a_polygon():
    annotation = clip(Annotation(label="a", box=(-2.0, 1.0, 2.0, 3.0), rotation=45.0), (0.0, 0.0, 9.0, 6.0))
    assert annotation.rotation == 0
    assert annotation.box[0] == 0
    assert len(annotation.polygons[0]) >= 6


def test_stale_coordinates_are_removed():
    annotation = Annotation(label="a", box=(0.0, 0.0, 4.0, 4.0), attributes={"n": 1, "@coco": {"id": 3, "area": 16}})
    assert translate(annotation, 1.0, 1.0).attributes == {"n": 1, "@coco": {"id": 3}}


def test_scaling():
    assert scale(THING, 2.0, 3.0).box == (2, 6, 8, 9)
    assert scale(Annotation(label="a", box=(0.0, 0.0, 4.0, 2.0), rotation=90.0), 2.0, 1.0).box == pytest.approx(
        (2, -1, 6, 3)
    )


def test_keypoints_move_and_those_outside_are_not_labeled():
    points = (1.0, 2.0, 2.0, 8.0, 5.0, 1.0, 0.0, 0.0, 0.0)
    annotation = Annotation(label="a", box=(0.0, 0.0, 9.0, 6.0), keypoints=points)
    assert translate(annotation, 1.0, 2.0).keypoints == (2, 4, 2, 9, 7, 1, 0, 0, 0)
    assert scale(annotation, 2.0, 1.0).keypoints == (2, 2, 2, 16, 5, 1, 0, 0, 0)
    assert apply_orientation(annotation, 6, WIDTH, HEIGHT).keypoints == (
        4,
        1,
        2,
        1,
        8,
        1,
        0,
        0,
        0,
    )  # clockwise: x is 6 less the old y
    assert clip(annotation, (0.0, 0.0, 7.0, 6.0)).keypoints == (1, 2, 2, 0, 0, 0, 0, 0, 0)
    inside = Annotation(label="a", box=(1.0, 1.0, 2.0, 2.0), keypoints=points)
    assert clip(inside, (0.0, 0.0, 7.0, 6.0)).keypoints == (1, 2, 2, 0, 0, 0, 0, 0, 0)


def test_stale_elements_are_removed():
    texts = ["<part><bndbox /></part>", "<polygon><x1>1</x1></polygon>", "<actions><jumping>1</jumping></actions>"]
    annotation = Annotation(label="a", box=(0.0, 0.0, 4.0, 4.0), attributes={"@voc": {"xml": texts, "pose": "Left"}})
    assert translate(annotation, 1.0, 1.0).attributes == {"@voc": {"xml": texts[2:], "pose": "Left"}}
