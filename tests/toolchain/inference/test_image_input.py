import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.models import brightness, picture, write_model
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ArtifactError
from toolchain.inference.image_input import ImageInput, image_shape
from toolchain.inference.requests import Limits, RequestError

WIDE = {"bytes": picture(90, width=16, height=8), "path": "wide.png"}


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return open_model(write_model(tmp_path / "bright", "image-classification", brightness, ("dark", "bright")))


@pytest.fixture
def images(model: Model) -> ImageInput:
    return ImageInput(model, crop=True)


def encoded(*levels: int) -> list[str]:
    return [base64.b64encode(picture(level)).decode() for level in levels]


def test_images_become_pixels_at_the_size_of_the_model(images: ImageInput):
    prepared = images.prepare([WIDE, WIDE])
    assert [row.shape for row in prepared] == [(8, 8, 3)] * 2
    assert images.stack(prepared)["image"].shape == (2, 8, 8, 3)


def test_boxes_are_scaled_to_the_size_of_an_image_that_is_not_cropped(model: Model, images: ImageInput):
    assert ImageInput(model, crop=False).size(WIDE) == (16, 8)
    assert images.size(WIDE) is None


@pytest.mark.parametrize(
    ("rows", "pointer", "message"),
    [
        ([*encoded(1), 5], "/images/1", "must be a string"),
        (["%%%"], "/images/0", "base64"),
        (["aGVsbG8="], "/images/0", "image"),
        (encoded(1, 2, 3), "/images", "more than 150 pixels"),
    ],
)
def test_a_request_that_is_not_valid_is_rejected_where_it_is(
    rows: list[object], pointer: str, message: str, images: ImageInput
):
    with pytest.raises(RequestError, match=message) as raised:
        images.parse(rows, Limits(request_pixels=150), "/images")
    assert raised.value.pointer == pointer


def test_valid_images_are_parsed_from_json_and_from_a_file(images: ImageInput):
    (parsed,) = images.parse(encoded(7), Limits(), "/images")
    assert parsed["bytes"] == images.parse_file(picture(7), Limits())["bytes"] == picture(7)


def test_a_tensor_is_flat_nested_or_an_array_of_bytes(images: ImageInput):
    numbers, shape = np.arange(192), [1, 8, 8, 3]
    for data in (numbers.tolist(), numbers.reshape(shape).tolist(), numbers):
        (row,) = images.parse_tensor(data, shape, Limits(), "/data")
        assert row.dtype == np.uint8
        assert row.ravel().tolist() == numbers.tolist()


@pytest.mark.parametrize("data", [[0] * 191, [256] * 192, [-1] * 192, [0.5] * 192, "x", np.full(192, 256)])
def test_a_tensor_of_other_numbers_is_rejected(data: object, images: ImageInput):
    with pytest.raises(RequestError, match="from 0 to 255"):
        images.parse_tensor(data, [1, 8, 8, 3], Limits(), "/data")


def test_the_neutral_image_has_the_size_of_the_model(images: ImageInput):
    (prepared,) = images.prepare([images.neutral()])
    assert prepared.shape == (8, 8, 3)
    assert len(np.unique(prepared)) == 1


def test_a_model_that_takes_no_images_has_no_shape(model: Model):
    with pytest.raises(ArtifactError, match="no image"):
        image_shape(replace(model, signature=replace(model.signature, inputs=())))
