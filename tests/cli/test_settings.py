"""What a user's environment says: read once, and nothing secret of it shown."""

from pathlib import Path

import pytest

from cli.settings import open_registry, read_settings
from toolchain.errors import ConfigError


def test_what_settings_show_of_themselves_holds_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KFP_ENDPOINT", "https://kfp.example.com")
    monkeypatch.setenv("KFP_TOKEN", "a-token")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:a-password@mlflow.example.com")
    settings = read_settings()
    assert settings.token == "a-token"
    assert "https://kfp.example.com" in repr(settings)
    assert "a-token" not in repr(settings)
    assert "a-password" not in repr(settings)


def test_a_registry_in_a_file_waits_for_the_first_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOOLCHAIN_RUNS", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert not read_settings().has_registry
    read_settings().mlflow_database.touch()
    assert read_settings().has_registry
    elsewhere = tmp_path / "folder" / "elsewhere.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    assert not read_settings().has_registry
    with pytest.raises(ConfigError, match=r"'reviews'.*elsewhere\.db"):
        open_registry(read_settings(), "reviews")
    assert not elsewhere.parent.exists()
    elsewhere.parent.mkdir()
    elsewhere.touch()
    assert read_settings().has_registry
    for server in ("https://mlflow.example.com", "sqlite://", "postgresql://host/database"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        assert read_settings().has_registry


@pytest.mark.parametrize("runs", ["file", "file/below", "x" * 300, "~no-such-user/runs"])
def test_runs_must_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runs: str):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLCHAIN_RUNS", runs)
    with pytest.raises(ConfigError, match="TOOLCHAIN_RUNS"):
        read_settings()


def test_a_deleted_working_directory_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.delenv("TOOLCHAIN_RUNS", raising=False)
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match="working directory"):
        read_settings()
