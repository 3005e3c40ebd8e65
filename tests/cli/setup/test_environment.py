"""The installation of the environment: pip's settings for uv, the choice of PyTorch's wheels, the fallback to pip."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.setup import environment

INDEX = "https://wheels.example/cpu"
Calls = list[list[str]]


def test_pips_settings_become_uvs_variables():
    settings = "\n".join(
        [
            "global.index-url='https://index.example/simple'",
            "global.extra-index-url='\\nhttps://a.example\\nhttps://b.example'",
            ":env:.find-links='/wheels /more'",
            "install.trusted-host='index.example'",
            "global.cert='/etc/ssl/ca.crt'",
            "global.timeout='60'",
        ]
    )
    assert environment.uv_environment(settings, {"PATH": "/bin"}) == {
        "PATH": "/bin",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "UV_INDEX": "https://a.example https://b.example",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "index.example",
        "SSL_CERT_FILE": "/etc/ssl/ca.crt",
    }


def test_without_settings_the_environment_stays():
    assert environment.uv_environment("", {"PATH": "/bin"}) == {"PATH": "/bin"}


def test_uvs_own_variables_take_precedence():
    assert environment.uv_environment("global.index-url='a'", {"UV_DEFAULT_INDEX": "b"}) == {"UV_DEFAULT_INDEX": "b"}


def test_pip_really_prints_its_settings_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    assert environment.uv_environment(done.stdout, {})["UV_FIND_LINKS"] == str(tmp_path)


@pytest.fixture
def installing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Calls]:
    """Return a function that installs with commands that are recorded; ``failing`` commands end with status 1."""

    def install(gpu: bool = False, responds: bool = True, failing: str = "") -> Calls:
        calls: Calls = []

        def run(command: list[str], check: bool, **_: object) -> "subprocess.CompletedProcess[str]":
            words = command[2:]
            if words != ["pip", "config", "list"]:
                calls.append(words)
            failed = words[0] == failing
            if failed and check:
                raise subprocess.CalledProcessError(1, command)
            return subprocess.CompletedProcess(command, int(failed), "")

        monkeypatch.setattr(environment.subprocess, "run", run)
        monkeypatch.setattr(environment, "_has_gpu", lambda: gpu)
        monkeypatch.setattr(environment, "_responds", lambda url: responds)
        environment.main(INDEX)
        return calls

    return install


def test_cpu_wheels_are_chosen_where_their_index_responds(installing: Callable[..., Calls]):
    _, torch, project, data = installing()
    assert torch[:2] == ["uv", "pip"]
    assert torch[torch.index("--index-url") + 1] == INDEX
    assert [word.partition("==")[0] for word in torch if "==" in word] == ["torch", "torchvision"]
    assert project[-2:] == ["-e", ".[dev]"]
    assert {"--no-deps", "--require-hashes"} <= set(data)


@pytest.mark.parametrize("machine", [{"gpu": True}, {"responds": False}], ids=str)
def test_otherwise_the_wheels_come_from_the_package_index(installing: Callable[..., Calls], machine: dict[str, bool]):
    assert not any(INDEX in words for words in installing(**machine))


def test_pip_takes_over_where_uv_fails(installing: Callable[..., Calls]):
    calls = installing(responds=False, failing="uv")
    assert [words[0] for words in calls] == ["pip", "uv", "pip", "uv", "pip"]
    assert calls[2][2:] == calls[1][5:]


def test_a_failure_of_pip_is_not_hidden(installing: Callable[..., Calls]):
    with pytest.raises(subprocess.CalledProcessError):
        installing(failing="pip")


def test_an_index_that_cannot_be_reached_does_not_respond():
    assert not environment._responds("http://127.0.0.1:9/torch/")
