"""Preprocess: rows of a dataset as a model takes them, texts and pictures by the same calls."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from toolchain.artifacts.columns import IMAGE, TEXT
from toolchain.artifacts.model import Model
from toolchain.errors import ArtifactError
from toolchain.frameworks.length_batches import pad
from toolchain.image_decoding import Pixels, crop_middle, decode, squeeze
from toolchain.inference.runtime import Feeds, Logits, Session, Tokenizer

ROWS_PER_BATCH = 32  # rows of like length that are run at once when only the answers count
FIXED = 128  # tokens of a padded request: what BERT is usually timed at; fewer where a model has fewer positions


@dataclass(frozen=True)
class Scenario:
    """A kind of request."""

    rows: int
    tokens: int | None = None  # that each text is padded to; None: those of the longest


class Preprocessor(Protocol):
    """Turns a column's values into what one model takes."""

    column: str  # of a dataset: where the values are
    scenarios: Mapping[str, Scenario]  # the requests that are worth timing; the first stands for the model

    def prepare(self, values: Sequence[Any]) -> list[Any]:
        """Return each of ``values`` as the model takes it, one by one."""
        ...

    def stack(self, prepared: Sequence[Any], tokens: int | None = None) -> Feeds:
        """Return ``prepared`` values as one request."""
        ...

    def length(self, prepared: Any) -> int:
        """Return the tokens of a text; 1 for a picture, which are all of one size."""
        ...


class Texts:
    """Texts for a model that brings its tokenizer."""

    column = TEXT

    def __init__(self, model: Model) -> None:
        self._tokenizer = Tokenizer(model)
        fixed = min(FIXED, model.signature.positions or FIXED)
        lengths = {f"fixed{fixed}": fixed, "real": None}
        self.scenarios: Mapping[str, Scenario] = {
            f"batch{rows}-{name}": Scenario(rows, tokens) for rows in (1, 8) for name, tokens in lengths.items()
        }

    def prepare(self, values: Sequence[str]) -> list[list[int]]:
        return self._tokenizer.ids(values)

    def stack(self, prepared: Sequence[list[int]], tokens: int | None = None) -> Feeds:
        return pad(prepared, self._tokenizer.pad_id, tokens)

    def read(self, text: str) -> str:
        """Return ``text`` as the model reads it."""
        return self._tokenizer.read(text)

    def length(self, prepared: list[int]) -> int:
        return len(prepared)


class Pictures:
    """Picture files for a model whose one input is uint8 of shape (batch, height, width, channels).

    A classifier sees the middle of a picture, in the input's proportions; a detector sees all of it, stretched.
    """

    column = IMAGE

    def __init__(self, model: Model) -> None:
        self.height, self.width, self.channels = picture_shape(model)
        self._crops = model.signature.task == "image-classification"
        rows = (1, 8) if self._crops else (1,)  # a detector finds another number of things in each picture
        self.scenarios: Mapping[str, Scenario] = {f"batch{count}": Scenario(count) for count in rows}

    def prepare(self, values: Sequence[dict[str, Any]]) -> list[Pixels]:
        return [self._fit(decode(value["bytes"], value["path"], self.channels)) for value in values]

    def stack(self, prepared: Sequence[Pixels], tokens: int | None = None) -> Feeds:
        return {"image": np.stack(prepared)}

    def length(self, prepared: Pixels) -> int:
        return 1

    def _fit(self, pixels: Pixels) -> Pixels:
        seen = crop_middle(pixels, self.height, self.width) if self._crops else pixels
        return squeeze(seen, self.height, self.width)


def preprocessor_of(model: Model) -> Preprocessor:
    """Return what turns a dataset's values into the input of ``model``.

    Raises:
        ArtifactError: it lacks what that needs, or its task is not known.
    """
    known: dict[str, Callable[[Model], Preprocessor]] = {
        "text-classification": Texts,
        "image-classification": Pictures,
        "object-detection": Pictures,
    }
    if model.signature.task not in known:
        raise ArtifactError(f"{model.path} is a model for {model.signature.task}; known are {', '.join(known)}")
    return known[model.signature.task](model)


def picture_shape(model: Model) -> tuple[int, int, int]:
    """Return height, width and channels of the pictures that ``model`` takes.

    Raises:
        ArtifactError: it takes no pictures of one size.
    """
    inputs = model.signature.inputs
    shape = inputs[0].shape[1:] if len(inputs) == 1 and inputs[0].name == "image" else ()
    if len(shape) != 3 or not all(isinstance(size, int) for size in shape) or shape[2] not in (1, 3):
        raise ArtifactError(f"{model.path} takes {shape or 'no picture'}; (height, width, 1 or 3) is needed")
    return int(shape[0]), int(shape[1]), int(shape[2])


def predict(
    session: Session, preprocessor: Preprocessor, values: Sequence[Any], rows: int = ROWS_PER_BATCH, streams: int = 1
) -> Logits:
    """Return the logits of ``values``, float32 of shape (values, labels), in order.

    Rows of like length run together, ``rows`` at once, in ``streams`` threads (the session must be opened for as many).
    """
    prepared = preprocessor.prepare(values)
    order = sorted(range(len(prepared)), key=lambda position: preprocessor.length(prepared[position]))
    batches = [order[start : start + rows] for start in range(0, len(order), rows)]

    def answer(batch: list[int]) -> Logits:
        return session.run(preprocessor.stack([prepared[position] for position in batch]))

    with ThreadPoolExecutor(streams) as threads:
        logits = np.concatenate(list(threads.map(answer, batches)))
    return np.asarray(logits[np.argsort(order)], np.float32)
