"""Builds the images that steps and services run in, with Docker or podman, whichever answers, and pushes them."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from components import images
from pipelines.engine.settings import ROOT
from toolchain.errors import ConfigError, ToolchainError

PROGRAMS = ("docker", "podman")  # in the order in which they are asked
FOR_OTHER_PROCESSORS = ("serve",)  # whose wheels exist for all of PLATFORMS
PIP_CONFIGURATIONS = ("~/.config/pip/pip.conf", "~/.pip/pip.conf", "/etc/pip.conf")  # where pip itself looks
LABEL = "org.opencontainers.image"


@dataclass(frozen=True)
class Builder:
    """How images are built here."""

    program: str  # docker or podman: says which images there are, and pushes
    command: tuple[str, ...]  # what builds one, taking the options of `docker build`
    python: str  # the image of Python that all rest on, with its tag or its digest
    torch_index: str = ""  # the package index of PyTorch's wheels for the training image; "" for pip's own
    platforms: str = ""  # "linux/amd64,linux/arm64" for those FOR_OTHER_PROCESSORS; "" for this machine's


def builder(command: str, python: str, torch_index: str, platforms: str) -> Builder:
    """Return the builder for what the command line gave; ``command`` is "" for the program that answers.

    Raises:
        ConfigError: no program answers.
    """
    program = next((name for name in PROGRAMS if shutil.which(name) and _succeeds([name, "info"])), "")
    if not program:
        raise ConfigError(f"no program to build images answers ({' or '.join(PROGRAMS)}): start one")
    return Builder(program, tuple(shlex.split(command)) or (program, "build"), python, torch_index, platforms)


def wanted(names: list[str]) -> list[str]:
    """Return the folders of images/ to build: ``names``, or all of them.

    Raises:
        ConfigError: there is no such image.
    """
    known = sorted(file.parent.name for file in (ROOT / "images").glob("*/Dockerfile"))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no image is called {', '.join(unknown)}; there are {', '.join(known)}")
    return names or known


def build(names: Iterable[str], by: Builder, push: bool) -> Iterator[tuple[str, str]]:
    """Build each of ``names`` unless it is there under its tag; yield its full name and what became of it.

    Raises:
        ToolchainError: an image cannot be built or pushed; what was said about it stands in the output before.
    """
    labels = _labels(by)
    for name in names:
        full = images.image(name)
        several = "," in by.platforms and name in FOR_OTHER_PROCESSORS
        there = not several and _succeeds([by.program, "image", "inspect", full])
        if not there:
            _build(name, full, by, labels, push)
            _check(name, full, by)
        if push and not (several and by.program == "docker"):  # which pushes as it builds
            _run([by.program, *(["manifest", "push", "--all", full] if several else ["push", full])], f"push {full}")
        yield full, "there already" if there else "built"


def size(full: str, by: Builder) -> str:
    """Return the room that image ``full`` takes on a node, unpacked; "" when this machine does not hold it."""
    answer = _ask([by.program, "image", "inspect", full, "--format", "{{.Size}}"])
    return f"{int(answer) / 1e6:,.0f} MB" if answer.isdigit() else ""


def _build(name: str, full: str, by: Builder, labels: list[str], push: bool) -> None:
    arguments = {"PYTHON_IMAGE": by.python}
    if name == "train" and by.torch_index:
        arguments["TORCH_INDEX"] = by.torch_index
    if images.rests_on_foundation(name):
        arguments["FOUNDATION"] = _foundation(by)
    file = f"images/{name}/Dockerfile"
    _run([*by.command, "-f", file, *_target(name, full, by, push), *_options(arguments), *labels, "."], f"build {full}")


def _check(name: str, full: str, by: Builder) -> None:
    """Take the tag from an image whose sources changed while it was built: the tag says what it holds."""
    images.forget()
    if images.image(name) != full:
        _succeeds([by.program, "rmi", full])
        raise ToolchainError(f"the sources of {full} changed while it was built: build it again")


def _foundation(by: Builder) -> str:
    full = images.foundation()
    if not _succeeds([by.program, "image", "inspect", full]):
        file = images.FOUNDATION_FILE
        options = _options({"PYTHON_IMAGE": by.python})
        _run([*by.command, "-f", file, "--target", "foundation", "-t", full, *options, "."], f"build {full}")
    return full


def _target(name: str, full: str, by: Builder, push: bool) -> list[str]:
    if not by.platforms or name not in FOR_OTHER_PROCESSORS:
        return ["-t", full]
    if "," not in by.platforms:
        return ["--platform", by.platforms, "-t", full]
    if by.program == "podman":
        return ["--platform", by.platforms, "--manifest", full]
    if not push:
        raise ConfigError(
            "Docker keeps no image of several platforms on the machine: push it too, or name one platform"
        )
    return ["--platform", by.platforms, "-t", full, "--push"]


def _options(arguments: dict[str, str]) -> list[str]:
    """Return build arguments, and pip's configuration as a secret: it may hold a password for a package index."""
    found = next((path for text in PIP_CONFIGURATIONS if (path := Path(text).expanduser()).is_file()), None)
    secret = ["--secret", f"id=pip.conf,src={found}"] if found else []
    return [*secret, *(word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}"))]


def _labels(by: Builder) -> list[str]:
    """Return the labels that only this moment knows, as options: what it is made from, and of which commit."""
    name, _, digest = by.python.partition("@")
    said = {
        "version": images.VERSION,
        "revision": _ask(["git", "rev-parse", "HEAD"]),
        "source": _without_login(_ask(["git", "remote", "get-url", "origin"])),
        "base.name": name,
        "base.digest": digest or _digest(by),
    }
    return [word for key, value in said.items() if value for word in ("--label", f"{LABEL}.{key}={value}")]


def _digest(by: Builder) -> str:
    """Return the digest of the image of Python, which is pulled when it is not there."""
    inspect = [by.program, "image", "inspect", by.python, "--format", "{{json .RepoDigests}}"]
    if not _succeeds(inspect):
        _run([by.program, "pull", by.python], f"pull {by.python}")
    found = json.loads(_ask(inspect) or "[]") or []
    return str(found[0]).partition("@")[2] if found else ""


def _without_login(url: str) -> str:
    """Return the web address ``url`` without who asks; "" for one that only this machine understands."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if scheme == "https" else ""


def _run(command: list[str], what: str) -> None:
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        raise ToolchainError(f"cannot {what} (exit status {status}): the reason stands above")


def _ask(command: list[str]) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _succeeds(command: list[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
