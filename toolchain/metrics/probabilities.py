"""Probabilities of classes from the logits of a classifier."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]  # a classifier's output: (rows, labels)


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return float64 probabilities of the shape of ``logits``; each row sums to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float64)
