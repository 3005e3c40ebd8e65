import os
from pathlib import Path

import pytest

from cli.setup import arm64
from toolchain.errors import ConfigError, ServiceError
from toolchain.hardware import emulator


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder at the head of PATH, on a machine that is not an arm64."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(arm64.platform, "machine", lambda: "x86_64")
    return folder


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_an_arm64_machine_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(arm64.platform, "machine", lambda: "aarch64")
    arm64.make(tmp_path / "made")
    assert "no emulation" in capsys.readouterr().out
    assert not (tmp_path / "made").exists()


@pytest.mark.usefixtures("programs")
def test_an_existing_environment_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    description = tmp_path / emulator.DESCRIPTION
    description.write_text("{}")
    arm64.make(tmp_path)
    assert "exists" in capsys.readouterr().out
    assert description.read_text() == "{}"


def test_a_machine_without_debians_programs(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(ConfigError, match="apt-get is not installed"):
        arm64.make(tmp_path / "made")


def test_sources_without_arm64_packages_are_an_error_and_leave_nothing(programs: Path, tmp_path: Path):
    write(programs / "dpkg", "echo amd64")
    write(programs / "apt-get", "echo 'E: Unable to locate package python3' >&2; exit 100")
    with pytest.raises(ServiceError, match="apt-get failed: E: Unable to locate package python3"):
        arm64.make(tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]


def test_apt_works_in_its_own_folder_for_both_architectures(programs: Path, tmp_path: Path):
    write(programs / "dpkg", "echo amd64")
    write(programs / "apt-get", f'echo "$@" >> {tmp_path}/calls; exit 1')
    with pytest.raises(ServiceError, match="apt-get failed: exit status 1"):
        arm64.make(tmp_path / "made")
    update, install = (tmp_path / "calls").read_text().splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install python3 libstdc++6 qemu-user-static:amd64")
    for option in ("Dir::State=", "Dir::Cache=", "Dir::State::status="):
        assert f"-o {option}{tmp_path}/.made.partial-" in install
    assert "--download-only" in install
