import numpy as np
from scipy.special import softmax as independent

from toolchain.metrics.probabilities import softmax


def test_rows_are_those_of_scipy_also_for_large_logits():
    logits = np.array([[0.0, 1.0, -2.0], [1e4, 1e4 - 1, 0], [-1e30, 0, 0]], np.float32)
    found = softmax(logits)
    assert found.dtype == np.float64
    assert np.allclose(found, independent(logits.astype(np.float64), axis=1))
    assert np.allclose(found.sum(axis=1), 1)
