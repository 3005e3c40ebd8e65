"""Backups of the databases are whole or not there, the newest is found, and old ones go."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from toolchain.errors import DataError
from toolchain.services.storage import backups, s3

NOW = datetime(2026, 3, 31, 3, 17, tzinfo=UTC)


@pytest.fixture
def place(s3_bucket: str) -> str:
    return f"s3://{s3_bucket}/backups/mysql"


def dumps(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / "mlflow.sql.gz").write_bytes(content)
    return folder


def names(place: str) -> list[str]:
    return sorted({stored.uri.split("/")[-2] for stored in s3.listing(f"{place}/")})


def test_what_was_stored_comes_back_the_newest_or_the_one_named(place: str, tmp_path: Path) -> None:
    older = backups.store(dumps(tmp_path / "older", b"older"), place, NOW - timedelta(days=1), 14)
    backups.store(dumps(tmp_path / "newer", b"newer"), place, NOW, 14)
    assert older == "20260330T031700Z"
    for name, content in (("", b"newer"), (older, b"older")):
        (target := tmp_path / f"to-{content.decode()}").mkdir()
        assert [path.read_bytes() for path in backups.fetch(target, place, name)] == [content]
        assert [path.name for path in target.iterdir()] == ["mlflow.sql.gz"]


def test_backups_older_than_requested_go_and_the_others_stay(place: str, tmp_path: Path) -> None:
    for days in (15, 14, 1, 0):
        backups.store(dumps(tmp_path / str(days), b"x"), place, NOW - timedelta(days=days), 14)
    assert names(place) == ["20260317T031700Z", "20260330T031700Z", "20260331T031700Z"]


def test_a_backup_that_was_cut_off_is_not_restored(place: str, tmp_path: Path) -> None:
    whole = backups.store(dumps(tmp_path / "whole", b"whole"), place, NOW, 14)
    s3.upload(tmp_path / "whole" / "mlflow.sql.gz", f"{place}/20260401T031700Z/mlflow.sql.gz")
    assert backups.fetch(tmp_path, place)[0].read_bytes() == b"whole"
    with pytest.raises(DataError, match=f"no complete backup '20260401T031700Z'; there are {whole}"):
        backups.fetch(tmp_path, place, "20260401T031700Z")


def test_a_folder_without_dumps_is_no_backup(place: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.sql\.gz"):
        backups.store(tmp_path, place, NOW, 14)


def test_where_there_is_no_backup_that_is_reported(place: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no complete backup"):
        backups.fetch(tmp_path, place)
