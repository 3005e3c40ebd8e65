"""Find duplicate and near-duplicate rows with constant memory per row."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, TEXT
from toolchain.dedup import (
    Entries,
    KeyFiles,
    Keys,
    first_equal,
    keys_of,
    keys_of_spellings,
    keys_of_texts,
)

KEPT, DUPLICATE, NORMALIZED, CONFLICT, NEAR_DUPLICATE = range(5)  # the outcome of a row, 1 byte of memory each
MODES = ("off", "exact", "normalized", "similar")

IGNORED_CATEGORIES = "PZC"  # of Unicode, in shingles: punctuation, spaces and control characters
SHINGLE_WORDS = 3  # "the film is" and "film is good" overlap, so order matters and a changed word changes 3 shingles
HASHES = 32  # values of a signature: the standard error of the estimated similarity is at most 0.09
ROWS_PER_BAND = 4  # 8 bands of 4: rows of similarity .8 share a band with probability .985, of .5 with .4
BANDS = HASHES // ROWS_PER_BAND

Outcomes = npt.NDArray[np.uint8]
Signatures = npt.NDArray[np.uint32]


class Duplicates:
    """Collects rows batch by batch, then returns which of them are duplicates.

    Mode "normalized" finds texts that are equal except for case, commas, full stops, quotation marks and runs of
    spaces; a changed word, sign or emoticon makes a different text. Mode "similar" also finds texts of one class that
    share most of their three-word shingles (MinHash with banding: Broder, 1997; Leskovec et al., Mining of Massive
    Datasets, 3.4). It compares each row only with the first of its band, to stay linear, and may miss a row that is
    similar to a later one of the band.
    """

    def __init__(self, folder: Path, rows: int, mode: str, columns: list[str], similarity: float) -> None:
        """Prepare files in ``folder`` for ``rows`` rows, which are compared by ``columns``."""
        self.mode, self.columns, self.similarity = mode, columns, similarity
        self._rows = 0
        self._keys = KeyFiles(folder / "keys", rows)
        if mode == "similar":
            self._bands = [KeyFiles(folder / f"band{number}", rows) for number in range(BANDS)]
            self._signatures = folder / "signatures"

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of ``batch``."""
        positions = np.arange(self._rows, self._rows + batch.num_rows)
        self._rows += batch.num_rows
        if self.mode == "off" or not batch.num_rows:
            return
        exact = _keys_of_rows(batch, self.columns, keys_of)
        if self.mode == "exact":
            self._keys.add(exact, positions, _groups(batch))
            return
        keys = _keys_of_rows(batch, self.columns, keys_of_texts)
        self._keys.add(keys, positions, _groups(batch), exact, _keys_of_rows(batch, self.columns, keys_of_spellings))
        if self.mode == "similar":
            computed = signatures([text or "" for text in batch.column(TEXT).to_pylist()])
            self._add_signatures(computed, positions, _groups(batch))

    def outcomes(self, drop_conflicts: bool) -> Outcomes:
        """Return the outcome of each row, in order; of duplicates the first is kept.

        With ``drop_conflicts``, rows with the same spelling and different labels are all dropped. Rows with different
        labels that are only equal after normalization are all kept: their difference may be what the labels describe.
        """
        outcomes = np.zeros(self._rows, np.uint8)
        for entries in self._keys.repeated():
            outcomes[entries["position"]] = _outcomes_of(entries, drop_conflicts)
        if self.mode == "similar":
            self._mark_near_duplicates(outcomes)
        return outcomes

    def _add_signatures(
        self, computed: Signatures, positions: npt.NDArray[np.int64], groups: npt.NDArray[np.uint32]
    ) -> None:
        with self._signatures.open("ab") as file:
            file.write(computed.tobytes())
        for number, band in enumerate(self._bands):
            values = computed[:, number * ROWS_PER_BAND : (number + 1) * ROWS_PER_BAND].astype(np.uint64)
            key = np.zeros(len(computed), np.uint64)
            for value in values.T:
                key = _mix(key ^ value)
            band.add(key, positions, groups)

    def _mark_near_duplicates(self, outcomes: Outcomes) -> None:
        for band in self._bands:
            for entries in band.repeated():
                # Reopened each time, so that the pages that were read do not accumulate in memory.
                stored = np.memmap(self._signatures, np.uint32, "r", shape=(self._rows, HASHES))
                kept = entries[outcomes[entries["position"]] == KEPT]
                if not len(kept):
                    continue
                position, first = kept["position"], kept["position"][first_equal(kept, "group")]
                shared = (stored[position] == stored[first]).mean(axis=1)
                outcomes[position[(position != first) & (shared >= self.similarity)]] = NEAR_DUPLICATE


