"""Repair: undo what transport did to a text (HTML, a wrong encoding, control characters, runs of spaces)."""

import html
import re
import unicodedata
from collections.abc import Callable

ROUNDS = (
    2  # texts that went through the same mill twice: "&amp;quot;", UTF-8 read as Windows-1252 and saved, twice over
)

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_BREAK = re.compile(r"</?(?:br|p)\s*/?>", re.IGNORECASE)
# Zero-width spaces, soft hyphens, byte order marks, marks of writing direction. Zero-width (non-)joiners stay: emoji,
# Persian and the scripts of India need them.
_INVISIBLE = "\u00ad\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
_CONTROLS = dict.fromkeys((*range(32), 127, *range(128, 160))) | dict.fromkeys(map(ord, _INVISIBLE))
_SPACES = dict.fromkeys((9, 10, 11, 12, 13, 133), " ")


def _windows_1252() -> dict[str, int]:
    """Return the byte of each character of Windows-1252; its five gaps stand for themselves, as browsers have it."""
    table = {chr(byte): byte for byte in range(0x80, 0x100)}
    for byte in range(0x80, 0x100):
        table[bytes([byte]).decode("cp1252", errors="ignore") or chr(byte)] = byte
    return table


_BYTES = _windows_1252()
_RUN = re.compile(f"[{''.join(map(re.escape, _BYTES))}]{{2,}}")


def repair(text: str) -> tuple[str, list[str]]:
    """Return ``text`` repaired, and what kinds of damage it had, in words; a sound text comes back as it is.

    "It&#39;s cafÃ©  time\\n" becomes "It's café time". What was lost (U+FFFD) cannot be brought back and stays.
    """
    if _is_plain(text):
        return text, []
    found = []
    for kind, step in STEPS.items():
        before, text = text, step(text)
        if text != before:
            found.append(kind)
    return text, found


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
        for _ in range(ROUNDS):
            text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)
    return _BREAK.sub(" ", text) if "<" in text else text


def _mend_encoding(text: str) -> str:
    """Turn UTF-8 that was read as Windows-1252 ("Ã©") back, wherever a run of such characters is valid UTF-8."""
    for _ in range(ROUNDS):
        text = _RUN.sub(lambda run: _decoded(run[0]), text)
    return text


def _decoded(run: str) -> str:
    try:
        return bytes(_BYTES[character] for character in run).decode("utf-8")
    except UnicodeDecodeError:  # not mangled: these characters are meant
        return run


def _drop_controls(text: str) -> str:
    return text.translate(_SPACES).translate(_CONTROLS)


def _compose(text: str) -> str:
    """Write "e" and a combining accent as "é" (Unicode's NFC), which is what tokenizers were trained on."""
    return unicodedata.normalize("NFC", text)


def _join_words(text: str) -> str:
    return " ".join(text.split())


STEPS: dict[str, Callable[[str], str]] = {
    "HTML": _unescape,
    "encoding": _mend_encoding,
    "control characters": _drop_controls,
    "composition": _compose,
    "spaces": _join_words,
}
