"""Find the files and folders that a pipeline's arguments name, by the same rules as the steps that open them."""

from pathlib import Path
from typing import Any

from toolchain.services import packages
from toolchain.services.locations import local_path

PATH_ARGUMENTS = ("source", "images", "samples", "weights", "base_model")  # opened by a step, even without a slash
BUILT_IN = {  # values of these that are names, whatever the working directory contains
    "base_model": ("cnn", "linear", "efficientnet-lite0"),
    "weights": ("pretrained", "backbone"),
}
POLICY_SUFFIXES = (".yaml", ".yml")  # of an augmentation policy that is a file; any other value is a preset
MAX_PATH_CHARACTERS = 1_000  # longer values are texts


def path_of(argument: str, value: Any) -> Path | None:
    """Return the existing file or folder of this machine that ``value`` names, or None.

    A value without a slash is a path only if a step opens the ``argument``; otherwise it is a name or a column.
    """
    if not isinstance(value, str) or not value.strip() or "\n" in value or len(value) > MAX_PATH_CHARACTERS:
        return None
    if "/" not in value and not value.startswith((packages.PREFIX, "~")) and not _is_path(argument, value):
        return None
    path = local_path(value.strip() if argument == "policy" else value)
    return path if path and _exists(path) else None


def _is_path(argument: str, value: str) -> bool:
    """Return whether a step takes ``value``, which has no slash, as a path."""
    if argument == "policy":
        return value.strip().endswith(POLICY_SUFFIXES)
    return argument in PATH_ARGUMENTS and value not in BUILT_IN.get(argument, ())


def _exists(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # the name is too long for the file system, or a folder is not readable
        return False
