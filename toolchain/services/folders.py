"""Folders of files from a folder, a package, an archive or an S3 prefix, with limits for archives."""

import contextlib
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from toolchain.artifacts.digest import sha256_of_file, sha256_of_json
from toolchain.artifacts.folder import disk_space_reported
from toolchain.errors import DataError
from toolchain.image_files import is_hidden
from toolchain.progress import log_info, track
from toolchain.services import storage
from toolchain.services.locations import files_in, local_path

MAX_FILES = 5_000_000  # of an archive: ImageNet has 1.3 million
MAX_UNPACK_RATIO = 100  # unpacked, than the archive; images hardly shrink, XML shrinks 20 times, a bomb 1,000 times
SMALL_BYTES = 100 * 1024**2  # unpacked: up to here no archive is a bomb
CHUNK_BYTES = 1024**2
DOCUMENTS = (
    ".md",
    ".rst",
    ".pdf",
    ".html",
    ".htm",
    ".docx",
)  # endings of what lies beside the one folder of an archive
DOCUMENT_NAMES = ("readme", "license", "licence", "copying", "notice", "citation", "changelog", "authors", "terms")
UTF8_FLAG = 0x800  # of a ZIP's entry: its name is UTF-8


@dataclass(frozen=True)
class Folder:
    """What a URI led to, on this machine."""

    uri: str
    path: Path
    sha256: str  # of an archive: of its bytes; of a folder: of the names and bytes of all files in it
    revision: str  # what changes when what is at the URI changes


def fetch_folder(uri: str, scratch: Path) -> Folder:
    """Return the folder at ``uri``: where it is, when it is on this machine, and unpacked in ``scratch`` otherwise.

    Args:
        uri: A folder, package:NAME/FOLDER, s3://BUCKET/PREFIX, or a .zip, .tar, .tar.gz or .tgz at a path, s3:// or
            https://.
        scratch: An empty folder for what is fetched and unpacked.

    Raises:
        ConfigError: no such package is installed.
        DataError: there is nothing, it is neither a folder nor an archive, or the archive is damaged or hostile.
        ServiceError: the service is down or denies access.
        StorageFullError: the disk is full.
    """
    if uri.startswith("s3://") and not _is_archive(uri):
        target = scratch / "prefix"
        storage.fetch_s3_prefix(f"{uri.rstrip('/')}/", target)
        digest = digest_of_folder(target)
        return Folder(uri, target, digest, digest)
    path = local_path(uri)
    if path and path.is_dir():
        digest = digest_of_folder(path)
        return Folder(uri, path, digest, digest)
    (scratch / "archive").mkdir(parents=True)
    fetched = storage.fetch(uri, scratch / "archive")
    unpack(fetched.files[0], scratch / "unpacked", uri)
    return Folder(uri, _only_folder(scratch / "unpacked"), fetched.sha256, fetched.revision)


def is_folder(uri: str) -> bool:
    """Return whether ``uri`` names many files: a folder on this machine, an archive by its name, or an S3 prefix.

    A name without a trailing slash or a suffix needs a request to S3.
    """
    if uri.startswith("s3://") and not _is_archive(uri):
        return uri.endswith("/") or (not PurePosixPath(uri).suffix and storage.is_s3_prefix(uri))
    path = local_path(uri)
    return _is_archive(uri) or (path is not None and path.is_dir())


def _is_archive(uri: str) -> bool:
    return uri.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))


def digest_of_folder(path: Path) -> str:
    """Return one SHA-256 for the names and bytes of all files in ``path``."""
    files = [file for file in files_in(path) if "__pycache__" not in file.parts]
    return sha256_of_json(sorted([file.relative_to(path).as_posix(), sha256_of_file(file)] for file in files))


