"""Images as the input of a model: from a dataset, a request or a tensor to pixels at the model's size."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any, ClassVar

import numpy as np

from toolchain import image_decoding
from toolchain.artifacts.columns import IMAGE
from toolchain.artifacts.expected import encode_image
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError, DataError
from toolchain.image_decoding import Pixels, crop_middle, decode, resize
from toolchain.inference.features import Numbers, Vocabulary, describe_image
from toolchain.inference.prepared import Prepared
from toolchain.inference.requests import Limits, RequestError, check_rows
from toolchain.inference.runtime import Feeds

GREY = 128  # of 255: each pixel of the neutral image
MAX_EXAMPLE_NUMBERS = 1000  # of a tensor in the API's documentation


class ImageInput:
    """Image files for a model whose one input is uint8 of shape (batch, height, width, channels).

    A value is ``{"bytes": file, "path": its name in errors}``. It is resized to the model's size, after a centre crop
    to the model's aspect ratio if ``crop`` is true.
    """

    column: ClassVar[str] = IMAGE  # of a dataset
    field: ClassVar[str] = "images"  # of a request's JSON body
    unit: ClassVar[str] = "pixels"  # that metrics count
    has_tokens: ClassVar[bool] = False
    file_type: ClassVar[str] = "image/*"  # media types of files that are values
    tensor_is_prepared: ClassVar[bool] = True  # whether ``parse_tensor`` returns rows as the model takes them
    invalid_value: ClassVar[str] = "an image must be a file in base64"  # an example, for the API's documentation
    invalid_tensor: ClassVar[str] = "a pixel must be a whole number from 0 to 255"

    def __init__(self, model: Model, *, crop: bool) -> None:
        self.height, self.width, self.channels = image_shape(model)
        self._crop = crop

    def prepare(self, values: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return each image as uint8 of shape (height, width, channels).

        Raises:
            DataError: a file is no image, is damaged, or has too many pixels.
        """
        return [self._fit(decode(value["bytes"], value["path"], self.channels)) for value in values]

    def stack(self, prepared: Sequence[Any], tokens: int | None = None) -> Feeds:
        """Return prepared images as one batch."""
        return {"image": np.stack(prepared)}

    def length(self, prepared: Any) -> int:
        """Return 1: all images have one size."""
        return 1

    def size(self, value: Mapping[str, Any]) -> tuple[int, int] | None:
        """Return width and height in pixels, to which boxes are scaled; None where the image is cropped."""
        return None if self._crop else _upright_size(value)

    def units(self, row: Prepared) -> int:
        """Return the number of pixels that the model reads of ``row``."""
        return self.height * self.width

    def record(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a recorded row (toolchain.artifacts.expected) that hold ``value``."""
        return {"image": encode_image(value["bytes"])}

    def neutral(self) -> dict[str, Any]:
        """Return a grey image of the model's size."""
        pixels = np.full((self.height, self.width, 3), GREY, np.uint8)
        return {"bytes": image_decoding.encode(pixels), "path": "a grey image"}

    def parse(self, rows: Any, limits: Limits, pointer: str) -> list[dict[str, Any]]:
        """Return the images in ``rows``, a list of files in base64 from a request at ``pointer``.

        Raises:
            RequestError: a row is no image in base64, or the images are too many or too large.
        """
        images, pixels = [], 0
        for index, row in enumerate(check_rows(rows, limits, pointer)):
            where = f"{pointer}/{index}"
            cost, image = _checked(_decoded(row, where), f"image {index}", limits, where)
            images.append(image)
            pixels += cost
            if pixels > limits.request_pixels:
                message = f"the images have more than {limits.request_pixels:,} pixels; send several requests"
                raise RequestError(message, pointer)
        return images

    def parse_file(self, content: bytes, limits: Limits) -> dict[str, Any]:
        """Return the image in ``content``, a request's body.

        Raises:
            RequestError: it is no image, or is too large.
        """
        return _checked(content, "the image", limits, "")[1]

    def is_small(self, values: Sequence[Any]) -> bool:
        """Return False: an image may take long to decode."""
        return False

    def schema(self, limits: Limits) -> dict[str, Any]:
        """Return the JSON schema of one image in a request."""
        return {"type": "string", "contentEncoding": "base64", "description": "An image file"}

    def tensor(self, max_batch_size: int | None) -> dict[str, Any]:
        """Return the tensor of the Open Inference Protocol: UINT8, shape (rows, height, width, channels)."""
        shape = [max_batch_size or -1, self.height, self.width, self.channels]
        return {"name": "image", "datatype": "UINT8", "shape": shape}

    def tensor_schema(self, limits: Limits) -> dict[str, Any]:
        """Return the JSON schema of the tensor's data."""
        return {
            "type": "array",
            "minItems": 1,
            "description": "Whole numbers from 0 to 255, flat or nested like the shape",
        }

    def tensor_example(self, values: Sequence[Any], shape: Sequence[int]) -> tuple[list[int], list[Any]] | None:
        """Return shape and data of a tensor with the first of ``values``, None where it would be too long."""
        one = [1, *shape[1:]]
        if not values or prod(one) > MAX_EXAMPLE_NUMBERS:
            return None
        return one, self.prepare(values[:1])[0].ravel().tolist()

    def parse_tensor(self, data: Any, shape: Sequence[int], limits: Limits, pointer: str) -> list[Pixels]:
        """Return the rows in a tensor's ``data``: flat, nested, or a flat array of integers from 0 on.

        Raises:
            RequestError: the data is not made of bytes, or its length does not match ``shape``.
        """
        numbers = data if isinstance(data, np.ndarray) else _flat(data, prod(shape), pointer)
        if len(numbers) != prod(shape):
            raise RequestError(_expected(prod(shape)), pointer)
        if numbers.min() < 0 or numbers.max() > 255:
            raise RequestError(self.invalid_tensor, pointer)
        return list(numbers.astype(np.uint8).reshape(shape))

    def features(self, value: Mapping[str, Any] | None, row: Prepared, vocabulary: Vocabulary | None) -> Numbers:
        """Return numbers that describe the image, for monitoring; ``value`` is None where only pixels were sent."""
        return describe_image(row.data, _upright_size(value) if value else None)

    def _fit(self, pixels: Pixels) -> Pixels:
        seen = crop_middle(pixels, self.height, self.width) if self._crop else pixels
        return resize(seen, self.height, self.width)


def image_shape(model: Model) -> tuple[int, int, int]:
    """Return height, width and channels of the images that ``model`` takes.

    Raises:
        ArtifactError: it takes no images of one size.
    """
    inputs = model.signature.inputs
    shape = inputs[0].shape[1:] if len(inputs) == 1 and inputs[0].name == "image" else ()
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape) or shape[2] not in (1, 3):
        raise ArtifactError(f"{model.path} takes {shape or 'no image'}; (height, width, 1 or 3) is needed")
    return int(shape[0]), int(shape[1]), int(shape[2])


