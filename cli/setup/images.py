"""Build and push the container images of steps and services, with Docker or podman."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.settings import ROOT
from components import images
from toolchain.errors import ConfigError, ToolchainError

PROGRAMS = ("docker", "podman")  # in order of preference
MULTI_PLATFORM = ("serve",)  # images whose wheels exist for amd64 and arm64
PIP_CONFIGURATIONS = ("~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf")  # pip's own search order
LABEL = "org.opencontainers.image"
STDERR = 2  # file descriptor for the output of builds: standard output is for the list of images


@dataclass(frozen=True)
class Builder:
    """How images are built on this machine."""

    program: str  # docker or podman, for inspecting and pushing images
    command: tuple[str, ...]  # builds an image; takes the options of `docker build`
    python_image: str  # the base image of all images, with its tag or digest
    torch_index: str = ""  # package index of PyTorch's wheels in the training image; "" for pip's own
    platforms: str = ""  # of MULTI_PLATFORM images, "linux/amd64,linux/arm64"; "" for this machine's


def builder(command: str, python_image: str, torch_index: str, platforms: str) -> Builder:
    """Return the builder for the command line's options; an empty ``command`` means the first running program.

    Raises:
        ConfigError: this is not a checkout, or neither Docker nor podman runs.
    """
    if not (ROOT / "images").is_dir():
        raise ConfigError("images are built from the sources: clone the repository and run the command there")
    program = next((name for name in PROGRAMS if shutil.which(name) and _succeeds([name, "info"])), "")
    if not program:
        raise ConfigError(f"building images needs {' or '.join(PROGRAMS)}, and neither runs: start one of them")
    return Builder(program, tuple(shlex.split(command)) or (program, "build"), python_image, torch_index, platforms)


def selected(names: list[str]) -> list[str]:
    """Return the images to build: ``names``, or all.

    Raises:
        ConfigError: there is no image of that name.
    """
    unknown = [name for name in names if name not in images.IMAGES]
    if unknown:
        raise ConfigError(f"no image is named {', '.join(unknown)}; available: {', '.join(images.IMAGES)}")
    return names or list(images.IMAGES)


def build(names: Iterable[str], by: Builder, push: bool) -> Iterator[tuple[str, str]]:
    """Build each image that does not exist under its tag; yield its full name and "built" or "exists".

    Raises:
        ToolchainError: an image cannot be built or pushed; the reason is in the output above.
    """
    labels = _labels(by)
    for name in names:
        full = images.image(name)
        multiple = "," in by.platforms and name in MULTI_PLATFORM
        exists = not multiple and _succeeds([by.program, "image", "inspect", full])
        if not exists:
            _build(name, full, by, labels, push)
            _check_unchanged(name, full, by)
        if push and not (multiple and by.program == "docker"):  # which pushes as it builds
            _run([by.program, *(["manifest", "push", "--all", full] if multiple else ["push", full])], f"push {full}")
        yield full, "exists" if exists else "built"


def size_bytes(full: str, by: Builder) -> int | None:
    """Return the unpacked size of image ``full``, which it takes on a node; None if it is not on this machine."""
    size = _output([by.program, "image", "inspect", full, "--format", "{{.Size}}"])
    return int(size) if size.isdigit() else None


def _build(name: str, full: str, by: Builder, labels: list[str], push: bool) -> None:
    about = images.IMAGES[name]
    options = [*_target_options(name, full, by, push), *_options(_arguments(name, by)), *labels]
    options += _label("title", f"Toolchain: {name}") + _label("description", about.description)
    options += ["--target", about.target] if about.target else []
    _run([*by.command, "-f", f"images/{about.dockerfile}/Dockerfile", *options, "."], f"build {full}")


def _arguments(name: str, by: Builder) -> dict[str, str]:
    """Return the build arguments of the image ``name``; its foundation, if any, is built first."""
    about = images.IMAGES[name]
    arguments = {"PYTHON_IMAGE": by.python_image, "IMAGE": name, **about.arguments}
    if modules := images.modules(name):
        arguments["MODULES"] = " ".join(modules)
    if name == "train" and by.torch_index:
        arguments["TORCH_INDEX"] = by.torch_index
    if about.dockerfile == "step":
        arguments["FOUNDATION"] = _foundation(by)
    return arguments


def _check_unchanged(name: str, full: str, by: Builder) -> None:
    """Remove the tag of an image whose sources changed during the build: it would not match the content."""
    images.clear_cache()
    if images.image(name) != full:
        _succeeds([by.program, "rmi", full])
        raise ToolchainError(f"the sources of {full} changed during the build: build it again")


def _foundation(by: Builder) -> str:
    full = images.foundation()
    if not _succeeds([by.program, "image", "inspect", full]):
        options = ["--target", images.FOUNDATION, "-t", full, *_options({"PYTHON_IMAGE": by.python_image})]
        _run([*by.command, "-f", "images/step/Dockerfile", *options, "."], f"build {full}")
    return full


def _target_options(name: str, full: str, by: Builder, push: bool) -> list[str]:
    if not by.platforms or name not in MULTI_PLATFORM:
        return ["-t", full]
    if "," not in by.platforms:
        return ["--platform", by.platforms, "-t", full]
    if by.program == "podman":
        return ["--platform", by.platforms, "--manifest", full]
    if not push:
        raise ConfigError("Docker stores no image of several platforms locally: push it, or give one platform")
    return ["--platform", by.platforms, "-t", full, "--push"]


def _options(arguments: dict[str, str]) -> list[str]:
    """Return build arguments, and pip's configuration as a secret: it may hold a password for a package index."""
    found = next((path for text in PIP_CONFIGURATIONS if (path := Path(text).expanduser()).is_file()), None)
    secret = ["--secret", f"id=pip.conf,src={found}"] if found else []
    return [*secret, *(token for key, value in arguments.items() for token in ("--build-arg", f"{key}={value}"))]


def _labels(by: Builder) -> list[str]:
    """Return the labels of this build, as options: version, commit and base image."""
    name, _, digest = by.python_image.partition("@")
    labels = {
        "version": images.VERSION,
        "revision": _output(["git", "rev-parse", "HEAD"]),
        "source": _without_credentials(_output(["git", "remote", "get-url", "origin"])),
        "base.name": name,
        "base.digest": digest or _python_digest(by),
    }
    return [token for key, value in labels.items() if value for token in _label(key, value)]


def _label(key: str, value: str) -> list[str]:
    return ["--label", f"{LABEL}.{key}={value}"]


def _python_digest(by: Builder) -> str:
    """Return the digest of the Python image, which is pulled first if it is missing."""
    inspect = [by.program, "image", "inspect", by.python_image, "--format", "{{json .RepoDigests}}"]
    if not _succeeds(inspect):
        _run([by.program, "pull", by.python_image], f"pull {by.python_image}")
    found = json.loads(_output(inspect) or "[]") or []
    return str(found[0]).partition("@")[2] if found else ""


def _without_credentials(url: str) -> str:
    """Return the https address ``url`` without its credentials; "" for any other, such as a local path."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme == "https" else ""


def _run(command: list[str], what: str) -> None:
    status = subprocess.run(command, cwd=ROOT, stdout=STDERR, check=False).returncode
    if status:
        raise ToolchainError(f"cannot {what} (exit status {status}): see the output above")


def _output(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
