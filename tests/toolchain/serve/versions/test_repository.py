from pathlib import Path

import pytest

from tests.support.versions import publish_versions, routing_of, target_of
from toolchain.lifecycle.routing import FILE, HEARTBEAT, Target
from toolchain.serve.settings import Settings
from toolchain.serve.versions.repository import Folder, NotFoundError, open_repository


@pytest.fixture
def repository(tmp_path: Path, versions: dict[str, Path]) -> Path:
    publish_versions(tmp_path / "reviews", routing_of(versions, "1"), versions)
    return tmp_path / "reviews"


def test_a_folder_has_its_document_and_its_versions(repository: Path, versions: dict[str, Path]):
    found = open_repository(Settings(model_repository=str(repository)))
    assert isinstance(found, Folder)
    assert found.name == "reviews"
    assert found.document() == (repository / FILE).read_bytes()
    target = target_of(versions, "1")
    assert found.folder(target) == repository / target.digest


def test_a_missing_document_or_version_is_not_found(repository: Path, tmp_path: Path):
    with pytest.raises(NotFoundError):
        Folder(tmp_path / "nowhere").document()
    with pytest.raises(NotFoundError):
        Folder(repository).folder(Target(version="9", digest="9" * 64, variant="fp32"))


def test_a_heartbeat_is_empty_until_there_is_one(repository: Path):
    assert Folder(repository).heartbeat() == b""
    (repository / HEARTBEAT).write_bytes(b"once")
    assert Folder(repository).heartbeat() == b"once"
