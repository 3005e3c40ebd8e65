"""Repeats: which rows say what an earlier row says already, found with flat memory."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from toolchain.artifacts.dataset import LABEL, TEXT
from toolchain.dedup import Entries, KeyFiles, Keys, first_alike, keys_of, keys_of_spellings, keys_of_texts

KEPT, REPEAT, LOOKALIKE, CONFLICT, SIMILAR = range(5)  # a row's fate, 1 byte of memory for each row
MODES = ("off", "exact", "normalized", "similar")

IGNORED = "PZC"  # in words of shingles: Unicode's categories of punctuation, spaces and control characters
SHINGLE = 3  # words: "the film is" and "film is good" overlap, so order counts and a changed word costs three shingles
HASHES = 32  # values of a signature: the similarity is estimated with a standard error of at most 0.09
ROWS_PER_BAND = (
    4  # 8 bands of 4: rows of similarity .8 meet with probability .985, of .5 with .4 (and are then told apart)
)
BANDS = HASHES // ROWS_PER_BAND

Fates = npt.NDArray[np.uint8]
Signatures = npt.NDArray[np.uint32]


class Repeats:
    """Takes rows in batch by batch, then says which of them repeat others.

    "normalized" finds texts that are equal once case, commas, full stops, quotation marks and runs of spaces are set
    aside; a changed word, sign or emoticon makes another text. "similar" finds, besides, texts of one class that share
    most of their three-word runs (MinHash with banding: Broder, 1997; Leskovec et al., Mining of Massive Datasets,
    3.4); it compares each row with the first of its band, so that it stays linear, and may miss a row that is like a
    later one of the band only.
    """

    def __init__(self, folder: Path, rows: int, mode: str, columns: list[str], similarity: float) -> None:
        """Make room in ``folder`` for ``rows`` rows, which are compared by their ``columns``."""
        self.mode, self.columns, self.similarity = mode, columns, similarity
        self._seen = 0
        self._keys = KeyFiles(folder / "keys", rows)
        if mode == "similar":
            self._bands = [KeyFiles(folder / f"band{number}", rows) for number in range(BANDS)]
            self._signatures = folder / "signatures"

    def see(self, batch: pa.RecordBatch) -> None:
        """Take the rows of ``batch`` in."""
        positions = np.arange(self._seen, self._seen + batch.num_rows)
        self._seen += batch.num_rows
        if self.mode == "off" or not batch.num_rows:
            return
        exact = _keys_of_rows(batch, self.columns, keys_of)
        if self.mode == "exact":
            self._keys.add(exact, positions, _groups(batch))
            return
        keys = _keys_of_rows(batch, self.columns, keys_of_texts)
        self._keys.add(keys, positions, _groups(batch), exact, _keys_of_rows(batch, self.columns, keys_of_spellings))
        if self.mode == "similar":
            found = signatures([text or "" for text in batch.column(TEXT).to_pylist()])
            self._see_signatures(found, positions, _groups(batch))

    def fates(self, drop_conflicts: bool) -> Fates:
        """Return the fate of each row, by position; of rows that repeat each other the first is kept.

        With ``drop_conflicts`` none is kept of rows that are spelled alike and carry different labels. Rows of
        different labels that only look alike are all kept: what tells them apart may be what the labels are about.
        """
        fates = np.zeros(self._seen, np.uint8)
        for entries in self._keys.repeated():
            fates[entries["position"]] = _fates_of(entries, drop_conflicts)
        if self.mode == "similar":
            self._mark_similar(fates)
        return fates

    def _see_signatures(
        self, found: Signatures, positions: npt.NDArray[np.int64], groups: npt.NDArray[np.uint32]
    ) -> None:
        with self._signatures.open("ab") as file:
            file.write(found.tobytes())
        for number, band in enumerate(self._bands):
            values = found[:, number * ROWS_PER_BAND : (number + 1) * ROWS_PER_BAND].astype(np.uint64)
            key = np.zeros(len(found), np.uint64)
            for value in values.T:
                key = _mixed(key ^ value)
            band.add(key, positions, groups)

    def _mark_similar(self, fates: Fates) -> None:
        for band in self._bands:
            for entries in band.repeated():
                # Opened anew each time, so that the pages that were looked at do not add up.
                stored = np.memmap(self._signatures, np.uint32, "r", shape=(self._seen, HASHES))
                alive = entries[fates[entries["position"]] == KEPT]
                if not len(alive):
                    continue
                position, first = alive["position"], alive["position"][first_alike(alive, "group")]
                shared = (stored[position] == stored[first]).mean(axis=1)
                fates[position[(position != first) & (shared >= self.similarity)]] = SIMILAR


def _keys_of_rows(batch: pa.RecordBatch, columns: list[str], keys_of_values: Callable[[list[str]], Keys]) -> Keys:
    """Return a key for each row of ``batch``, made of its ``columns``; ``keys_of_values`` gives those of texts."""
    from pandas.util import hash_array

    combined = np.zeros(batch.num_rows, np.uint64)
    for name in columns:
        values = batch.column(name)
        if pa.types.is_string(values.type):
            keys = keys_of_values(values.fill_null("").to_pylist())
        else:
            keys = hash_array(values.to_pandas().to_numpy())
        combined = _mixed(combined ^ keys)
    return combined


def _groups(batch: pa.RecordBatch) -> npt.NDArray[np.uint32]:
    if LABEL not in batch.schema.names:
        return np.zeros(batch.num_rows, np.uint32)
    return keys_of(batch.column(LABEL).to_pylist()).astype(np.uint32)


def _fates_of(entries: Entries, drop_conflicts: bool) -> Fates:
    fates = np.zeros(len(entries), np.uint8)
    if not len(entries):
        return fates
    spelled = first_alike(entries, "spelling")
    differs = entries["group"] != entries["group"][spelled]
    conflicts = np.isin(spelled, spelled[differs])
    if drop_conflicts:
        fates[conflicts] = CONFLICT
    alive = np.flatnonzero(fates == KEPT)
    for names in (("spelling",), ("group",)):
        left = alive[fates[alive] == KEPT]
        _mark_repeats(entries[left], first_alike(entries[left], *names) if len(left) else left, fates, left)
    return fates


def _mark_repeats(entries: Entries, first: npt.NDArray[np.int64], fates: Fates, places: npt.NDArray[np.int64]) -> None:
    """Note in ``fates``, at ``places``, which of ``entries`` repeat their ``first``."""
    later = first != np.arange(len(entries))
    alike = np.where(entries["exact"] == entries["exact"][first], REPEAT, LOOKALIKE)
    fates[places[later]] = alike[later]


def signatures(texts: list[str]) -> Signatures:
    """Return the MinHash signature of each text's three-word runs (uint32, texts x ``HASHES``).

    Two signatures agree in a share of their values that estimates the Jaccard similarity of the two sets of runs.
    """
    words = [[_bare(word) for word in text.split()] for text in texts]
    lengths = np.array([max(len(each), 1) for each in words])
    hashes = keys_of([word for each in words for word in (each or [""])])
    starts = np.cumsum(lengths) - lengths
    runs = _runs(hashes, starts, lengths)
    found = np.empty((len(texts), HASHES), np.uint32)
    for number in range(HASHES):
        values = _mixed(runs ^ np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)) >> np.uint64(32)
        found[:, number] = np.minimum.reduceat(values, starts)
    return found


def _bare(word: str) -> str:
    """Return ``word`` in lower case and without punctuation, unless it holds nothing else."""
    return "".join(each for each in word.lower() if unicodedata.category(each)[0] not in IGNORED) or word


def _runs(hashes: Keys, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Keys:
    """Return one hash for each run of words; a run that would pass the end of its text repeats the last whole one."""
    text_of = np.repeat(np.arange(len(starts)), lengths)
    last = (starts + np.maximum(lengths - SHINGLE, 0))[text_of]  # where the last whole run of the text begins
    begin = np.minimum(np.arange(len(hashes)), last)
    end = (starts + lengths - 1)[text_of]
    run = np.zeros(len(hashes), np.uint64)
    for offset in range(SHINGLE):
        run = _mixed(run ^ hashes[np.minimum(begin + offset, end)])
    return run


def _mixed(values: Keys) -> Keys:
    """Return ``values`` with every bit depending on every other (SplitMix64's finalizer, Steele et al., 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
