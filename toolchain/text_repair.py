"""Repair texts that were damaged in transport: HTML, a wrong encoding, control characters, runs of spaces.

Cleaning repairs the texts that a model is trained and evaluated on, and the model records that: at inference each text
is repaired in the same way before the tokenizer, so that the model gets the texts that it was trained on.
"""

import html
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

VERSION = "1"  # recorded in models: a change of the result for any text needs a new version
ROUNDS = 4  # for a text that was damaged repeatedly ("&amp;amp;quot;"), and one more to check the result

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BREAK = re.compile(r"</?(?:br|p)\s*/?>", re.IGNORECASE)
_TOKEN = re.compile(r"[^ \t\n\r\f\v]+")
# Zero-width spaces, soft hyphens, byte order marks, marks of writing direction. Zero-width (non-)joiners are kept:
# emoji, Persian and the scripts of India need them.
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160))) | dict.fromkeys(map(ord, _INVISIBLE))
_SPACES = dict.fromkeys((9, 10, 11, 12, 13, 133), " ")
_RARE = frozenset("ƏəƠơƯưȘșȚțǍǎǏǐǑǒǓǔƁɓƊɗƘƙƐɛƆɔ")  # beyond Latin Extended-A, in languages in use today
# Normalization is quadratic in the length of a run of combining marks: it works on pieces, which end between letters.
_PIECE = re.compile(r"\S{1,1000}[\u0300-\u036f\u1160-\u11ff\u3099\u309a]{0,30}")


def repair(text: str) -> tuple[str, list[str]]:
    """Return ``text`` repaired, and the types of damage found, as in STEPS.

    "It&#39;s cafÃ©  time\\n" becomes "It's café time". Lost characters (U+FFFD) cannot be restored and are kept.
    """
    if _is_plain(text):
        return text, []
    found: dict[str, None] = {}
    for _ in range(ROUNDS):
        previous = text
        for kind, step in STEPS.items():
            before, text = text, step(text)
            if text != before:
                found[kind] = None
        if text == previous:
            break
    return text, [kind for kind in STEPS if kind in found]


def normalize_label(name: str) -> str:
    """Return the class name ``name`` without invisible characters: control and zero-width characters, runs of spaces.

    Accents are composed, so that names that are displayed equally are equal.
    """
    return name if _is_plain(name) else _join_words(_compose(_drop_controls(name)))


def _is_plain(text: str) -> bool:
    """Return whether no step would change ``text``: true for most texts, and 20 times faster than the steps."""
    return (
        text.isascii()
        and text.isprintable()
        and "&" not in text
        and "<" not in text
        and "  " not in text
        and text[:1] != " "
        and text[-1:] != " "
    )


def _unescape(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return _BREAK.sub(" ", text) if "<" in text else text


def _fix_encoding(text: str) -> str:
    """Repair text that was decoded with a wrong encoding ("Ã©"), if ftfy finds it unlikely.

    ftfy repairs a text as a whole, and can damage correct parts ("CAFÉ®") because of others; its result is checked, and
    if it is not better each word is repaired separately.
    """
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if text.isascii() or not is_bad(text):
        return text
    fixed = fix_encoding(text, _settings())
    if _is_likely(text, fixed):
        return fixed
    return _TOKEN.sub(lambda token: _fix_word(token[0]), text)


def _fix_word(word: str) -> str:
    from ftfy import fix_encoding

    fixed = word if word.isascii() else fix_encoding(word, _settings())
    return fixed if _is_likely(word, fixed) else word


@cache
def _settings() -> "TextFixerConfig":
    from ftfy import TextFixerConfig

    return TextFixerConfig(explain=False)


def _is_likely(before: str, after: str) -> bool:
    """Return whether the characters that ``after`` has and ``before`` lacks are plausible in their context."""
    new, lost = set(after) - set(before), set(before) - set(after)
    if not new:  # "20Â°C": a sign that UTF-8 encodes as itself with one character before it
        return not lost or "Â" in lost
    return all(_fits(after, index, new) for index, character in enumerate(after) if character in new)


def _fits(text: str, index: int, new: set[str]) -> bool:
    """Return whether a character that decoding produced fits between its neighbors.

    A sign beside a word can be valid UTF-8 with the word's last letter by chance ("CAFÉ®", "HÄNTÄ°", "»Även"): decoded
    it is a small letter among capitals, a capital within a word, or a letter of no language or another script.
    """
    character, before, after = text[index], text[max(index - 2, 0) : index], text[index + 1 : index + 2]
    category = unicodedata.category(character)
    if category in ("Cn", "Co", "Cs") or ("ſ" < character < "ʰ" and character not in _RARE):
        return False
    if not any(_is_latin(each) for each in (before[-1:], after) if each not in new):
        return True
    if category[0] in "PSZC" or category == "No":
        return character <= "ÿ" or "\u2000" <= character <= "\u2bff" or character >= "\U0001f000"
    if "\u0300" <= character <= "\u036f":
        return before[-1:].islower()
    if not _is_latin(character):
        return False
    if character.islower():
        return not (len(before) == 2 and before.isalpha() and before.isupper())
    if before[-1:].islower() and before[-1] not in new:
        return False
    return character <= "ÿ" or len(new) > 1 or after.isalpha() or not before[-1:].isupper()


def _is_latin(character: str) -> bool:
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN")


def _drop_controls(text: str) -> str:
    return text.translate(_SPACES).translate(_CONTROLS)


def _compose(text: str) -> str:
    """Compose "e" and a combining accent to "é" (Unicode's NFC), as in the texts that tokenizers are trained on."""
    return text if text.isascii() else _PIECE.sub(lambda piece: unicodedata.normalize("NFC", piece[0]), text)


def _join_words(text: str) -> str:
    return " ".join(text.split())


STEPS: dict[str, Callable[[str], str]] = {
    "HTML": _unescape,
    "encoding": _fix_encoding,
    "control characters": _drop_controls,
    "composition": _compose,
    "spaces": _join_words,
}
