"""Store the OpenAPI documents of registered versions in MLflow.

A document is an artifact of the version's run, ``openapi/NUMBER/openapi.json``; a tag of the version holds its digest.
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


def save(tracker: Tracker, version: Version, document: Document) -> str:
    """Store ``document`` for ``version``, replacing an older one, and return its digest.

    Raises:
        ServiceError: MLflow does not respond, or rejects the request.
    """
    digest = sha256_of_json(document)
    if version.tags.get(TAG_OPENAPI) != digest:
        with TemporaryDirectory() as folder:
            (Path(folder) / FILE).write_text(as_text(document), encoding="utf-8")
            tracker.upload(version.run, Path(folder), _folder(version))
        tracker.tag_version(version, {TAG_OPENAPI: digest})
    return digest


def load(tracker: Tracker, version: Version) -> Document | None:
    """Return the document of ``version``, None when none is stored.

    Raises:
        ArtifactError: it was changed.
        ServiceError: MLflow does not respond, or rejects the request.
    """
    if TAG_OPENAPI not in version.tags:
        return None
    with TemporaryDirectory() as folder:
        file = tracker.download(version.run, f"{_folder(version)}/{FILE}", Path(folder))
        try:
            document: Document = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            document = {}
    if sha256_of_json(document) != version.tags[TAG_OPENAPI]:
        raise ArtifactError(
            f"the OpenAPI document of version {version.number} of {version.model} was changed in MLflow; remove the "
            f"version's tag {TAG_OPENAPI} to record it again"
        )
    return document


def as_text(document: Document) -> str:
    """Return ``document`` as indented JSON; equal documents give equal text."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _folder(version: Version) -> str:
    return f"{FOLDER}/{version.number}"
