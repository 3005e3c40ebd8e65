"""Describe rows and predictions by a few numbers that do not reveal their content, for monitoring.

Evaluation describes the measured rows and the server its requests, both with these functions, so that drift compares
like with like.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.image_decoding import Pixels
from toolchain.metrics.detections import Detections

BUCKETS = 8192  # of tokens: about 4 of a BERT vocabulary share one, so it does not identify a word
DIGITS = 5  # after the point, for both sides of a comparison
NO_BOX = "no box"  # label of an image in which a detector finds none
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue in brightness: ITU-R BT.601
PUNCTUATION = frozenset(string.punctuation)

Numbers = dict[str, float | None]


@dataclass(frozen=True)
class Described:
    """The descriptors of a row or prediction."""

    numbers: Numbers  # by descriptor; None where it is not known
    label: str  # the predicted class; of a detector that of its best box


class Vocabulary:
    """The frequencies of tokens in reference rows, which show how unusual other rows are."""

    def __init__(self, counts: Sequence[int]) -> None:
        """Store the ``counts`` of tokens per bucket; a token's bucket is its id modulo the number of buckets."""
        found = np.asarray(counts, np.float64) + 1  # add-one smoothing: unseen tokens are not impossible
        self._bits = -np.log2(found / found.sum())

    def surprise(self, tokens: Sequence[int]) -> float:
        """Return the mean of -log2 of the frequency of each of ``tokens`` in the reference rows: bits per token."""
        return float(self._bits[np.asarray(tokens) % len(self._bits)].mean()) if len(tokens) else 0.0


def count_tokens(texts: Iterable[Sequence[int]]) -> NDArray[np.int64]:
    """Return the number of tokens in ``texts`` by bucket, int64 (BUCKETS,)."""
    counts = np.zeros(BUCKETS, np.int64)
    for tokens in texts:
        counts += np.bincount(np.asarray(tokens, np.int64) % BUCKETS, minlength=BUCKETS)
    return counts


def describe_text(text: str, tokens: Sequence[int], vocabulary: Vocabulary | None = None) -> Numbers:
    """Return the descriptors of ``text``, whose ``tokens`` are those that the model reads.

    Returns:
        characters; tokens, truncated to the model's length; characters per token (low if unknown words are split);
        shares of punctuation, digits and capitals in the characters, 0..1; surprise in bits per token.
    """
    count = max(1, len(text))
    return _rounded(
        characters=len(text),
        tokens=len(tokens),
        characters_per_token=len(text) / max(1, len(tokens)),
        punctuation=sum(letter in PUNCTUATION for letter in text) / count,
        digits=sum(letter.isdigit() for letter in text) / count,
        capitals=sum(letter.isupper() for letter in text) / count,
        surprise=vocabulary.surprise(tokens) if vocabulary else None,
    )


def describe_image(pixels: Pixels, size: tuple[int, int] | None) -> Numbers:
    """Return the descriptors of an image: ``pixels`` at the model's size, ``size`` its (width, height) if known.

    Returns:
        brightness and contrast, mean and standard deviation of luminance, 0..1; sharpness, the variance of its
        Laplacian (Pech-Pacheco et al. 2000); saturation, the mean distance of the strongest channel from the weakest,
        0..1; megapixels; aspect, width over height.
    """
    shares = pixels.astype(np.float32) / 255
    gray = shares @ LUMA if shares.shape[2] == 3 else shares[:, :, 0]
    return _rounded(
        brightness=gray.mean(),
        contrast=gray.std(),
        sharpness=_laplacian(gray).var() if min(gray.shape) > 2 else 0.0,
        saturation=np.ptp(shares, axis=2).mean(),
        megapixels=size[0] * size[1] / 1e6 if size else None,
        aspect=size[0] / max(1, size[1]) if size else None,
    )


def describe_scores(scores: Any, names: Sequence[str]) -> Described:
    """Return the class of ``names`` with the highest of a classifier's ``scores``, and that score."""
    index = int(np.argmax(scores))
    return Described(_rounded(confidence=float(scores[index])), names[index])


def describe_boxes(prediction: Detections, names: Sequence[str], threshold: float) -> Described:
    """Return the class of a detector's best box and its score, and the number of boxes from ``threshold`` on."""
    found = prediction.above(threshold)
    best = float(prediction.scores[0]) if len(prediction) else None
    label = names[int(found.labels[0])] if len(found) else NO_BOX
    return Described(_rounded(confidence=best, boxes=len(found)), label)


def _laplacian(gray: NDArray[Any]) -> NDArray[Any]:
    middle = gray[1:-1, 1:-1]
    around: NDArray[Any] = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return np.asarray(around - 4 * middle)


def _rounded(**values: float | None) -> Numbers:
    return {name: None if value is None else round(float(value), DIGITS) for name, value in values.items()}


def columns(rows: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float | None, ...]]:
    """Return the numbers of ``rows`` by descriptor, in the order of the first row's."""
    return {name: tuple(row.get(name) for row in rows) for name in (rows[0] if rows else ())}
