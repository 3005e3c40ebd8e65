"""Missing requirements of the extras, in the metadata of a package that the test writes."""

import sys
from pathlib import Path

import pytest

from cli import exit_status, extras
from cli.__main__ import main
from toolchain.errors import ConfigError

METADATA = """Metadata-Version: 2.4
Name: dl-toolchain
Version: 0.1.0
Requires-Dist: numpy
Requires-Dist: boto3; extra == "base"
Requires-Dist: Absent_One>=2; extra == "base"
Requires-Dist: dl-toolchain[base]; extra == "train"
Requires-Dist: absent-two<3; extra == "train"
Requires-Dist: absent-never; python_version < "3" and extra == "train"
Requires-Dist: absent-three; extra == "submit"
Provides-Extra: base
Provides-Extra: train
Provides-Extra: submit
Provides-Extra: plain
Requires-Dist: pyyaml; extra == "plain"
"""


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "dl_toolchain-0.1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])  # before the one that the tests run in


def passes(*names: str) -> bool:
    try:
        extras.check_installed("prepare", names)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(("extra", "installed"), [("plain", True), ("unknown", True), ("base", False)])
def test_a_pipeline_needs_the_packages_of_extras_that_exist(extra: str, installed: bool):
    assert passes(extra) == installed


def test_every_missing_package_is_named_with_the_extras_to_install():
    with pytest.raises(ConfigError) as raised:
        extras.check_installed("bert_finetune", {"train", "submit", "plain"})
    assert str(raised.value) == (
        "bert_finetune needs absent-one, absent-three, absent-two: pip install 'dl-toolchain[submit,train]'"
    )


def test_a_long_list_of_missing_packages_is_cut(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "MAX_SHOWN", 1)
    with pytest.raises(ConfigError, match="needs absent-one and 2 more: pip"):
        extras.check_installed("bert_finetune", {"train", "submit"})


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("absent_two.core", "pip install 'dl-toolchain[train]'"),
        ("absent_one", "pip install 'dl-toolchain[base]'"),
        ("stranger", "pip install stranger"),
    ],
)
def test_a_module_that_cannot_be_imported_leads_to_its_extra(module: str, command: str):
    assert extras.describe_missing_module(module).endswith(f"is not installed: {command}")


def test_code_without_an_installed_package_is_not_checked(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extras, "PACKAGE", "no-such-package")
    assert passes("train")
    assert extras.describe_missing_module("torch").endswith("pip install torch")


def test_a_command_without_its_packages_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == exit_status.USAGE_ERROR
    assert capsys.readouterr().err == "error: completion: the package shtab is not installed: pip install shtab\n"
