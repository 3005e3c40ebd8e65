"""Descriptors: a row and its answer in a few numbers that tell where it comes from, and not what it says.

Evaluation describes the rows that a model was measured on, the server those that it is asked, both by these functions:
so their distributions can be compared.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.image_decoding import Pixels
from toolchain.metrics.detections import Detections

BUCKETS = 8192  # of tokens: 4 of a BERT's vocabulary share one; which word was meant cannot be told from it
DIGITS = 5  # after the point: what is rounded on one side only would be a difference
NOTHING = "nothing"  # what a detector answers to a picture in which it finds no box
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue in brightness: ITU-R BT.601
PUNCTUATION = frozenset(string.punctuation)

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Described:
    """A row and its answer."""

    numbers: Numbers  # by descriptor; None where the row has none
    label: str  # the class answered; of a detector that of its best box


class Vocabulary:
    """How often rows known before hold each token, by which the tokens of others are usual or not."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Take ``counts`` of tokens in each bucket; a token belongs in the bucket of its id modulo their number."""
        found = np.asarray(counts, np.float64) + 1  # Laplace's rule: what was never met is not impossible
        self._bits = -np.log2(found / found.sum())

    def surprise(self, tokens: Sequence[int]) -> float:
        """Return the mean of -log2 of the share that each of ``tokens`` has in the rows known: bits per token."""
        return float(self._bits[np.asarray(tokens) % len(self._bits)].mean()) if len(tokens) else 0.0


def count_tokens(texts: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """Return how often the tokens of each bucket occur in ``texts``, int64 (BUCKETS,)."""
    counts = np.zeros(BUCKETS, np.int64)
    for tokens in texts:
        counts += np.bincount(np.asarray(tokens, np.int64) % BUCKETS, minlength=BUCKETS)
    return counts


def describe_text(text: str, tokens: Sequence[int], vocabulary: Vocabulary | None = None) -> Numbers:
    """Return what ``text``, of ``tokens`` as its model reads it, looks like.

    Returns:
        characters; tokens, cut to the model's length; characters a token (low where words are unknown and fall into
        pieces); shares of punctuation, digits and capitals in the characters, 0..1; surprise, in bits a token.
    """
    many = max(1, len(text))
    return _rounded(
        characters=len(text),
        tokens=len(tokens),
        characters_a_token=len(text) / max(1, len(tokens)),
        punctuation=sum(letter in PUNCTUATION for letter in text) / many,
        digits=sum(letter.isdigit() for letter in text) / many,
        capitals=sum(letter.isupper() for letter in text) / many,
        surprise=vocabulary.surprise(tokens) if vocabulary else None,
    )


def describe_image(pixels: Pixels, size: tuple[int, int] | None) -> Numbers:
    """Return what a picture looks like: ``pixels`` at its model's size, ``size`` its own (width, height) if known.

    Returns:
        brightness and contrast, mean and standard deviation of luminance, 0..1; sharpness, the variance of its
        Laplacian (Pech-Pacheco et al. 2000); saturation, the mean distance of the strongest channel from the weakest,
        0..1; megapixels; aspect, width over height.
    """
    shares = pixels.astype(np.float32) / 255
    grey = shares @ LUMA if shares.shape[2] == 3 else shares[:, :, 0]
    return _rounded(
        brightness=grey.mean(),
        contrast=grey.std(),
        sharpness=_laplacian(grey).var() if min(grey.shape) > 2 else 0.0,
        saturation=np.ptp(shares, axis=2).mean(),
        megapixels=size[0] * size[1] / 1e6 if size else None,
        aspect=size[0] / max(1, size[1]) if size else None,
    )


def describe_scores(scores: Any, names: Sequence[str]) -> Described:
    """Return the class of ``names`` with the highest of a classifier's ``scores``, and that score."""
    index = int(np.argmax(scores))
    return Described(_rounded(confidence=float(scores[index])), names[index])


def describe_boxes(answer: Detections, names: Sequence[str], threshold: float) -> Described:
    """Return the class of a detector's best box and its score, and the number of boxes from ``threshold`` on."""
    found = answer.above(threshold)
    best = float(answer.scores[0]) if len(answer) else None
    label = names[int(found.labels[0])] if len(found) else NOTHING
    return Described(_rounded(confidence=best, boxes=len(found)), label)


def _laplacian(grey: NDArray[Any]) -> NDArray[Any]:
    middle = grey[1:-1, 1:-1]
    around: NDArray[Any] = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return np.asarray(around - 4 * middle)


def _rounded(**values: float | None) -> Numbers:
    return {name: None if value is None else round(float(value), DIGITS) for name, value in values.items()}


def columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float | None, ...]]:
    """Return the numbers of ``rows`` by descriptor, in the order of the first row's."""
    return {name: tuple(row.get(name) for row in rows) for name in (rows[0] if rows else ())}
