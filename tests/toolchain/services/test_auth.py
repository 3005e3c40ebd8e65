"""Tokens are read as they were meant, or the server does not start."""

from pathlib import Path

import pytest

from toolchain.errors import ConfigError
from toolchain.services.auth import VARIABLE, serving_tokens

ONE, OTHER = "a-token-of-tests-only", "another-token-of-tests="


def mounted(folder: Path, **keys: str) -> Path:
    """Return ``folder`` as Kubernetes mounts a Secret with ``keys``: links into a hidden folder."""
    data = folder / "..2026_01_01"
    data.mkdir(parents=True)
    (folder / "..data").symlink_to(data.name)
    for key, value in keys.items():
        (data / key).write_text(value)
        (folder / key).symlink_to(Path("..data") / key)
    return folder


def test_tokens_come_from_the_environment_or_from_a_mounted_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = mounted(tmp_path / "secret", TOOLCHAIN_SERVE_TOKENS=f"{ONE}, {OTHER}\n")
    assert serving_tokens(folder, required=True) == (ONE, OTHER)
    monkeypatch.setenv(VARIABLE, ONE)
    assert serving_tokens() == (ONE,)
    assert serving_tokens(mounted(tmp_path / "none")) == (ONE,)
    with pytest.raises(ConfigError, match="are in both"):
        serving_tokens(folder)


def test_everyone_may_request_where_nothing_names_tokens_and_nothing_requires_them(tmp_path: Path):
    for folder in (None, tmp_path / "nowhere", mounted(tmp_path / "no-secret")):
        assert serving_tokens(folder) == ()
        with pytest.raises(ConfigError, match="tokens are required, but there are none"):
            serving_tokens(folder, required=True)


@pytest.mark.parametrize("key", ["TOOLCHAIN_SERVE_TOKEN", "tokens", "toolchain_serve_tokens", "TOKENS"])
def test_a_secret_with_a_misspelt_key_is_rejected_and_its_value_not_shown(key: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=rf"has {key} but no {VARIABLE}") as refused:
        serving_tokens(mounted(tmp_path / "secret", **{key: ONE}))
    assert ONE not in str(refused.value)


@pytest.mark.parametrize("name", ["TOOLCHAIN_SERVE_TOKEN", "TOOLCHAIN_SERVER_TOKENS", "TOOLCHAIN_SERVING_TOKENS"])
def test_a_variable_with_a_misspelt_name_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, ONE)
    with pytest.raises(ConfigError, match=f"the variable {name} is not known"):
        serving_tokens()


BAD = {
    "": "no token",
    " \n": "no token",
    "short": "fewer than 16",
    f"{ONE},": "fewer than 16",
    f"{ONE},,{OTHER}": "fewer than 16",
    f"{ONE} {OTHER}": "characters other than",
    f"{ONE};{OTHER}": "characters other than",
    f'"{ONE}"': "characters other than",
    f"{ONE}é": "characters other than",
}


@pytest.mark.parametrize("value", BAD)
def test_a_value_without_usable_tokens_is_rejected(value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with pytest.raises(ConfigError, match=BAD[value]) as refused:
        serving_tokens(mounted(tmp_path / "secret", TOOLCHAIN_SERVE_TOKENS=value))
    assert ONE not in str(refused.value)
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=BAD[value]):
        serving_tokens()
