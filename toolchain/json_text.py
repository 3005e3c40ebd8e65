"""JSON that others wrote: read as Python's json reads it, and always into text that can be written again."""

import json
import re
from typing import Any

# Each escape in turn: a pair of surrogates (one character), a surrogate alone (group 1), or any other escape.
ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def loads(text: str, **options: Any) -> Any:
    """Return the value of the JSON ``text``; ``options`` are those of ``json.loads``.

    RFC 8259 (section 8.2) lets a string hold half of a surrogate pair, which no UTF-8 file can: each becomes U+FFFD,
    the replacement character, in keys and at any depth.
    """
    return json.loads(without_lone_surrogates(text), **options)


def without_lone_surrogates(text: str) -> str:
    r"""Return the JSON ``text`` with ``\uFFFD`` for each escape that is half of a surrogate pair."""
    if r"\ud" not in text and r"\uD" not in text:
        return text
    return ESCAPE.sub(lambda escape: r"\uFFFD" if escape[1] else escape[0], text)
