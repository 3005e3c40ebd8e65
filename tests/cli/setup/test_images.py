"""How images are built: the command lines, their order, and which images are not built again."""

import subprocess
from pathlib import Path

import pytest

from cli.setup import images
from components import images as constants
from toolchain.errors import ConfigError, ToolchainError

PYTHON = "docker.io/library/python:3.11-slim-bookworm"
DIGEST = "sha256:" + "ab" * 32
# Stands in for Docker and podman: records its command lines, and knows the images that it built.
PROGRAM = f"""#!/bin/sh
echo "$(basename "$0") $*" >> "$(dirname "$0")/calls"
case "$1 $2" in
"image inspect")
    case "$5" in *Digests*) echo '["python@{DIGEST}"]'; exit;; *Size*) echo 393000000; exit;; esac
    [ "$3" = "{PYTHON}" ] || grep -qF -- "-t $3 " "$(dirname "$0")/calls";;
"build "*) ! [ -e "$(dirname "$0")/fails" ];;
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


def test_the_foundation_is_built_once_and_first(folder: Path):
    done = list(images.build(["text", "optimize", "serve"], builder(), push=False))
    assert done == [(constants.TEXT, "built"), (constants.OPTIMIZE, "built"), (constants.SERVE, "built")]
    foundation, text, optimize, serve = calls(folder, "build")
    assert f"-f images/step/Dockerfile --target foundation -t {constants.foundation()} " in foundation
    assert f"-f images/step/Dockerfile -t {constants.TEXT} " in text
    assert "--build-arg IMAGE=text " in text
    assert "--build-arg MODULES=toolchain.augment.text toolchain.hardware.doctor " in text
    assert f"--build-arg FOUNDATION={constants.foundation()} " in optimize
    assert "FOUNDATION" not in serve
    assert all(f"--build-arg PYTHON_IMAGE={PYTHON} " in call for call in (foundation, text, optimize, serve))


def test_an_image_that_exists_under_its_tag_is_not_built_again(folder: Path):
    list(images.build(["serve"], builder(), push=False))
    assert list(images.build(["serve"], builder(), push=False)) == [(constants.SERVE, "exists")]
    assert len(calls(folder, "build")) == 1
    assert images.size_bytes(constants.SERVE, builder()) == 393_000_000


def test_labels_are_title_version_commit_and_base_digest(folder: Path):
    list(images.build(["serve"], builder(), push=False))
    (call,) = calls(folder, "build")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=images.ROOT)
    for label in (
        "title=Toolchain: serve",
        f"version={constants.VERSION}",
        f"revision={commit.stdout.strip()}",
        f"base.name={PYTHON}",
        f"base.digest={DIGEST}",
    ):
        assert f"--label org.opencontainers.image.{label} " in call


def test_the_python_image_can_be_given_by_digest(folder: Path):
    other = "sha256:" + "cd" * 32
    list(images.build(["serve"], builder(python=f"python@{other}"), push=False))
    (call,) = calls(folder, "build")
    assert f"--build-arg PYTHON_IMAGE=python@{other} " in call
    assert f"--label org.opencontainers.image.base.digest={other} " in call


def test_pip_configuration_is_a_build_secret(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pip.conf").write_text("[global]\n")
    monkeypatch.setattr(images, "PIP_CONFIGURATIONS", (str(tmp_path / "absent"), str(tmp_path / "pip.conf")))
    list(images.build(["serve"], builder(), push=False))
    assert f"--secret id=pip.conf,src={tmp_path}/pip.conf " in calls(folder, "build")[0]
    assert all(
        "--mount=type=secret,id=pip.conf" in file.read_text() for file in images.ROOT.glob("images/*/Dockerfile")
    )


def test_only_the_training_image_gets_the_torch_index(folder: Path):
    list(images.build(["train", "serve"], builder(torch_index="https://example.org/cpu"), push=False))
    _, train, serve = calls(folder, "build")
    assert "--build-arg TORCH_INDEX=https://example.org/cpu " in train
    assert "TORCH_INDEX" not in serve


def test_another_command_can_build(folder: Path):
    (folder / "special").write_text(PROGRAM)
    (folder / "special").chmod(0o755)
    list(images.build(["serve"], builder(command=f"{folder}/special build --network host"), push=False))
    (call,) = [line for line in (folder / "calls").read_text().splitlines() if line.startswith("special")]
    assert call.startswith("special build --network host -f images/server/Dockerfile ")


def test_push(folder: Path):
    list(images.build(["serve"], builder(), push=True))
    assert calls(folder, "push") == [f"docker push {constants.SERVE}"]


def test_only_the_server_is_built_for_several_platforms(folder: Path, monkeypatch: pytest.MonkeyPatch):
    both = "linux/amd64,linux/arm64"
    list(images.build(["optimize", "serve"], builder(platforms=both), push=True))
    _, optimize, serve = calls(folder, "build")
    assert "--platform" not in optimize
    assert f"--platform {both} -t {constants.SERVE} --push " in serve
    with pytest.raises(ConfigError, match="push it"):
        list(images.build(["serve"], builder(platforms=both), push=False))
    (folder / "docker").unlink()
    list(images.build(["serve"], builder(platforms=both), push=True))
    assert f"--platform {both} --manifest {constants.SERVE} " in calls(folder, "build")[-1]
    assert calls(folder, "manifest") == [f"podman manifest push --all {constants.SERVE}"]


def test_a_failed_build_names_the_image(folder: Path):
    (folder / "fails").touch()
    with pytest.raises(ToolchainError, match=rf"cannot build {constants.SERVE} \(exit status 1\)"):
        list(images.build(["serve"], builder(), push=False))


def test_an_image_whose_sources_changed_during_the_build_loses_its_tag(folder: Path, monkeypatch: pytest.MonkeyPatch):
    tags = iter(["serve:0.1.0-000000000000", "serve:0.1.0-111111111111"])
    monkeypatch.setattr(constants, "image", lambda name: next(tags))
    monkeypatch.setattr(constants, "clear_cache", lambda: None)
    with pytest.raises(ToolchainError, match=r"serve:0\.1\.0-000000000000 changed"):
        list(images.build(["serve"], builder(), push=False))
    assert calls(folder, "rmi") == ["docker rmi serve:0.1.0-000000000000"]


def test_an_unknown_image():
    with pytest.raises(ConfigError, match=r"trian; .*base, .*train"):
        images.selected(["base", "trian"])
    assert set(images.selected([])) >= {"base", "train", "serve-gpu"}


def test_neither_docker_nor_podman_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"docker or podman"):
        builder()


def test_credentials_in_the_repositorys_address_are_not_in_the_label():
    assert images._without_credentials("https://me:secret@example.org/a/b.git") == "https://example.org/a/b.git"
    assert images._without_credentials("/home/me/checkout") == ""


def test_mlflow_is_a_stage_without_code(folder: Path):
    list(images.build(["mlflow"], builder(), push=False))
    _, mlflow = calls(folder, "build")
    assert "--target mlflow " in mlflow
    assert "MODULES" not in mlflow
