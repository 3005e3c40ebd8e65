"""Folders that are written whole or not at all."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.errors import ArtifactError, StorageFullError

FULL = {errno.ENOSPC, errno.EDQUOT}  # the disk is full, or the quota is


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target`` that becomes ``target`` when the block ends well, and is gone otherwise.

    Raises:
        ArtifactError: something is at ``target`` already: an artifact is never changed in place.
        StorageFullError: the disk is full.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ArtifactError(f"{target} exists already; artifacts are never overwritten, name another place")
    partial = target.with_name(f".{target.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with disk_space_reported(target):
            partial.mkdir(parents=True)
            yield partial
            os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def disk_space_reported(target: Path) -> Iterator[None]:
    """Turn "no space left on device" inside the block into one line that names ``target``."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or "No space left" in str(error):
            raise StorageFullError(f"no space is left to write {target}; free some, or write elsewhere") from error
        raise


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whose folder is there; what was there before stays until the new file is whole.

    Raises:
        StorageFullError: the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with disk_space_reported(path):
            partial.write_bytes(content)
            os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` to ``path`` as indented JSON, as ``write_file`` does."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, format_name: str) -> dict[str, Any]:
    """Return the JSON object at ``path``, which must say that it is a ``format_name``.

    Raises:
        ArtifactError: the file is missing, is no JSON object, or describes something else.
    """
    if not path.is_file():
        raise ArtifactError(f"{path.parent} is not a {format_name} folder: it has no {path.name}")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path} is damaged: it is not JSON; make the artifact again") from error
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != format_name:
        raise ArtifactError(f"{path} describes {found!r}, not a {format_name}")
    return dict(value)


def link_or_copy(source: Path, target: Path) -> None:
    """Put the file or folder ``source`` at ``target`` too: by hard links where the disk allows, by a copy elsewhere.

    Artifacts are never changed in place, so sharing their bytes is safe.
    """
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_or_copy_file)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy_file(str(source), str(target))


def _link_or_copy_file(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copy2(source, target)
    return target
