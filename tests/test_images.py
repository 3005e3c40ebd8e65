"""An image is one constant, one folder and one extra, and holds what its steps import."""

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

ROOT = Path(__file__).parents[1]
WRAPPERS = sorted((ROOT / "components").glob("*/[!_]*.py"))
IMAGES = {constant: value for constant, value in vars(images).items() if constant.isupper() and ":" in str(value)}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
OWN = {"dl-toolchain", "toolchain", "components", "pipelines"}
# toolchain.inference imports it for a variant of that back end only, which other images never see.
OPENED_BY_SOME = {"openvino"}
ONE_OF = {"onnxruntime", "onnxruntime-gpu"}  # both bring the module onnxruntime: the later installed wins
STAGE = re.compile(r"^(?=FROM )", re.MULTILINE)


def folder_of(constant: str) -> str:
    return constant.lower().replace("_", "-")


NAMES = sorted(map(folder_of, IMAGES))


def dockerfile(name: str) -> str:
    return (ROOT / "images" / name / "Dockerfile").read_text()


def stage(name: str, called: str) -> str:
    """Return the instructions of the stage ``called`` in images/``name``, comments left out; "" when it has none."""
    text = re.sub(r"^#.*\n", "", dockerfile(name), flags=re.MULTILINE)
    return next((part.strip() for part in STAGE.split(text) if part.splitlines()[0].endswith(f" AS {called}")), "")


def image_of(wrapper: Path) -> str:
    """Return the name of the constant that the component at ``wrapper`` gives as base_image."""
    names = re.findall(r"base_image=(\w+)", wrapper.read_text())
    assert len(set(names)) == 1, f"{wrapper.name} names {names}"
    return str(names[0])


@cache
def installed_with(*extras: str) -> frozenset[str]:
    """Return what pip brings for the lines of images/requirements.py, dependencies of dependencies included."""
    printed = subprocess.run(
        [sys.executable, "images/requirements.py", *extras], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    found: set[str] = set()
    waiting = [Requirement(line) for line in printed.splitlines()]
    while waiting:
        wanted = waiting.pop()
        key = canonicalize_name(wanted.name)
        if key not in found:
            found.add(key)
            waiting += [r for r in map(Requirement, required_by(key)) if needed(r, wanted.extras)]
    return frozenset(found)


def required_by(distribution: str) -> list[str]:
    """Return what ``distribution`` requires; of the ONNX Runtime that is not installed here, what its twin requires."""
    return requires("onnxruntime" if distribution == "onnxruntime-gpu" else distribution) or []


def needed(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""})


@cache
def held_by(name: str) -> frozenset[str]:
    """Return the distributions in the image of images/``name``, its foundation's included."""
    extras = re.findall(r"^RUN python requirements.py ([\w -]+) > requirements.txt$", dockerfile(name), re.MULTILINE)
    assert len(extras) == 1
    below = held_by("base") if "FROM ${FOUNDATION}" in dockerfile(name) else frozenset()
    return below | installed_with(*extras[0].split())


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("toolchain", include_external_packages=True, exclude_type_checking_imports=True)


@pytest.mark.parametrize("constant", sorted(IMAGES))
def test_an_image_has_one_name_everywhere(constant: str):
    name = folder_of(constant)
    assert IMAGES[constant].split("/")[-1].split(":")[0] == name
    assert name in PROJECT["optional-dependencies"]
    assert re.search(rf"^RUN python requirements.py (core )?{name} > requirements.txt$", dockerfile(name), re.MULTILINE)


