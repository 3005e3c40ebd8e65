"""Tokens: which bearer tokens a model server accepts, from its environment or a folder that a Secret is mounted at.

A misspelt or empty setting is an error: it never means that no token is required.
"""

import difflib
import os
import re
from pathlib import Path

from toolchain.errors import ConfigError

VARIABLE = "TOOLCHAIN_SERVE_TOKENS"  # comma-separated bearer tokens; unset: no authentication
MIN_CHARACTERS = 16  # of a token: a shorter one can be guessed
TOKEN = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_CHARACTERS},}}")  # RFC 6750 2.1
SIMILAR = 0.85  # of two names, as difflib counts it: TOOLCHAIN_SERVE_TOKEN is, TOOLCHAIN_SERVE_NAME is not


def serving_tokens(folder: Path | None = None, required: bool = False) -> tuple[str, ...]:
    """Return the accepted bearer tokens; none without authentication.

    Args:
        folder: Where a Secret may be mounted, each key as a file.
        required: Whether there must be tokens.

    Raises:
        ConfigError: tokens are required and there are none; or their key is misspelt, or has a value that no client
            can send or that can be guessed. (No value is shown.)
    """
    found = {VARIABLE: _in_environment(), str(folder): _in_folder(folder) if folder else None}
    named = {source: value for source, value in found.items() if value is not None}
    if len(named) > 1:
        raise ConfigError(f"tokens are in both {' and '.join(named)}; keep one of them")
    for source, value in named.items():
        return _parsed(value, source)
    if required:
        where = f", or in {folder}/{VARIABLE}" if folder else ""
        raise ConfigError(f"tokens are required, but there are none; give them in {VARIABLE}{where}")
    return ()


def _in_environment() -> str | None:
    if VARIABLE not in os.environ:
        for name in difflib.get_close_matches(VARIABLE, os.environ, 1, SIMILAR):
            raise ConfigError(f"the variable {name} is not known; tokens are read from {VARIABLE}")
    return os.environ.get(VARIABLE)


def _in_folder(folder: Path) -> str | None:
    """Return the tokens in ``folder``, None where it is not there or empty: then there is no Secret."""
    if not folder.is_dir():
        return None
    keys = sorted(file.name for file in folder.iterdir() if not file.name.startswith("."))
    if keys and VARIABLE not in keys:
        raise ConfigError(f"the Secret at {folder} has {', '.join(keys)} but no {VARIABLE}; rename its key")
    return (folder / VARIABLE).read_text() if keys else None


def _parsed(value: str, source: str) -> tuple[str, ...]:
    tokens = tuple(token.strip() for token in value.split(","))
    if not value.strip():
        raise ConfigError(f"{source} holds no token; add some, or remove it to disable authentication")
    if min(map(len, tokens)) < MIN_CHARACTERS:
        raise ConfigError(f"{source} holds a token of fewer than {MIN_CHARACTERS} characters; give longer ones")
    if not all(map(TOKEN.fullmatch, tokens)):
        raise ConfigError(f"{source} holds a token with characters other than letters, digits and ._~+/=-")
    return tokens
