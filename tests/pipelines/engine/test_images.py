"""How images are built: what the program that builds is told, in which order, and what is left alone."""

import subprocess
from pathlib import Path

import pytest

from components import images as constants
from pipelines.engine import images
from toolchain.errors import ConfigError, ToolchainError

PYTHON = "docker.io/library/python:3.11-slim-bookworm"
DIGEST = "sha256:" + "ab" * 32
# Stands for Docker and podman: writes down how it is called, and knows the images that it was told to build.
PROGRAM = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "$(dirname "$0")/calls"
case "$1 $2" in
"image inspect")
    case "$5" in *Digests*) echo '["python@{DIGEST}"]'; exit;; *Size*) echo 393000000; exit;; esac
    [ "$3" = "{PYTHON}" ] || grep -qF -- "-t $3 " "$(dirname "$0")/calls";;
"build "*) ! grep -q refused "$(dirname "$0")/refused" 2>/dev/null;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder at the head of PATH that holds both programs."""
    for name in images.PROGRAMS:
        (tmp_path / name).write_text(PROGRAM)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def calls(folder: Path, kind: str) -> list[str]:
    return [line for line in (folder / "calls").read_text().splitlines() if line.split()[1] == kind]


def builder(command: str = "", python: str = PYTHON, torch_index: str = "", platforms: str = "") -> images.Builder:
    return images.builder(command, python, torch_index, platforms)


def test_the_foundation_is_built_once_and_before_what_rests_on_it(folder: Path):
    done = list(images.build(["text", "optimize", "serve"], builder(), push=False))
    assert done == [(constants.TEXT, "built"), (constants.OPTIMIZE, "built"), (constants.SERVE, "built")]
    foundation, text, optimize, serve = calls(folder, "build")
    assert f"-f images/base/Dockerfile --target foundation -t {constants.foundation()} " in foundation
    assert f"-f images/text/Dockerfile -t {constants.TEXT} " in text
    assert f"--build-arg FOUNDATION={constants.foundation()} " in optimize
    assert "FOUNDATION" not in serve
    assert all(f"--build-arg PYTHON_IMAGE={PYTHON} " in call for call in (foundation, text, optimize, serve))


def test_an_image_that_is_there_under_its_tag_is_left_alone(folder: Path):
    list(images.build(["serve"], builder(), push=False))
    assert list(images.build(["serve"], builder(), push=False)) == [(constants.SERVE, "there already")]
    assert len(calls(folder, "build")) == 1
    assert images.size(constants.SERVE, builder()) == "393 MB"


def test_labels_say_the_version_the_commit_and_the_digest_of_python(folder: Path):
    list(images.build(["serve"], builder(), push=False))
    (call,) = calls(folder, "build")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=images.ROOT)
    for label in (
        f"version={constants.VERSION}",
        f"revision={commit.stdout.strip()}",
        f"base.name={PYTHON}",
        f"base.digest={DIGEST}",
    ):
        assert f"--label org.opencontainers.image.{label} " in call


def test_python_may_be_named_by_its_digest(folder: Path):
    other = "sha256:" + "cd" * 32
    list(images.build(["serve"], builder(python=f"python@{other}"), push=False))
    (call,) = calls(folder, "build")
    assert f"--build-arg PYTHON_IMAGE=python@{other} " in call
    assert f"--label org.opencontainers.image.base.digest={other} " in call


def test_pips_configuration_travels_as_a_secret(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pip.conf").write_text("[global]\n")
    monkeypatch.setattr(images, "PIP_CONFIGURATIONS", (str(tmp_path / "absent"), str(tmp_path / "pip.conf")))
    list(images.build(["serve"], builder(), push=False))
    assert f"--secret id=pip.conf,src={tmp_path}/pip.conf " in calls(folder, "build")[0]
    assert all(
        "--mount=type=secret,id=pip.conf" in file.read_text() for file in images.ROOT.glob("images/*/Dockerfile")
    )


def test_only_the_training_image_is_told_where_pytorch_comes_from(folder: Path):
    list(images.build(["train", "serve"], builder(torch_index="https://example.org/cpu"), push=False))
    _, train, serve = calls(folder, "build")
    assert "--build-arg TORCH_INDEX=https://example.org/cpu " in train
    assert "TORCH_INDEX" not in serve


def test_another_command_may_build(folder: Path):
    (folder / "special").write_text(PROGRAM)
    (folder / "special").chmod(0o755)
    list(images.build(["serve"], builder(command=f"{folder}/special build --network host"), push=False))
    (call,) = [line for line in (folder / "calls").read_text().splitlines() if line.startswith("special")]
    assert call.startswith("special build --network host -f images/serve/Dockerfile ")


def test_an_image_is_pushed_when_that_is_asked_for(folder: Path):
    list(images.build(["serve"], builder(), push=True))
    assert calls(folder, "push") == [f"docker push {constants.SERVE}"]


def test_several_platforms_become_one_image_of_the_server_alone(folder: Path, monkeypatch: pytest.MonkeyPatch):
    both = "linux/amd64,linux/arm64"
    list(images.build(["optimize", "serve"], builder(platforms=both), push=True))
    _, optimize, serve = calls(folder, "build")
    assert "--platform" not in optimize
    assert f"--platform {both} -t {constants.SERVE} --push " in serve
    with pytest.raises(ConfigError, match="push it too"):
        list(images.build(["serve"], builder(platforms=both), push=False))
    (folder / "docker").unlink()
    list(images.build(["serve"], builder(platforms=both), push=True))
    assert f"--platform {both} --manifest {constants.SERVE} " in calls(folder, "build")[-1]
    assert calls(folder, "manifest") == [f"podman manifest push --all {constants.SERVE}"]


def test_a_build_that_fails_ends_with_what_could_not_be_built(folder: Path):
    (folder / "refused").write_text("refused")
    with pytest.raises(ToolchainError, match=rf"cannot build {constants.SERVE} \(exit status 1\)"):
        list(images.build(["serve"], builder(), push=False))


def test_an_image_whose_sources_changed_meanwhile_loses_its_tag(folder: Path, monkeypatch: pytest.MonkeyPatch):
    tags = iter(["serve:0.1.0-000000000000", "serve:0.1.0-111111111111"])
    monkeypatch.setattr(constants, "image", lambda name: next(tags))
    with pytest.raises(ToolchainError, match="changed while it was built: build it again"):
        list(images.build(["serve"], builder(), push=False))
    assert calls(folder, "rmi") == ["docker rmi serve:0.1.0-000000000000"]


def test_an_image_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ConfigError, match=r"no image is called trian; there are base, mlflow, .*train"):
        images.wanted(["base", "trian"])
    assert set(images.wanted([])) >= {"base", "train", "serve-gpu"}


def test_without_a_program_it_says_which_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"docker or podman"):
        builder()


def test_a_login_in_the_repositorys_address_stays_out_of_the_label():
    assert images._without_login("https://me:secret@example.org/a/b.git") == "https://example.org/a/b.git"
    assert images._without_login("/home/me/checkout") == ""
