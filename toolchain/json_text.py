"""Parse JSON of other programs into text that can always be encoded as UTF-8 again."""

import json
import re
from typing import Any

# Each escape in turn: a pair of surrogates (one character), a surrogate alone (group 1), or any other escape.
ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)


def loads(text: str, **options: Any) -> Any:
    """Return the value of the JSON ``text``; ``options`` are those of ``json.loads``.

    RFC 8259 (section 8.2) allows half of a surrogate pair in a string, which UTF-8 cannot encode: each becomes U+FFFD,
    the replacement character, also in keys.
    """
    return json.loads(without_lone_surrogates(text), **options)


def without_lone_surrogates(text: str) -> str:
    r"""Return the JSON ``text`` with ``\uFFFD`` for each escape that is half of a surrogate pair."""
    if r"\ud" not in text and r"\uD" not in text:
        return text
    return ESCAPE.sub(lambda escape: r"\uFFFD" if escape[1] else escape[0], text)