def _decoded(row: Any, pointer: str) -> bytes:
    if not isinstance(row, str):
        raise RequestError("an image must be a string: its file in base64", pointer)
    try:
        return base64.b64decode(row, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(ImageInput.invalid_value, pointer) from error


def _checked(content: bytes, name: str, limits: Limits, pointer: str) -> tuple[int, dict[str, Any]]:
    """Return the cost of decoding an image, in pixels, and the image as a dataset's column holds it."""
    try:
        cost = image_decoding.cost_in_pixels(content, name, limits.image_pixels)
    except DataError as error:
        raise RequestError(str(error), pointer) from error
    if cost > limits.request_pixels:
        message = f"{name} takes as long to decode as {cost:,} pixels; save it as a baseline JPEG"
        raise RequestError(message, pointer)
    return cost, {"bytes": content, "path": name}


def _upright_size(value: Mapping[str, Any]) -> tuple[int, int]:
    """Return width and height in pixels, after the rotation in the file's EXIF data."""
    return image_decoding.upright_size(value["bytes"], value["path"])


def _flat(data: Any, count: int, pointer: str) -> Any:
    while isinstance(data, list) and set(map(type, data)) == {list}:
        data = list(chain.from_iterable(data))
    # Checked before NumPy sees them: an array of strings has room for the longest at every index.
    if not isinstance(data, list) or len(data) != count or set(map(type, data)) != {int}:
        raise RequestError(_expected(count), pointer)
    if min(data) < 0 or max(data) > 255:
        raise RequestError(ImageInput.invalid_tensor, pointer)
    return np.array(data, np.uint8)


def _expected(count: int) -> str:
    return f"the data must be {count:,} whole numbers from 0 to 255"
