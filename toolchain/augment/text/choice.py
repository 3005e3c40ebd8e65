"""Which rows get copies, by their numbers and a seed alone, and which texts no copy may say."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import numpy.typing as npt


def choose(rows: npt.NDArray[np.int64], share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return for each row number whether it is among the ``share`` (0..1) that ``seed`` chooses.

    It depends on nothing else, so a row stays chosen whatever stands beside it. The numbers are spread evenly over 64
    bits by SplitMix64's finalizer (Steele et al. 2014), salted by the seed.
    """
    z = (rows.astype(np.uint64) ^ _digest(str(seed))) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    spread = (z ^ (z >> np.uint64(31))) >> np.uint64(11)  # 53 bits: as many as a float holds
    chosen: npt.NDArray[np.bool_] = spread.astype(np.float64) < share * 2.0**53
    return chosen


class Texts:
    """A set of texts, 8 bytes each, so that millions fit; it takes two that differ in case or white space for the same.

    Among a million texts a new one is taken for an old one with a chance of 5e-14 (a million in 2^64).
    """

    def __init__(self, texts: Iterable[str | None] = ()) -> None:
        self._digests = np.sort(np.fromiter((_digest_of_words(text or "") for text in texts), np.uint64))

    def __contains__(self, text: str) -> bool:
        digest = _digest_of_words(text)
        place = int(np.searchsorted(self._digests, digest))
        return place < len(self._digests) and bool(self._digests[place] == digest)


def _digest_of_words(text: str) -> np.uint64:
    return _digest(" ".join(text.lower().split()))


def _digest(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(blake2b(text.encode(), digest_size=8).digest()))
