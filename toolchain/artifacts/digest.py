"""Digests: one name for the same content, on every machine."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

SHORT_DIGEST_CHARACTERS = 12  # enough to distinguish any two digests
CHUNK_BYTES = 1 << 20  # read size: large enough that SHA-256 and not the system call is the cost


def short_digest(digest: str) -> str:
    """Return the beginning of ``digest``, as messages show it."""
    return digest[:SHORT_DIGEST_CHARACTERS]


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of the file at ``path``, as 64 hexadecimal digits, reading it in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(value: object) -> str:
    """Return the SHA-256 of ``value`` written as JSON with sorted keys and no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def digest_files(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of each of ``names`` below ``folder``, by name, in sorted order."""
    return {name: sha256_of_file(folder / name) for name in sorted(names)}


def digest_of_content(files: Mapping[str, str], description: object) -> str:
    """Return one digest for a folder: of its files' digests and of the part of its JSON that changes their meaning.

    Times, hosts and paths are no part of it: the same rows and weights have the same digest wherever they are made.
    """
    return sha256_of_json({"files": dict(files), "description": description})
