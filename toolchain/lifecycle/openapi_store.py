"""Interfaces: the OpenAPI document of a registered version, as a server answered with it, kept in MLflow by its files.

It is an artifact of the version's run, ``openapi/NUMBER/openapi.json``, and a tag of the version holds its digest.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolchain.artifacts.digest import sha256_of_json
from toolchain.errors import ArtifactError
from toolchain.services.mlflow import Tracker, Version

TAG_OPENAPI = "openapi.sha256"  # of a version: the digest of its document
FOLDER, FILE = "openapi", "openapi.json"
Document = dict[str, Any]


def keep(tracker: Tracker, version: Version, document: Document) -> str:
    """Keep ``document`` as that of ``version``, in place of an older one, and return its digest.

    Raises:
        ServiceError: MLflow does not answer, or refuses.
    """
    digest = sha256_of_json(document)
    if version.tags.get(TAG_OPENAPI) != digest:
        with TemporaryDirectory() as folder:
            (Path(folder) / FILE).write_text(as_text(document), encoding="utf-8")
            tracker.upload(version.run, Path(folder), _place(version))
        tracker.tag_version(version, {TAG_OPENAPI: digest})
    return digest


def kept(tracker: Tracker, version: Version) -> Document | None:
    """Return the document of ``version``, None when none was kept yet.

    Raises:
        ArtifactError: it was changed.
        ServiceError: MLflow does not answer, or refuses.
    """
    if TAG_OPENAPI not in version.tags:
        return None
    with TemporaryDirectory() as folder:
        file = tracker.download(version.run, f"{_place(version)}/{FILE}", Path(folder))
        try:
            document: Document = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            document = {}
    if sha256_of_json(document) != version.tags[TAG_OPENAPI]:
        raise ArtifactError(
            f"the OpenAPI document of version {version.number} of {version.model} was changed in MLflow; remove the "
            f"version's tag {TAG_OPENAPI} to have it taken anew"
        )
    return document


def as_text(document: Document) -> str:
    """Return ``document`` as JSON for people and programs, the same text for the same document."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _place(version: Version) -> str:
    return f"{FOLDER}/{version.number}"
