"""Files that the engine keeps between commands: written whole or not at all, and not trusted when they are read."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any


def read_record(path: Path, consequence: str) -> dict[str, Any] | None:
    """Return the JSON object in the file at ``path``, None where there is no such file.

    A damaged file counts as absent; one line on standard error then says so, with the ``consequence``.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):  # UnicodeDecodeError is a ValueError
        content = None
    if not isinstance(content, dict):
        warn_damaged(path, consequence)
        return None
    return content


@cache
def warn_damaged(path: Path, consequence: str) -> None:
    """Say once that the file at ``path`` is damaged, and what follows."""
    print(f"{path} is damaged: {consequence}", file=sys.stderr, flush=True)
