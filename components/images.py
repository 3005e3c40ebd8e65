"""The container images of steps and services: what each is built from, and its name.

The tag is a digest of the image's content: an edit renames exactly the images that contain the edited file, and a run
can be repeated with the images that it had. TOOLCHAIN_REGISTRY is the registry to push to and pull from.
"""

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from components.requirements import CORE, data_packages, requirements
from toolchain.import_closure import runtime_files

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = (os.environ.get("TOOLCHAIN_REGISTRY") or "ghcr.io/toolchain").rstrip("/")
VERSION = "0.1.0"  # the project's
DIGEST_DIGITS = 12  # hexadecimal digits in a tag: two of a thousand images collide with a probability of 10^-8

FOUNDATION = "foundation"  # the image under all step images and MLflow's, so that a node stores these layers once
FOUNDATION_EXTRAS = (CORE, "base")
DOCTOR = "toolchain.hardware.doctor"  # reports the hardware that a pod sees
NVIDIA_LIBRARIES = "/usr/local/nvidia/lib64"  # where nodes that mount the driver as a volume (GKE) put it
SITE_PACKAGES = "/opt/venv/lib/python3.11/site-packages"


@dataclass(frozen=True)
class Image:
    """The parts of an image, besides the extra of its name in pyproject.toml and the steps whose component names it."""

    description: str
    dockerfile: str = "step"  # a folder of images/
    target: str = ""  # a stage of the Dockerfile, "" for the last
    modules: tuple[str, ...] = (DOCTOR,)  # modules of the toolchain that run in it, besides its steps
    arguments: Mapping[str, str] = field(default_factory=dict)  # build arguments


IMAGES = {
    "base": Image(
        "Steps that ingest, clean, split and validate tables; programs of the chart",
        modules=(
            DOCTOR,
            "toolchain.services.platform_metrics",
            "toolchain.services.storage.backups",
            "toolchain.services.storage.bucket",
            "toolchain.services.storage.users",
        ),
    ),
    "text": Image("Steps that augment text, with WordNet and spaCy's English model"),
    "image-data": Image("Steps that ingest and augment images and their annotations"),
    "train": Image(
        "Steps that train, prune and export with PyTorch",
        arguments={"NVIDIA_VISIBLE_DEVICES": "all", "LD_LIBRARY_PATH": NVIDIA_LIBRARIES},
    ),
    "optimize": Image("Steps that quantize, measure and gate models on CPUs"),
    "release": Image(
        "Steps that report, register and promote models",
        arguments={"FONTS": "fonts-noto-cjk"},  # Matplotlib's own font has no Chinese, Japanese and Korean letters
    ),
    "monitor": Image("Steps that check requests to served models for drift"),
    "mlflow": Image("MLflow's tracking server and model registry", target="mlflow", modules=()),
    "serve": Image("Model server with ONNX Runtime on CPUs", "server", modules=(DOCTOR, "toolchain.serve.__main__")),
    "serve-openvino": Image(
        "Model server with OpenVINO or ONNX Runtime on CPUs", "server", modules=(DOCTOR, "toolchain.serve.__main__")
    ),
    "serve-gpu": Image(
        "Model server with ONNX Runtime on NVIDIA GPUs",
        "server",
        modules=(DOCTOR, "toolchain.serve.__main__"),
        arguments={
            "NVIDIA_VISIBLE_DEVICES": "all",
            "LD_LIBRARY_PATH": f"{NVIDIA_LIBRARIES}:{SITE_PACKAGES}/nvidia/cu13/lib:{SITE_PACKAGES}/nvidia/cudnn/lib",
        },
    ),
}


def __getattr__(constant: str) -> str:
    """Return the full name of an image by its constant, as in ``components.images.IMAGE_DATA``.

    Names are computed when they are read, since a digest reads every module in its image.
    """
    name = constant.lower().replace("_", "-")
    if name not in IMAGES or constant != constant.upper():
        raise AttributeError(f"module {__name__!r} has no attribute {constant!r}")
    return image(name)


@cache
def image(name: str) -> str:
    """Return the full name of the image ``name``: registry, version and digest.

    Without the sources (an installed package) the tag is the version alone.
    """
    return _full_name(name, content_digest(name)) if (ROOT / "images").is_dir() else f"{REGISTRY}/{name}:{VERSION}"


def foundation() -> str:
    """Return the full name of the foundation, which is only pushed as the first layers of other images."""
    return _full_name(FOUNDATION, _digest(_foundation_inputs()))


def libraries(full_name: str) -> str:
    """Return a text that identifies the image ``full_name`` without the toolchain's code in it.

    For an image that this checkout does not build, this is its full name.
    """
    repository = full_name.rpartition(":")[0]
    name = repository.rpartition("/")[2]
    ours = name in IMAGES and (ROOT / "images").is_dir() and full_name == image(name)
    return f"{repository}@{libraries_digest(name)}" if ours else full_name


def content_digest(name: str) -> str:
    """Return the digest of the libraries and of the code in the image ``name``."""
    files = {path.relative_to(ROOT).as_posix(): _sha256(path) for path in runtime_files(modules(name), ROOT)}
    return _digest({"libraries": libraries_digest(name), "modules": modules(name), "files": files})


def libraries_digest(name: str) -> str:
    """Return the digest of everything that the image ``name`` is built from, except the code of the toolchain."""
    built = IMAGES[name]
    return _digest(
        {
            "foundation": _foundation_inputs() if built.dockerfile == "step" else {},
            "dockerfile": _sha256(ROOT / "images" / built.dockerfile / "Dockerfile"),
            "target": built.target,
            "arguments": dict(built.arguments),
            "requirements": requirements(_project(), [name]),
            "data": data_packages((ROOT / "data.txt").read_text(encoding="utf-8"), name),
            "pins": _sha256(ROOT / "constraints.txt"),
        }
    )


def modules(name: str) -> list[str]:
    """Return the toolchain modules that run in the image ``name``, those of its steps included."""
    constant = re.compile(rf"\bbase_image={name.upper().replace('-', '_')}\b")
    components = [path for path in _components() if constant.search(_text(path))]
    steps = [f"toolchain.{path.parent.name}.{path.stem}" for path in components]
    return sorted({*steps, *IMAGES[name].modules})


def clear_cache() -> None:
    """Drop cached names and file contents, so that the next name is that of the current files."""
    image.cache_clear()
    _sha256.cache_clear()
    _text.cache_clear()


def _full_name(name: str, digest: str) -> str:
    return f"{REGISTRY}/{name}:{VERSION}-{digest}"


def _foundation_inputs() -> dict[str, object]:
    return {
        "dockerfile": _sha256(ROOT / "images" / "step" / "Dockerfile"),
        "requirements": requirements(_project(), FOUNDATION_EXTRAS),
        "pins": _sha256(ROOT / "constraints.txt"),
    }


def _project() -> dict[str, object]:
    project: dict[str, object] = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]
    return project


def _components() -> list[Path]:
    return sorted((ROOT / "components").glob("*/[!_]*.py"))


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGEST_DIGITS]


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
