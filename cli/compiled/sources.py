"""Sources: which arguments of a pipeline name a file or a folder, found as the steps themselves find it."""

from pathlib import Path
from typing import Any

from toolchain.services import packages
from toolchain.services.locations import local_path

OPENED = ("source", "images", "samples", "weights", "base_model")  # arguments that a step opens, a bare word included
NAMES = {  # but for these words, which stand for what is built in, whatever the working directory holds
    "base_model": ("cnn", "linear", "efficientnet-lite0"),
    "weights": ("pretrained", "backbone"),
}
POLICIES = (".yaml", ".yml")  # a bare word of argument ``policy`` that ends so is a file, any other a preset
MAX_LENGTH = 1_000  # characters; longer values are texts


def path_of(argument: str, value: Any) -> Path | None:
    """Return the existing file or folder of this machine that ``value`` names, None where it names none.

    A bare word names a file or a folder where a step opens the ``argument``; elsewhere it is a name or a column.
    """
    if not isinstance(value, str) or not value.strip() or "\n" in value or len(value) > MAX_LENGTH:
        return None
    if "/" not in value and not value.startswith((packages.PREFIX, "~")) and not _opens_word(argument, value):
        return None
    path = local_path(value.strip() if argument == "policy" else value)
    return path if path and _exists(path) else None


def _opens_word(argument: str, word: str) -> bool:
    if argument == "policy":
        return word.strip().endswith(POLICIES)
    return argument in OPENED and word not in NAMES.get(argument, ())


def _exists(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name longer than the file system takes, or a folder that must not be read
        return False
