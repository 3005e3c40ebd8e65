"""Text repair: undo what transport did to a text (HTML, a wrong encoding, control characters, runs of spaces).

Cleaning repairs the texts that a model learns from and is measured on, and a model records it: whatever runs that model
repairs each text in the same way before the tokenizer, so that the model reads what it learned to read.
"""

import html
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ftfy import TextFixerConfig

VERSION = "1"  # of what ``repair`` does, as a model records it: another result for any text is another version
ROUNDS = 4  # a text that went through the same mill several times ("&amp;amp;quot;"), and one to see that it is whole

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BREAK = re.compile(r"</?(?:br|p)\s*/?>", re.IGNORECASE)
_TOKEN = re.compile(r"[^ \t\n\r\f\v]+")
# Zero-width spaces, soft hyphens, byte order marks, marks of writing direction. Zero-width (non-)joiners stay: emoji,
# Persian and the scripts of India need them.
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160))) | dict.fromkeys(map(ord, _INVISIBLE))
_SPACES = dict.fromkeys((9, 10, 11, 12, 13, 133), " ")
_RARE = frozenset("ƏəƠơƯưȘșȚțǍǎǏǐǑǒǓǔƁɓƊɗƘƙƐɛƆɔ")  # beyond Latin Extended-A, in languages that are written today
# Normalization takes time with the square of a run of combining marks: it works on pieces, which end between letters.
_PIECE = re.compile(r"\S{1,1000}[\u0300-\u036f\u1160-\u11ff\u3099\u309a]{0,30}")


def repair(text: str) -> tuple[str, list[str]]:
    """Return ``text`` repaired, and what kinds of damage it had, in words; a sound text comes back as it is.

    "It&#39;s cafÃ©  time\\n" becomes "It's café time". What was lost (U+FFFD) cannot be brought back and stays.
    """
    if _is_plain(text):
        return text, []
    found: dict[str, None] = {}
    for _ in range(ROUNDS):
        begun = text
        for kind, step in STEPS.items():
            before, text = text, step(text)
            if text != before:
                found[kind] = None
        if text == begun:
            break
    return text, [kind for kind in STEPS if kind in found]


def tidy(name: str) -> str:
    """Return ``name``, of a class, without what nobody sees: control and zero-width characters, runs of spaces.

    Accents are composed, so that two spellings of one name that look the same are the same.
    """
    return name if _is_plain(name) else _join_words(_compose(_drop_controls(name)))


def _is_plain(text: str) -> bool:
    """Whether ``text`` has nothing that any step would touch; true of most, and 20 times quicker than the steps."""
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


def _mend_encoding(text: str) -> str:
    """Turn text that was read in another encoding than it was written in ("Ã©") back, where ftfy finds it unlikely.

    ftfy takes a text as a whole, and may so decode what is meant ("CAFÉ®") because of what is not; what it makes is
    therefore looked at, and where it is no better each word is mended by itself.
    """
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    if text.isascii() or not is_bad(text):
        return text
    mended = fix_encoding(text, _settings())
    if _is_likely(text, mended):
        return mended
    return _TOKEN.sub(lambda token: _mended_word(token[0]), text)


def _mended_word(word: str) -> str:
    from ftfy import fix_encoding

    mended = word if word.isascii() else fix_encoding(word, _settings())
    return mended if _is_likely(word, mended) else word


@cache
def _settings() -> "TextFixerConfig":
    from ftfy import TextFixerConfig

    return TextFixerConfig(explain=False)


def _is_likely(before: str, after: str) -> bool:
    """Whether the characters that ``after`` has and ``before`` lacks stand where such characters stand in texts."""
    new, lost = set(after) - set(before), set(before) - set(after)
    if not new:  # "20Â°C": a sign that UTF-8 writes as itself and one character before it
        return not lost or "Â" in lost
    return all(_fits(after, place, new) for place, character in enumerate(after) if character in new)


def _fits(text: str, place: int, new: set[str]) -> bool:
    """Whether a character that decoding made fits between its neighbours.

    A sign beside a word may be valid UTF-8 with its last letter by chance ("CAFÉ®", "HÄNTÄ°", "»Även"): decoded it
    would be a small letter among capitals, a capital within a word, or a letter of no language or another script.
    """
    character, before, after = text[place], text[max(place - 2, 0) : place], text[place + 1 : place + 2]
    kind = unicodedata.category(character)
    if kind in ("Cn", "Co", "Cs") or ("ſ" < character < "ʰ" and character not in _RARE):
        return False
    if not any(_is_latin(each) for each in (before[-1:], after) if each not in new):
        return True
    if kind[0] in "PSZC" or kind == "No":
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
    """Write "e" and a combining accent as "é" (Unicode's NFC), which is what tokenizers were trained on."""
    return text if text.isascii() else _PIECE.sub(lambda piece: unicodedata.normalize("NFC", piece[0]), text)


def _join_words(text: str) -> str:
    return " ".join(text.split())


STEPS: dict[str, Callable[[str], str]] = {
    "HTML": _unescape,
    "encoding": _mend_encoding,
    "control characters": _drop_controls,
    "composition": _compose,
    "spaces": _join_words,
}
