"""Local files and folders of URIs, for steps, cache keys and uploads."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from toolchain.services import packages

FILE = "file:/"  # file:///PATH, file:/PATH or file://localhost/PATH (RFC 8089), with characters such as %20
HOST = re.compile("^//(localhost(?=/))?")


def local_path(uri: str) -> Path | None:
    """Return the path on this machine that ``uri`` names, whether or not it exists; None for an s3:// or web address.

    Args:
        uri: A path (relative to the working directory, or from the home folder with "~"), a file:// URI, or
            package:NAME/PATH in an installed Python package.

    Raises:
        ConfigError: the package is not installed, or has no such file.
    """
    if uri.startswith(packages.PREFIX):
        return packages.find(uri)
    if uri.startswith(FILE):
        return _expanded(unquote(HOST.sub("", uri.removeprefix("file:"))))
    return None if "://" in uri else _expanded(uri)


def files_in(folder: Path) -> Iterator[Path]:
    """Yield every file in ``folder``, also behind links; a link back to a folder above it is not followed again."""
    for inner, names, files in os.walk(folder, followlinks=True):
        above = {os.path.realpath(path) for path in (Path(inner), *Path(inner).parents)}
        paths = [os.path.join(inner, name) for name in sorted(names)]
        names[:] = [os.path.basename(path) for path in paths if not os.path.islink(path) or not _leads_to(path, above)]
        yield from (path for name in sorted(files) if (path := Path(inner, name)).is_file())


def _leads_to(link: str, folders: set[str]) -> bool:
    return os.path.realpath(link) in folders


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # "~name" of a user who has no account here: a file of that name, as a shell takes it
        return Path(path)
