"""Requests: the limits on a prediction request, and the error for a request that is not valid."""

from dataclasses import dataclass
from typing import Any

from toolchain.errors import DataError


@dataclass(frozen=True)
class Limits:
    """The largest request that is accepted."""

    rows: int = 64
    text_characters: int = 20_000  # of one text; a model reads up to 512 tokens, some 3,000 characters
    image_pixels: int = 25_000_000  # of one image: decoded 75 MB
    request_pixels: int = 100_000_000  # of all images of a request: decoded in some 4 s


class RequestError(DataError):
    """A value in a request is not valid."""

    def __init__(self, message: str, pointer: str) -> None:
        super().__init__(message)
        self.pointer = pointer  # to the value in the body, as RFC 6901 has it


def check_rows(rows: Any, limits: Limits, pointer: str) -> list[Any]:
    """Return ``rows`` if it is a list with as many items as a request may have.

    Raises:
        RequestError: it is no list, is empty, or is too long.
    """
    if not isinstance(rows, list) or not rows:
        raise RequestError("must be a list of at least one row", pointer)
    if len(rows) > limits.rows:
        raise RequestError(
            f"the list has {len(rows):,} rows, {limits.rows} are allowed; send several requests", pointer
        )
    return rows
