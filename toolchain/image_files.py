"""Files in a user's folder: which are images, which are hidden, where links lead, and how names are compared.

Every reader of folders (classes, annotations, archives, digests) uses these rules, so that a file is read by all or by
none of them, and what is skipped can be counted.
"""

import os
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

JPEG_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo")  # an MPO begins as a JPEG does
IMAGE_ENDINGS = (
    *JPEG_ENDINGS,
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
HIDDEN_NAMES = (  # what systems and editors add; names that begin with a dot are hidden too, as .git and ._a.jpg
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
HIDDEN, BROKEN_LINK, LOOP, FORBIDDEN, OTHER_ENDING = (
    "hidden file or folder",
    "link to a file that is not there",
    "link to a folder that it is in",
    "folder that must not be read",
    "file with another ending",
)


@dataclass(frozen=True)
class Listing:
    """The files of a folder and below, in the order of their paths, and those that were skipped, by the reason."""

    files: list[Path] = field(default_factory=list)
    skipped: dict[str, list[Path]] = field(default_factory=dict)

    def skip(self, reason: str, path: Path) -> None:
        self.skipped.setdefault(reason, []).append(path)


def list_files(folder: Path, *endings: str) -> Listing:
    """Return the files in ``folder`` and below whose names end in one of ``endings``, in any case; without any: all.

    Links to files and folders are followed, except to a folder that the link itself is in.
    """
    found = Listing()
    _walk(folder, (os.path.realpath(folder),), endings, found)
    found.files.sort()
    return found


def files_under(folder: Path, *endings: str) -> list[Path]:
    """Return the files of ``list_files``."""
    return list_files(folder, *endings).files


def files_in(folder: Path, *endings: str) -> list[Path]:
    """Return the files in ``folder`` itself, by the rules of ``list_files``."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if not is_hidden(path.name) and _ends(path, endings) and path.is_file()
    )


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in ``folder`` that are not hidden, those that links lead to included."""
    return sorted(path for path in folder.iterdir() if not is_hidden(path.name) and path.is_dir())


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or was put there by a system."""
    return (name.startswith(".") and name not in (".", "..")) or name.casefold() in HIDDEN_NAMES


def is_image(path: Path) -> bool:
    """Return whether the name of ``path`` ends as an image's does."""
    return path.suffix.lower() in IMAGE_ENDINGS


def child(folder: Path, name: str) -> Path | None:
    """Return the file or folder ``name`` in ``folder``: exactly that, else the only one whose ``name_key`` is equal."""
    if (exact := folder / name).exists():
        return exact
    found = _children(str(folder), _changed(folder)).get(name_key(name), ())
    return folder / found[0] if len(found) == 1 else None


def descendant(folder: Path, name: str) -> Path | None:
    """Return what lies at ``name``, with "/" between folders, below ``folder``; each part is found as by ``child``."""
    path: Path | None = folder
    for part in (part for part in name.split("/") if part not in ("", ".")):
        path = child(path, part) if path and part != ".." else None
    return path


def name_key(name: str) -> str:
    """Return what is equal for names that differ in capitals, in Unicode's form or in the encoding of a file system."""
    return unicodedata.normalize("NFC", readable(name)).casefold()


def readable(name: str) -> str:
    """Return ``name``, perhaps a path, as text that can be printed and stored: what is not UTF-8 is Windows-1252."""
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
    """Return whether the surrogates in ``name`` all stand for bytes (PEP 383)."""
    return all("\udc80" <= letter <= "\udcff" for letter in name if "\ud800" <= letter <= "\udfff")


def _walk(folder: Path, above: tuple[str, ...], endings: tuple[str, ...], found: Listing) -> None:
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
            real = os.path.realpath(path) if entry.is_symlink() else os.path.join(above[-1], entry.name)
            if real in above:
                found.skip(LOOP, path)
            else:
                _walk(path, (*above, real), endings, found)
        elif not entry.is_file():
            found.skip(BROKEN_LINK, path)
        elif _ends(path, endings):
            found.files.append(path)
        else:
            found.skip(OTHER_ENDING, path)


def _ends(path: Path, endings: tuple[str, ...]) -> bool:
    return not endings or path.suffix.lower() in endings


def _changed(folder: Path) -> int:
    return folder.stat().st_mtime_ns if folder.is_dir() else 0


@lru_cache(maxsize=256)
def _children(folder: str, changed: int) -> dict[str, tuple[str, ...]]:
    """Return the names in ``folder`` by their key; ``changed`` makes the cache see a folder that has new files."""
    names: dict[str, tuple[str, ...]] = {}
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        names[name_key(name)] = (*names.get(name_key(name), ()), name)
    return names
