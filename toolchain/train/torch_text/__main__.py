"""Fine-tune from the command line, for torchrun: DATASET MODEL SETTING=VALUE..."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from toolchain.errors import ConfigError, ToolchainError
from toolchain.train.torch_text import Config, run

USAGE = "usage: torchrun --nproc-per-node N -m toolchain.train.torch_text DATASET MODEL [SETTING=VALUE]..."


def main(words: list[str]) -> str | None:
    """Train as ``words`` say; return one line when that failed."""
    if len(words) < 2:
        return USAGE
    try:
        result = run(Path(words[0]), Path(words[1]), Config(**dict(_setting(word) for word in words[2:])))
    except ToolchainError as error:
        return f"{type(error).__name__}: {error}"
    print(f"validation accuracy {result.validation_accuracy:.4f} after {result.epochs} epochs")
    return None


def _setting(word: str) -> tuple[str, Any]:
    name, _, value = word.partition("=")
    kinds = {field.name: field.type for field in fields(Config)}
    if name not in kinds:
        raise ConfigError(f"there is no setting {name!r}; known are {', '.join(kinds)}")
    kind: Any = kinds[name]
    try:
        return name, value.lower() in ("true", "1", "yes") if kind is bool else kind(value)
    except ValueError as error:
        raise ConfigError(f"{name} must be a {kind.__name__}, got {value!r}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
