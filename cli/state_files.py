"""Read the files that the command line keeps between commands; a damaged file is treated as missing."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any


def read_record(path: Path, consequence: str) -> dict[str, Any] | None:
    """Return the JSON object in the file at ``path``, or None if the file is missing or damaged.

    For a damaged file, one line on standard error names the file and the ``consequence``.
    """
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        content = None
    if not isinstance(content, dict):
        warn_damaged(path, consequence)
        return None
    return content


@cache
def warn_damaged(path: Path, consequence: str) -> None:
    """Print once that the file at ``path`` is damaged, and the ``consequence``."""
    print(f"{path} is damaged: {consequence}", file=sys.stderr, flush=True)
