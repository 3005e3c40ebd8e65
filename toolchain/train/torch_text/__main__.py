"""Fine-tune from the command line, for torchrun: DATASET MODEL SETTING=VALUE..."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from toolchain.errors import ConfigError, ToolchainError
from toolchain.train.torch_text import Config, run

USAGE = "usage: torchrun --nproc-per-node N -m toolchain.train.torch_text DATASET MODEL [SETTING=VALUE]..."


def main(argv: list[str]) -> str | None:
    """Train with the arguments ``argv``; return an error in one line, if there is one."""
    if len(argv) < 2:
        return USAGE
    try:
        result = run(Path(argv[0]), Path(argv[1]), Config(**dict(map(_parse, argv[2:]))))
    except ToolchainError as error:
        return f"{type(error).__name__}: {error}"
    print(f"validation accuracy {result.validation_accuracy:.4f} after {result.epochs} epochs")
    return None


def _parse(argument: str) -> tuple[str, Any]:
    name, _, value = argument.partition("=")
    types = {field.name: field.type for field in fields(Config)}
    if name not in types:
        raise ConfigError(f"there is no setting {name!r}; the settings are {', '.join(types)}")
    type_: Any = types[name]
    try:
        return name, value.lower() in ("true", "1", "yes") if type_ is bool else type_(value)
    except ValueError as error:
        raise ConfigError(f"{name} must be a {type_.__name__}, got {value!r}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