def _keys_of_rows(batch: pa.RecordBatch, columns: list[str], keys_of_values: Callable[[list[str]], Keys]) -> Keys:
    """Return a key for each row of ``batch`` from its ``columns``; ``keys_of_values`` computes the keys of texts."""
    from pandas.util import hash_array

    combined = np.zeros(batch.num_rows, np.uint64)
    for name in columns:
        values = batch.column(name)
        if pa.types.is_string(values.type):
            keys = keys_of_values(values.fill_null("").to_pylist())
        else:
            keys = hash_array(values.to_pandas().to_numpy())
        combined = _mix(combined ^ keys)
    return combined


def _groups(batch: pa.RecordBatch) -> npt.NDArray[np.uint32]:
    if LABEL not in batch.schema.names:
        return np.zeros(batch.num_rows, np.uint32)
    return keys_of(batch.column(LABEL).to_pylist()).astype(np.uint32)


def _outcomes_of(entries: Entries, drop_conflicts: bool) -> Outcomes:
    outcomes = np.zeros(len(entries), np.uint8)
    if not len(entries):
        return outcomes
    same_spelling = first_equal(entries, "spelling")
    differs = entries["group"] != entries["group"][same_spelling]
    conflicts = np.isin(same_spelling, same_spelling[differs])
    if drop_conflicts:
        outcomes[conflicts] = CONFLICT
    for names in (("spelling",), ("group",)):
        kept = np.flatnonzero(outcomes == KEPT)
        _mark_duplicates(entries[kept], first_equal(entries[kept], *names) if len(kept) else kept, outcomes, kept)
    return outcomes


def _mark_duplicates(
    entries: Entries, first: npt.NDArray[np.int64], outcomes: Outcomes, indices: npt.NDArray[np.int64]
) -> None:
    """Set ``outcomes`` at ``indices`` for those of ``entries`` that duplicate their ``first``."""
    later = first != np.arange(len(entries))
    found = np.where(entries["exact"] == entries["exact"][first], DUPLICATE, NORMALIZED)
    outcomes[indices[later]] = found[later]


def signatures(texts: list[str]) -> Signatures:
    """Return the MinHash signature of each text's three-word shingles (uint32, texts x ``HASHES``).

    The share of equal values in two signatures estimates the Jaccard similarity of the two sets of shingles.
    """
    words = [[_strip_punctuation(word) for word in text.split()] for text in texts]
    lengths = np.array([max(len(each), 1) for each in words])
    hashes = keys_of([word for each in words for word in (each or [""])])
    starts = np.cumsum(lengths) - lengths
    shingles = _shingles(hashes, starts, lengths)
    computed = np.empty((len(texts), HASHES), np.uint32)
    for number in range(HASHES):
        values = _mix(shingles ^ np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)) >> np.uint64(32)
        computed[:, number] = np.minimum.reduceat(values, starts)
    return computed


def _strip_punctuation(word: str) -> str:
    """Return ``word`` in lower case and without punctuation, unless it is all punctuation."""
    return "".join(each for each in word.lower() if unicodedata.category(each)[0] not in IGNORED_CATEGORIES) or word


def _shingles(hashes: Keys, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Keys:
    """Return one hash for each word's shingle; beyond the end of a text the last complete shingle is repeated."""
    text_of = np.repeat(np.arange(len(starts)), lengths)
    last = (starts + np.maximum(lengths - SHINGLE_WORDS, 0))[text_of]  # where the text's last complete shingle begins
    begin = np.minimum(np.arange(len(hashes)), last)
    end = (starts + lengths - 1)[text_of]
    shingle = np.zeros(len(hashes), np.uint64)
    for offset in range(SHINGLE_WORDS):
        shingle = _mix(shingle ^ hashes[np.minimum(begin + offset, end)])
    return shingle


def _mix(values: Keys) -> Keys:
    """Return a hash of each of ``values`` (SplitMix64's finalizer, Steele et al., 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
