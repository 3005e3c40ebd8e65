"""Digests, which are equal for equal content on every machine."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

SHORT_DIGEST_CHARACTERS = 12  # enough to distinguish any two digests
CHUNK_BYTES = 1 << 20  # read size: large enough that the cost of system calls is negligible


def short_digest(digest: str) -> str:
    """Return the beginning of ``digest``, for messages."""
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
    """Return one digest for a folder: of its files' digests, and of the part of its JSON that changes their meaning.

    It does not depend on times, hosts and paths: equal rows and weights have equal digests on every machine.
    """
    return sha256_of_json({"files": dict(files), "description": description})
