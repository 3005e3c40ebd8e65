"""What a user's environment says: read once, and nothing secret of it shown."""

import pytest

from pipelines.engine.settings import read_settings


def test_what_settings_show_of_themselves_holds_no_secret(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KFP_ENDPOINT", "https://kfp.example.com")
    monkeypatch.setenv("KFP_TOKEN", "a-token")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:a-password@mlflow.example.com")
    settings = read_settings()
    assert settings.token == "a-token"
    assert "https://kfp.example.com" in repr(settings)
    assert "a-token" not in repr(settings)
    assert "a-password" not in repr(settings)
