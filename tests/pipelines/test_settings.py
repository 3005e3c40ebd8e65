"""A setting that a message or a page of the docs names is a parameter of every pipeline that runs the step."""

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from cli.settings import ROOT
from tests.support.compiled_pipelines import PIPELINES, tasks

# Messages that these pipelines cannot print, by the pipeline ("": any) and the setting.
UNREACHABLE = {
    ("", "export.onnx", "fuse_attention"),  # printed only if it is set, which a pipeline does not
    ("vision_classify", "augment.images", "min_visibility"),  # of boxes, which a classifier's images do not have
}
# Advice: "set X", "a lower X", "X=drop"; a message that a value is out of range names what was set already.
ADVICE = r"(?:\b(?:set|lower|raise|smaller|larger|longer|another|without|loosen|or) {name}\b)|(?:\b{name}=[\w\[{{])"


def settings_of(step: str) -> list[str]:
    return [field.name for field in fields(import_module(f"toolchain.{step}").Config)]


def source_of(module: str) -> list[Path]:
    path = ROOT / module.replace(".", "/")
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


@cache
def messages_of(step: str) -> tuple[str, ...]:
    """Return the texts that ``step``, and what it imports of ours besides other stages' steps, raises or prints."""
    files, left = set[Path](), [*source_of(f"toolchain.{step}")]
    while left:
        file = left.pop()
        if file in files or not file.is_file() or "services" in file.parts:  # their settings are environment variables
            continue
        files.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("toolchain."):
                left += [ROOT / f"{str(node.module).replace('.', '/')}{end}" for end in (".py", "/__init__.py")]
    return tuple(text for file in sorted(files) for text in _messages(ast.parse(file.read_text(encoding="utf-8"))))


def _messages(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        named = isinstance(node, ast.Call) and getattr(node.func, "id", "")
        if named == "log_info" or str(named).endswith("Error"):
            parts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            yield " ".join(part for part in parts if isinstance(part, str))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_setting_of_a_step_that_reads_data_is_a_parameter(pipeline: str):
    reading = [task for task in tasks(pipeline).values() if task.step.startswith("data.")]
    missing = [
        f"{task.step}: {name}" for task in reading for name in settings_of(task.step) if name not in task.parameters
    ]
    assert not missing


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_setting_that_a_message_names_is_a_parameter(pipeline: str):
    missing = [
        f"{task.step}: {name}, in {message!r}"
        for task in tasks(pipeline).values()
        for name in settings_of(task.step)
        for message in messages_of(task.step)
        if re.search(ADVICE.format(name=name), message)
        and name not in task.parameters
        and not {(pipeline, task.step, name), ("", task.step, name)} & UNREACHABLE
    ]
    assert not missing


def test_messages_are_found():
    assert any("unknown_label=drop" in message for message in messages_of("data.clean"))
    assert any("min_visibility" in message for message in messages_of("augment.images"))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_every_setting_that_docs_name_with_a_value_is_a_parameter(page: Path):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)=[^`]*`", text)) | set(re.findall(r"-p '?([a-z_]+)=", text))
    known = {name for pipeline in PIPELINES for task in tasks(pipeline).values() for name in settings_of(task.step)}
    parameters = {
        name for pipeline in PIPELINES for task in tasks(pipeline).values() for name in task.parameters.values()
    }
    assert not (named & known) - parameters
