"""The completion script, as bash runs it."""

import subprocess
from pathlib import Path

import pytest

from cli.__main__ import main

ASK = """
source "$1"; shift
complete -p toolchain >/dev/null
COMP_WORDS=(toolchain "$@"); COMP_CWORD=$#
"$(complete -p toolchain | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "toolchain.bash"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        assert main(["completion", "bash"]) == 0
    return path


@pytest.mark.parametrize(
    ("typed", "candidates"),
    [
        (["pro"], ["promote"]),
        (["promote", "--sh"], ["--shadow"]),
        (["submit", "--engine", ""], ["local", "cluster"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["schedule", "re"], ["resume"]),
    ],
)
def test_bash_completes_commands_options_and_choices(typed: list[str], candidates: list[str], script: Path):
    ended = subprocess.run(["bash", "-c", ASK, "bash", str(script), *typed], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == candidates


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_a_script_too(shell: str, capsys: pytest.CaptureFixture[str]):
    assert main(["completion", shell]) == 0
    assert "export-torchserve" in capsys.readouterr().out
