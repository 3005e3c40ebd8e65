"""Extras of the package dl-toolchain: which of their requirements are installed, and which extra to install."""

from collections.abc import Iterable, Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from toolchain.errors import ConfigError

PACKAGE = "dl-toolchain"
MAX_SHOWN = 5  # names of missing packages in a message


def check_installed(task: str, extras: Iterable[str]) -> None:
    """Check that the requirements of ``extras`` are installed; ``task`` is what needs them.

    Raises:
        ConfigError: some are missing; the message has the command that installs them.
    """
    missing = {extra: names for extra in sorted(set(extras)) if (names := _missing(extra))}
    if not missing:
        return
    packages = sorted(set().union(*missing.values()))
    more = f" and {len(packages) - MAX_SHOWN} more" if len(packages) > MAX_SHOWN else ""
    shown = ", ".join(packages[:MAX_SHOWN])
    raise ConfigError(f"{task} needs {shown}{more}: pip install '{PACKAGE}[{','.join(missing)}]'")


def describe_missing_module(module: str) -> str:
    """Return how to install the package of ``module``, which could not be imported."""
    package = canonicalize_name(module.partition(".")[0])
    extra = next((extra for extra in _extras() if package in _requirements(extra)), None)
    command = f"pip install '{PACKAGE}[{extra}]'" if extra else f"pip install {package}"
    return f"the package {package} is not installed: {command}"


def _extras() -> list[str]:
    """Return the extras, in the order of pyproject.toml; none where the code runs without an installed package."""
    try:
        return metadata.metadata(PACKAGE).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return []


def _missing(extra: str) -> set[str]:
    return {name for name in _requirements(extra) if not _is_installed(name)}


def _requirements(extra: str) -> set[str]:
    """Return the packages that ``extra`` installs itself, and those of the extras that it includes."""
    return set(_walk(extra)) if extra in _extras() else set()


def _walk(extra: str) -> Iterator[str]:
    for line in metadata.requires(PACKAGE) or []:
        requirement = Requirement(line)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        if canonicalize_name(requirement.name) == PACKAGE:
            for nested in sorted(requirement.extras):
                yield from _walk(nested)
        else:
            yield canonicalize_name(requirement.name)


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
