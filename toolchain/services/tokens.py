"""Tokens: who may ask a model server, as its environment says."""

import os

from toolchain.errors import ConfigError

VARIABLE = "TOOLCHAIN_SERVE_TOKENS"  # bearer tokens with commas between them; unset: everyone may ask
FEWEST_CHARACTERS = 16  # of a token: a shorter one can be guessed


def serving_tokens() -> tuple[str, ...]:
    """Return the bearer tokens of which a caller must bring one; none when everyone may ask.

    Raises:
        ConfigError: the variable is set, but names no token, or a short one. (It is not shown.)
    """
    said = os.environ.get(VARIABLE)
    if said is None:
        return ()
    tokens = tuple(token.strip() for token in said.split(","))
    if min(map(len, tokens)) < FEWEST_CHARACTERS:
        raise ConfigError(f"{VARIABLE} holds a token of fewer than {FEWEST_CHARACTERS} characters; give longer ones")
    return tokens
