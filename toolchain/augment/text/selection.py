"""Select the rows to copy by their numbers and a seed, and keep a compact set of texts that no copy may equal."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def select(rows: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return for each row number whether it is in the ``share`` (0..1) that ``seed`` selects.

    The selection of a row does not depend on other rows. SplitMix64's finalizer (Steele et al. 2014), salted by the
    seed, spreads the numbers evenly over 64 bits.
    """
    z = (rows.astype(np.uint64) ^ _digest(str(seed))) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    spread = (z ^ (z >> np.uint64(31))) >> np.uint64(11)  # 53 bits: the precision of a float
    selected: npt.NDArray[np.bool_] = spread.astype(np.float64) < share * 2.0**53
    return selected


class TextSet:
    """A set of texts that ignores case and whitespace and needs 8 bytes for each, so that millions fit in memory.

    With a million texts, the probability of a false match is 5e-14 (a million in 2^64).
    """

    def __init__(self, texts: Iterable[str | None] = ()) -> None:
        self._digests = np.sort(np.fromiter((_normalized_digest(text or "") for text in texts), np.uint64))

    def __contains__(self, text: str) -> bool:
        digest = _normalized_digest(text)
        index = int(np.searchsorted(self._digests, digest))
        return index < len(self._digests) and bool(self._digests[index] == digest)


def _normalized_digest(text: str) -> np.uint64:
    return _digest(" ".join(text.lower().split()))


def _digest(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))
