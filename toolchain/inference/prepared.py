"""A row as a model takes it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Prepared:
    """One row as the model takes it."""

    data: Any  # token ids, or pixels at the model's size
    length: int  # tokens of a text, 1 for an image: a batch of rows of one length needs no padding
    size: tuple[int, int] | None = None  # width and height in pixels of the image that boxes are scaled to