def unpack(archive: Path, target: Path, uri: str) -> None:
    """Write the files in ``archive`` (ZIP or tar), called ``uri`` in errors, to ``target``.

    Raises:
        DataError: it is no archive, is damaged, would write outside ``target``, or is far larger than any true one.
        StorageFullError: the disk is full.
    """
    readers = {zipfile.is_zipfile: _members_of_zip, tarfile.is_tarfile: _members_of_tar}
    members = next((read for matches, read in readers.items() if matches(archive)), None)
    if members is None:
        raise DataError(f"{uri} is neither a folder nor a ZIP or tar archive; give one of these")
    room = max(SMALL_BYTES, MAX_UNPACK_RATIO * archive.stat().st_size)
    links: list[Link] = []
    try:
        for count, (name, file) in enumerate(track(members(archive), "unpack", unit="files")):
            if count >= MAX_FILES:
                raise DataError(f"{uri} holds more than {MAX_FILES:,} files; give it in parts")
            if isinstance(file, Link):
                links.append(file)
            else:
                room -= _write(file, _inside(target, name, uri), room, uri)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, KeyError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{uri} is damaged or locked: {error}; make the archive again") from error
    target.mkdir(parents=True, exist_ok=True)
    _link(target, links, uri)  # last, so that no file is written through a link


@dataclass(frozen=True)
class Link:
    """A symbolic link in an archive."""

    name: str
    leads_to: str  # from the folder that it is in


def _members_of_zip(archive: Path) -> Iterator[tuple[str, "IO[bytes] | Link"]]:
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = _name_in_zip(entry)
            if entry.is_dir() or name.endswith("/") or _is_hidden(name):
                continue
            if stat.S_ISLNK(entry.external_attr >> 16):
                yield name, Link(name, os.fsdecode(opened.read(entry)))
                continue
            with opened.open(entry) as file:
                yield name, file


def _name_in_zip(entry: zipfile.ZipInfo) -> str:
    """Return the name with "/" between folders, which programs of Windows write as a backslash, as unzip does."""
    name = entry.filename
    if not entry.flag_bits & UTF8_FLAG:  # zipfile reads code page 437 then; many programs write UTF-8 without the flag
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def _members_of_tar(archive: Path) -> Iterator[tuple[str, "IO[bytes] | Link"]]:
    with tarfile.open(archive) as opened:
        for entry in opened:
            if _is_hidden(entry.name):
                continue
            if entry.issym():
                yield entry.name, Link(entry.name, entry.linkname)
            elif file := opened.extractfile(entry) if entry.isreg() or entry.islnk() else None:
                yield entry.name, file


def _is_hidden(name: str) -> bool:
    return any(is_hidden(part) for part in PurePosixPath(name).parts)


def _link(target: Path, links: list[Link], uri: str) -> None:
    """Make the ``links`` that stay in ``target``; others are left out with a message."""
    left_out = []
    for link in links:
        path = _inside(target, link.name, uri)
        leads_to = (path.parent / link.leads_to).resolve()
        if leads_to.is_relative_to(target.resolve()) and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(os.path.relpath(leads_to, path.parent))
        else:
            left_out.append(link.name)
    if left_out:
        log_info(f"{uri}: links that lead out of the archive are left out: {len(left_out):,}, such as {left_out[0]}")


def _inside(target: Path, name: str, uri: str) -> Path:
    path = (target / name).resolve()
    if not path.is_relative_to(target.resolve()):
        raise DataError(f"{uri} would write {name!r} outside its folder; it is hostile, or made wrongly")
    return path


def _write(file: IO[bytes], path: Path, room: int, uri: str) -> int:
    """Copy ``file`` to ``path`` and return its bytes, of which there may be ``room``."""
    written = 0
    with disk_space_reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as target:
            while chunk := file.read(CHUNK_BYTES):
                written += len(chunk)
                if written > room:
                    raise DataError(f"{uri} unpacks to over {MAX_UNPACK_RATIO} times its size; it may be a zip bomb")
                target.write(chunk)
    return written


def _only_folder(path: Path) -> Path:
    """Return the folder that ``path`` holds, with nothing beside it but documents: archives are often of one folder."""
    beside = [file for file in path.iterdir() if not _is_document(file)]
    return beside[0] if len(beside) == 1 and beside[0].is_dir() else path


def _is_document(path: Path) -> bool:
    name = path.name.lower()
    return path.is_file() and (path.suffix.lower() in DOCUMENTS or name.startswith(DOCUMENT_NAMES))