def test_there_is_no_image_without_a_constant():
    folders = {path.name for path in (ROOT / "images").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {folder_of(constant) for constant in IMAGES}


@pytest.mark.parametrize("name", NAMES)
def test_an_image_ends_without_root_and_with_its_code_last(name: str):
    last = STAGE.split(dockerfile(name))[-1]
    assert re.findall(r"^USER .*$", last, re.MULTILINE) == ["USER 10001:10001"]
    assert "RUN" not in last, "what RUN removes in the last stage stays in a layer below"
    copies = re.findall(r"^COPY --from=(\w+)", last, re.MULTILINE)
    assert copies[-1] == ("build" if name == "mlflow" else "code")


@pytest.mark.parametrize("called", ["tools", "system", "code"])
def test_stages_that_images_share_are_the_same_so_that_their_layers_are(called: str):
    stages = {stage(name, called).replace(f"requirements.py {name} ", "requirements.py ") for name in NAMES} - {""}
    assert len({text.replace("requirements.py core base ", "requirements.py ") for text in stages}) == 1


@pytest.mark.parametrize("name", NAMES)
def test_an_image_rests_on_the_foundation_where_its_extra_takes_base_in(name: str):
    takes_base = "dl-toolchain[base]" in PROJECT["optional-dependencies"][name]
    assert ("FROM ${FOUNDATION}" in dockerfile(name)) == takes_base


@pytest.mark.parametrize("name", NAMES)
def test_everything_in_an_image_is_pinned(name: str):
    assert held_by(name) - {canonicalize_name(pinned) for pinned in PINS} == set()


def test_data_packages_that_images_pick_are_pinned_and_all_are_picked():
    pinned = re.findall(r"^([\w-]+)==", (ROOT / "data.txt").read_text(), re.MULTILINE)
    picked = [words for name in NAMES for words in re.findall(r"grep .* '\^\((.*)\)=='", dockerfile(name))]
    assert sorted(word for words in picked for word in words.split("|")) == sorted(pinned)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_holds_at_most_one_onnx_runtime(name: str):
    expected = {one: {"onnxruntime"} for one in ("train", "optimize", "release", "serve", "serve-openvino")}
    assert held_by(name) & ONE_OF == expected.get(name, {"onnxruntime-gpu"} if name == "serve-gpu" else set())


def test_only_the_training_image_holds_torch():
    assert [name for name in NAMES if "torch" in held_by(name)] == ["train"]


def test_serving_images_differ_in_their_onnx_runtime_alone_and_hold_no_pyarrow():
    assert held_by("serve") ^ held_by("serve-gpu") == ONE_OF
    assert not held_by("serve") & {"pyarrow", "pandas", "mlflow", "kfp"}
    assert held_by("serve-openvino") - held_by("serve") == {"openvino", "openvino-telemetry"}  # pip's; the latter goes


@pytest.mark.parametrize("name", NAMES)
def test_what_a_dockerfile_copies_is_let_through_and_counts_for_the_tag(name: str):
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for words in images.COPIED.findall(dockerfile(name)) for word in words.split()}
    assert copied <= let_through
    carried = {path.relative_to(ROOT).as_posix() for path in images.carried(name)}
    assert f"images/{name}/Dockerfile" in carried
    assert copied - {"toolchain"} <= carried
    assert ("toolchain/errors.py" in carried) == ("toolchain" in copied)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of what images are made of, which ``components.images`` takes for the repository."""
    for name in ("images", "toolchain"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("constraints.txt", "data.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(images, "ROOT", tmp_path)
    images.forget()
    yield tmp_path
    images.forget()


def test_the_tag_is_the_version_and_twelve_digits_of_the_content_alone(checkout: Path):
    assert PROJECT["version"] == images.VERSION
    for constant, value in IMAGES.items():
        assert re.fullmatch(rf"{re.escape(images.REGISTRY)}/[a-z-]+:{images.VERSION}-[0-9a-f]{{12}}", value)
        assert images.image(folder_of(constant)) == value, "the same files elsewhere have the same tag"


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ("toolchain/errors.py", {"mlflow"}),
        ("toolchain/release/report/page.css", {"mlflow"}),
        ("images/base/Dockerfile", {"serve", "serve-gpu", "serve-openvino"}),
        ("images/optimize/Dockerfile", {*NAMES} - {"optimize"}),
        ("data.txt", {*NAMES} - {"text", "pictures", "train"}),
        ("constraints.txt", set()),
        ("toolchain/__pycache__/errors.pyc", {*NAMES}),
        ("images/README.md", {*NAMES}),
    ],
)
def test_a_change_gives_a_new_tag_to_the_images_that_carry_it(checkout: Path, changed: str, kept: set[str]):
    before = {name: images.image(name) for name in NAMES}
    path = checkout / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")
    images.forget()
    assert {name for name in NAMES if images.image(name) == before[name]} == kept


def test_without_the_sources_the_tag_is_the_version_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(images, "ROOT", tmp_path)
    assert images.image("base") == f"{images.REGISTRY}/base:{images.VERSION}"


def test_the_registry_comes_from_the_environment():
    code = "from components.images import TRAIN; print(TRAIN)"
    environment = {**os.environ, "TOOLCHAIN_REGISTRY": "registry.example:5000/ours/"}
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert answer.stdout.startswith(f"registry.example:5000/ours/train:{images.VERSION}-")


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_an_image_holds_what_its_steps_import(wrapper: Path):
    step = f"toolchain.{wrapper.parent.name}.{wrapper.stem}"
    upstream = {module.split(".")[0] for module in graph().find_upstream_modules(step, as_package=True)}
    brought_by = packages_distributions()
    installed = held_by(folder_of(image_of(wrapper)))
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
