"""Find image files in folders: which files are images or hidden, which links are followed, which names are equal.

All readers of folders (classes, annotations, archives, digests) use these rules, so that they read the same files, and
can count what they skip.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo")  # an MPO starts with a JPEG
IMAGE_SUFFIXES = (
    *JPEG_SUFFIXES,
    ".png",
    ".webp",
    ".bmp",
    ".dib",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
HIDDEN_NAMES = (  # of systems and editors; names with a leading dot are hidden, too, such as .git and ._a.jpg
    "__macosx",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "$recycle.bin",
    "system volume information",
    "@eadir",
    "lost+found",
)
HIDDEN, BROKEN_LINK, LOOP, FORBIDDEN, OTHER_SUFFIX = (
    "hidden file or folder",
    "broken link",
    "link to a parent folder",
    "folder without read permission",
    "file with another suffix",
)


@dataclass(frozen=True)
class Listing:
    """The files in a folder and below, sorted by path, and the skipped ones by the reason."""

    files: list[Path] = field(default_factory=list)
    skipped: dict[str, list[Path]] = field(default_factory=dict)

    def skip(self, reason: str, path: Path) -> None:
        self.skipped.setdefault(reason, []).append(path)


def list_files(folder: Path, *suffixes: str) -> Listing:
    """Return the files in ``folder`` and below with one of ``suffixes``, in any case; without ``suffixes`` all files.

    Links to files and folders are followed, except to a parent folder of the link.
    """
    found = Listing()
    _walk(folder, (os.path.realpath(folder),), suffixes, found)
    found.files.sort()
    return found


def files_under(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files of ``list_files``."""
    return list_files(folder, *suffixes).files


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """Return the files in ``folder`` itself, by the rules of ``list_files``."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not is_hidden(path.name) and _has_suffix(path, suffixes) and path.is_file()
    )


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` that are not hidden, including linked ones."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or was created by the operating system."""
    return (name.startswith(".") and name not in (".", "..")) or name.casefold() in HIDDEN_NAMES


def is_image(path: Path) -> bool:
    """Return whether ``path`` has the suffix of an image file."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def child(folder: Path, name: str) -> Path | None:
    """Return the file or folder ``name`` in ``folder``: the exact name, else a unique equal ``name_key``."""
    if (exact := folder / name).exists():
        return exact
    found = _children(str(folder), _modified(folder)).get(name_key(name), ())
    return folder / found[0] if len(found) == 1 else None


def descendant(folder: Path, name: str) -> Path | None:
    """Return the file or folder at the path ``name`` below ``folder``; each part is found as by ``child``."""
    path: Path | None = folder
    for part in (part for part in name.split("/") if part not in ("", ".")):
        path = child(path, part) if path and part != ".." else None
    return path


def name_key(name: str) -> str:
    """Return a key that is equal for names that differ in case, Unicode normalization or file system encoding."""
    return unicodedata.normalize("NFC", readable(name)).casefold()


def readable(name: str) -> str:
    """Return the name or path ``name`` as text that can be printed and stored; what is not UTF-8 is read as cp1252."""
    return "/".join(_decoded(part) for part in name.split("/"))


def _decoded(name: str) -> str:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        data = name.encode("utf-8", "surrogateescape") if _is_escaped(name) else name.encode("utf-8", "replace")
        for encoding in ("utf-8", "cp1252"):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                continue
        return data.decode("latin-1")
    return name


def _is_escaped(name: str) -> bool:
    """Return whether all surrogates in ``name`` stand for bytes (PEP 383)."""
    return all("\udc80" <= letter <= "\udcff" for letter in name if "\ud800" <= letter <= "\udfff")


def _walk(folder: Path, parents: tuple[str, ...], suffixes: tuple[str, ...], found: Listing) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []
    except PermissionError:
        found.skip(FORBIDDEN, folder)
        return
    for entry in entries:
        path = folder / entry.name
        if is_hidden(entry.name):
            found.skip(HIDDEN, path)
        elif entry.is_dir():
            real = os.path.realpath(path) if entry.is_symlink() else os.path.join(parents[-1], entry.name)
            if real in parents:
                found.skip(LOOP, path)
            else:
                _walk(path, (*parents, real), suffixes, found)
        elif not entry.is_file():
            found.skip(BROKEN_LINK, path)
        elif _has_suffix(path, suffixes):
            found.files.append(path)
        else:
            found.skip(OTHER_SUFFIX, path)


def _has_suffix(path: Path, suffixes: tuple[str, ...]) -> bool:
    return not suffixes or path.suffix.lower() in suffixes


def _modified(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


@lru_cache(maxsize=256)
def _children(folder: str, modified: int) -> dict[str, tuple[str, ...]]:
    """Return the names in ``folder`` by their key; ``modified`` invalidates the cache when files are added."""
    names: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        names[name_key(name)] = (*names.get(name_key(name), ()), name)
    return names
