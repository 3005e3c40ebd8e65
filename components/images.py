"""The images that steps run in, one constant for each folder of images/, tagged with the digest of what it carries.

A changed step so has another image: Kubeflow's cache never serves the old one's result, and a run can be repeated with
the image that it had. TOOLCHAIN_REGISTRY, where images are pushed and pulled, is read here: this module is a door.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = (os.environ.get("TOOLCHAIN_REGISTRY") or "ghcr.io/toolchain").rstrip("/")
VERSION = "0.1.0"  # the project's
DIGITS = 12  # hexadecimal, of the digest: two images of a thousand meet by chance once in 10^8

COPIED = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)  # what a Dockerfile takes from the repository
FOUNDATION_FILE = "images/base/Dockerfile"  # whose stage `foundation` the images rest on that begin FROM ${FOUNDATION}


def carried(name: str) -> list[Path]:
    """Return the files that decide what the image of the folder images/``name`` holds, in order of their paths."""
    file = _dockerfile(name)
    files = {file, *_copied(file.read_text(encoding="utf-8"))}
    return sorted(files | _carried_by_foundation() if rests_on_foundation(name) else files)


def rests_on_foundation(name: str) -> bool:
    """Return whether the image of the folder images/``name`` begins with the foundation."""
    return "FROM ${FOUNDATION}" in _dockerfile(name).read_text(encoding="utf-8")


def image(name: str) -> str:
    """Return the full name of the image of the folder images/``name``: registry, version and digest.

    Where the sources are not (an installed package), the tag is the version alone.
    """
    here = (ROOT / "images" / name).is_dir()
    return f"{REGISTRY}/{name}:{VERSION}" + (f"-{_digest(tuple(carried(name)))}" if here else "")


def foundation() -> str:
    """Return the full name of the image that the others rest on. It runs nowhere and is pushed as their layers only."""
    return f"{REGISTRY}/foundation:{VERSION}-{_digest(tuple(sorted(_carried_by_foundation())))}"


def forget() -> None:
    """Forget what files held, so that the next name is that of what they hold then."""
    _files.cache_clear()
    _sha256.cache_clear()


def _dockerfile(name: str) -> Path:
    return ROOT / "images" / name / "Dockerfile"


def _carried_by_foundation() -> set[Path]:
    file = ROOT / FOUNDATION_FILE
    return {file, *_copied(file.read_text(encoding="utf-8").partition(" AS code")[0])}


def _copied(dockerfile: str) -> Iterator[Path]:
    for words in COPIED.findall(dockerfile):
        for path in (ROOT / word for word in words.split()):
            yield from _files(path) if path.is_dir() else [path]


@cache
def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def _digest(files: tuple[Path, ...]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(ROOT).as_posix()} {_sha256(path)}\n".encode())
    return digest.hexdigest()[:DIGITS]


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


BASE = image("base")  # tables: pandas, pyarrow, pandera
TEXT = image("text")  # words: NLTK, spaCy
PICTURES = image("pictures")  # pictures: Pillow, OpenCV, Albumentations, annotation formats
TRAIN = image("train")  # PyTorch and Transformers; CUDA where the node has it
OPTIMIZE = image("optimize")  # ONNX Runtime, OpenVINO and NNCF on CPU nodes
RELEASE = image("release")  # MLflow, pictures and pages; the model server, which a promotion tries
MONITOR = image("monitor")  # evidently, and pages; what is asked of served models
MLFLOW = image("mlflow")  # MLflow's server, which the chart runs
SERVE = image("serve")  # the model server: ONNX Runtime on CPUs
SERVE_OPENVINO = image("serve-openvino")  # the same with OpenVINO, for models of that back end
SERVE_GPU = image("serve-gpu")  # ONNX Runtime with CUDA
