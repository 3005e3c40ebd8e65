"""Names of splits and fields of formats, as readers and writers share them."""

import pytest

from toolchain.annotations.types import (
    AnnotatedImage,
    Finding,
    bounding_box,
    format_fields,
    split_of,
    subset_metadata,
    subset_name,
    summarize,
    user_attributes,
)


def image(split: str, **metadata: str) -> AnnotatedImage:
    return AnnotatedImage(name="a.png", file=None, width=4, height=3, split=split, metadata=metadata)


@pytest.mark.parametrize(
    ("subset", "split"), [("valid", "validation"), ("train2017", "train"), ("east", "all"), (None, "all")]
)
def test_a_subset_stands_for_a_split(subset: str | None, split: str):
    assert split_of(subset) == split


def test_the_sources_name_of_a_split_is_kept_while_the_image_is_in_it():
    names = {"validation": "val"}
    assert subset_metadata("train") == {}
    assert subset_metadata("train2017") == {"subset": "train2017"}
    assert subset_name(image("train", subset="train2017"), names) == "train2017"
    assert subset_name(image("validation", subset="train2017"), names) == "val"
    assert subset_name(image("train", subset="../train"), names) == "train"


def test_fields_of_a_format_are_apart_from_the_users():
    attributes = {"colour": "red", "@coco": {"id": 5}}
    assert user_attributes(attributes) == {"colour": "red"}
    assert format_fields(attributes, "@coco") == {"id": 5}
    assert format_fields(attributes, "@voc") == {}


def test_a_finding_counts_all_cases_and_keeps_a_few_examples():
    finding = Finding.of("image is missing", [f"{n}.png" for n in range(9)])
    assert (finding.count, len(finding.examples)) == (9, 5)
    assert summarize((finding,)) == " (image is missing: 9, such as 0.png)"
    assert summarize(()) == ""


def test_the_bounding_box_is_around_all_polygons():
    assert bounding_box(((0, 5, 2, 1), (7, 3, 4, 4))) == (0, 1, 7, 5)
    assert bounding_box(()) == (0, 0, 0, 0)
