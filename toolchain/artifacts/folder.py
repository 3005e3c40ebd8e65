"""Write files and folders atomically."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from toolchain.errors import ArtifactError, StorageFullError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # the disk, the quota, or the size limit of a file
BAD_PATHS = {errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}  # the disk is read-only, or this user has no right to write


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that is renamed to ``target`` after the block, or removed if the block fails.

    Raises:
        ArtifactError: ``target`` exists: an artifact is never changed in place.
        StorageFullError: the disk is full.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise ArtifactError(f"{target} exists already and is not overwritten: choose another folder, or remove it")
    partial = target.with_name(f".{target.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with write_reported(target):
            partial.mkdir(parents=True)
        with disk_space_reported(target):
            yield partial
            os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def disk_space_reported(target: Path) -> Iterator[None]:
    """Raise StorageFullError, with the name of ``target``, when the disk is full inside the block."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL or "No space left" in str(error):
            raise StorageFullError(f"no space is left to write {target}; free some, or write elsewhere") from error
        raise


def disk_fault(error: OSError) -> str | None:
    """Return a line about the fault of the disk or the path that caused ``error``, None for other errors."""
    if error.errno in FULL:
        where = f" to write {error.filename}" if error.filename else ""
        return f"no space is left{where}; free some, or use another disk"
    if error.filename is None or error.errno not in {*CLOSED, *BAD_PATHS, errno.EIO}:
        return None
    return f"{error.filename}: {(error.strerror or '').lower()}; check the path and the rights of its folder"


@contextmanager
def write_reported(target: Path) -> Iterator[None]:
    """Raise the errors below, with the name of ``target``, when it cannot be written inside the block.

    Raises:
        ArtifactError: the disk is read-only, or this user has no right to write there.
        StorageFullError: the disk is full.
    """
    try:
        with disk_space_reported(target):
            yield
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        raise ArtifactError(
            f"{target} cannot be written ({(error.strerror or '').lower()}); make its folder writable, or use another"
        ) from error


def write_file(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, in an existing folder; an older file stays until the new one is complete.

    Raises:
        ArtifactError: the disk is read-only, or this user has no right to write there.
        StorageFullError: the disk is full.
    """
    partial = path.with_name(f".{path.name}.partial-{uuid.uuid4().hex[:8]}")
    try:
        with write_reported(path):
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name with an empty file
            os.replace(partial, path)
    finally:
        with suppress(OSError):  # the folder may be read-only
            partial.unlink()


def write_json(path: Path, value: object) -> None:
    """Write ``value`` to ``path`` as indented JSON, as ``write_file`` does."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, format_name: str) -> dict[str, Any]:
    """Return the JSON object at ``path``, whose format must be ``format_name``.

    Raises:
        ArtifactError: the file is missing, is no JSON object, or has another format.
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
    """Link the file or folder ``source`` at ``target`` by hard links, or copy it if the disk does not support them.

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
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, target)
    return target
