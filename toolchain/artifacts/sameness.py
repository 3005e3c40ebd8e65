"""Sameness: when two texts or pictures are the same, and how such rows are found without holding them in memory."""

import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.uint64]
Entries = npt.NDArray[np.void]

ROWS_PER_BUCKET = 250_000  # entries sorted at once, 28 bytes each: 7 MB, however many rows there are
ENTRY = np.dtype([("key", "u8"), ("exact", "u8"), ("group", "u4"), ("position", "i8")])
IGNORED = "PZC"  # Unicode's major categories punctuation, separators (spaces) and others (control characters)


class _Kept(dict[int, int | None]):
    """A table for ``str.translate`` that drops ``IGNORED`` characters, filled as characters are met."""

    def __missing__(self, code: int) -> int | None:
        kept = None if unicodedata.category(chr(code))[0] in IGNORED else code
        self[code] = kept
        return kept


_KEPT = _Kept()


def comparable(text: str) -> str:
    """Return what ``text`` says, without what readers overlook: case, punctuation, spaces, compatibility forms.

    "It's GREAT!" and "its great" are the same; "great" and "greet" are not, nor are ":)" and ":(" (a text of
    nothing but punctuation is compared as it stands).
    """
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return plain.casefold().translate(_KEPT) or text.strip()


def keys_of(values: Iterable[object]) -> Keys:
    """Return a 64-bit key for each of ``values`` (strings), the same on every machine.

    SipHash-2-4 as pandas computes it: two different texts among n share a key with probability below n^2 / 2^65,
    which is 2.5e-7 for 3 million rows.
    """
    from pandas.util import hash_array  # here: a submitter that reads settings should not wait for pandas

    return hash_array(np.array(list(values), dtype=object), categorize=False)


def keys_of_texts(texts: Iterable[str | None]) -> Keys:
    """Return a key for each of ``texts``, equal where they say the same (see ``comparable``); None counts as ""."""
    return keys_of([comparable(text or "") for text in texts])


def keys_of_pictures(pictures: "pa.StructArray") -> Keys:
    """Return a key for each of ``pictures``, an image column, equal where bytes are (BLAKE2b, cut to 64 bits)."""
    files = (file.as_buffer() for file in pictures.field("bytes"))
    return np.array([int.from_bytes(blake2b(file, digest_size=8).digest()) for file in files], np.uint64)


class KeyFiles:
    """The keys of many rows, in files where equal keys end up together, each small enough to be sorted in memory.

    Memory stays flat however many rows there are; the disk holds 28 bytes for each until the files are removed.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        """Make room in ``folder`` for about ``rows`` rows."""
        folder.mkdir(parents=True)
        self._count = 1 + rows // ROWS_PER_BUCKET
        self._paths = [folder / f"{number:05d}.keys" for number in range(self._count)]

    def add(
        self, keys: Keys, positions: npt.ArrayLike, groups: npt.ArrayLike = 0, exact: npt.ArrayLike | None = None
    ) -> None:
        """Append rows: the key that may repeat, the row's position, its group (a class, a split) as a number, and an
        exact key that tells true repeats from those that only look alike."""
        entries = np.empty(len(keys), ENTRY)
        entries["key"], entries["position"], entries["group"] = keys, positions, groups
        entries["exact"] = keys if exact is None else exact
        buckets = keys % np.uint64(self._count)
        for number in np.unique(buckets):
            with self._paths[int(number)].open("ab") as file:
                file.write(entries[buckets == number].tobytes())

    def repeated(self) -> Iterator[Entries]:
        """Yield, file by file, the entries whose key more than one row has, sorted by key, then by position."""
        for path in self._paths:
            if path.exists():
                entries = np.fromfile(path, ENTRY)
                entries = entries[np.lexsort((entries["position"], entries["key"]))]
                same_as_next = entries["key"][1:] == entries["key"][:-1]
                yield entries[np.append(same_as_next, False) | np.insert(same_as_next, 0, False)]


def first_of_each(entries: Entries) -> npt.NDArray[np.int64]:
    """Return, for each of ``entries`` (sorted by key), the index of the first one that has the same key."""
    begins = np.insert(entries["key"][1:] != entries["key"][:-1], 0, True)
    first: npt.NDArray[np.int64] = np.flatnonzero(begins)[np.cumsum(begins) - 1]
    return first
