"""Find equal texts and images among many rows without holding them in memory."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Keys = npt.NDArray[np.uint64]
Entries = npt.NDArray[np.void]

ROWS_PER_BUCKET = 250_000  # entries sorted at once, 36 bytes each: 9 MB, however many rows there are
ENTRY = np.dtype([("key", "u8"), ("exact", "u8"), ("spelling", "u8"), ("group", "u4"), ("position", "i8")])

_QUOTES = dict.fromkeys("‘’‚‛´`′", "'") | dict.fromkeys("“”„‟«»″", '"')
_DASHES = dict.fromkeys("‐‑‒–—―−﹣－", "-")  # U+2212, the minus sign, among them: −1.1 is -1.1
_ELLIPSIS = re.compile(r"\.{2,}")
_REPEATED = re.compile(r"([!?])\1+")
_QUOTE = re.compile(r"(?<!\w)['\"]+|(?<=[^\W\d])['\"]+(?!\w)")  # around words; not in "it's", nor after a number (6'2")
_STOP = re.compile(r"(?<![.,;])[.,;]+(?!\S)")  # at the end of a word: 1.1, .5, 10,000 and ;) have theirs inside
_GAP = re.compile(r"\s+(?=[!?…])")
_SHOUTED = re.compile(r"\b(?:[^\W\d_]){2,}\b")


class _Plain(dict[int, str]):
    """A table for ``str.translate`` that writes one way what can be written in several, filled as characters are met.

    Digits above or below the line and fractions stay what they are: 10² is not 102, nor ½ the same as 12.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        plain = _QUOTES.get(character) or _DASHES.get(character) or character
        if kind in ("Cc", "Cf") and not 0xE0020 <= code <= 0xE007F:  # they distinguish Scotland's flag from England's
            plain = " " if character.isspace() else ""
        elif plain == character and kind != "No":
            plain = unicodedata.normalize("NFKC", character)
        self[code] = plain
        return plain


_PLAIN = _Plain()


def comparable(text: str) -> str:
    """Return ``text`` in a canonical form, without differences that readers overlook.

    That is case, runs of spaces, commas, semicolons and full stops after a word, quotation marks around it, and several
    ways to write one character. "A film." and "a  FILM" are the same. Whatever may change the meaning stays: "ok :)"
    and "ok :(", "1.1" and "-1.1", "10:30" and "1030", "C" and "C#", "good" and "good?" are not the same.
    """
    return _without_marks(text).lower().replace("ς", "σ") or text.strip()


def spelling(text: str) -> str:
    """Return ``text`` as ``comparable`` does, but with words in capitals unchanged: US differs from us."""
    plain = _without_marks(text)
    return _SHOUTED.sub(lambda word: word[0] if word[0].isupper() else word[0].lower(), plain) or text.strip()


def _without_marks(text: str) -> str:
    plain = text if text.isascii() else unicodedata.normalize("NFC", text)
    plain = _ELLIPSIS.sub("…", plain.translate(_PLAIN))
    plain = _STOP.sub("", _QUOTE.sub("", plain))
    return " ".join(_REPEATED.sub(r"\1", _GAP.sub("", plain)).split())


def keys_of(values: Iterable[object]) -> Keys:
    """Return a 64-bit key for each of ``values`` (strings), the same on every machine.

    SipHash-2-4 as pandas computes it: two different texts among n share a key with probability below n^2 / 2^65,
    which is 2.5e-7 for 3 million rows.
    """
    from pandas.util import hash_array  # here: a submitter that reads settings should not wait for pandas

    return hash_array(np.array(list(values), dtype=object), categorize=False)


def keys_of_texts(texts: Iterable[str | None]) -> Keys:
    """Return a key for each of ``texts``, equal for comparable texts (see ``comparable``); None counts as ""."""
    return keys_of([comparable(text or "") for text in texts])


def keys_of_spellings(texts: Iterable[str | None]) -> Keys:
    """Return a key for each of ``texts``, equal for equal spellings (see ``spelling``); None counts as ""."""
    return keys_of([spelling(text or "") for text in texts])


def keys_of_images(images: "pa.StructArray") -> Keys:
    """Return a key for each of ``images``, an image column, equal for equal bytes (BLAKE2b, cut to 64 bits)."""
    files = (file.as_buffer() for file in images.field("bytes"))
    return np.array([int.from_bytes(blake2b(file, digest_size=8).digest()) for file in files], np.uint64)


class KeyFiles:
    """The keys of many rows, in files where equal keys end up together, each small enough to be sorted in memory.

    Memory stays flat however many rows there are; the disk holds 36 bytes for each until the files are removed.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        """Make room in ``folder`` for about ``rows`` rows."""
        folder.mkdir(parents=True)
        self._count = 1 + rows // ROWS_PER_BUCKET
        self._paths = [folder / f"{number:05d}.keys" for number in range(self._count)]

    def add(
        self,
        keys: Keys,
        positions: npt.ArrayLike,
        groups: npt.ArrayLike = 0,
        exact: npt.ArrayLike | None = None,
        spellings: npt.ArrayLike | None = None,
    ) -> None:
        """Append rows: the key that may repeat, the row's position, its group (a class, a split) as a number, an exact
        key that distinguishes true repeats from similar texts, and a key of the spelling."""
        entries = np.empty(len(keys), ENTRY)
        entries["key"], entries["position"], entries["group"] = keys, positions, groups
        entries["exact"] = keys if exact is None else exact
        entries["spelling"] = keys if spellings is None else spellings
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


def first_equal(entries: Entries, *names: str) -> npt.NDArray[np.int64]:
    """Return, for each of ``entries`` (sorted by key), the index of the first one with the same key and ``names``."""
    first = first_of_each(entries).astype(np.uint64)
    for name in names:
        both = np.stack([first, entries[name].astype(np.uint64)])
        _, index, number = np.unique(both, axis=1, return_index=True, return_inverse=True)
        first = index[number.reshape(-1)].astype(np.uint64)
    return first.astype(np.int64)
