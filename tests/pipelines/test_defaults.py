"""Every parameter of a pipeline has the default, type and description of the settings that it feeds."""

from dataclasses import MISSING, fields
from functools import cache
from importlib import import_module
from typing import Any

import pytest

from cli.setup.components import settings_of
from tests.support.compiled_pipelines import PIPELINES, specification


@cache
def defaults_of(step: str) -> dict[str, Any]:
    found = fields(import_module(f"toolchain.{step}").Config)
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory() for field in found
    }


def fed(pipeline: str) -> list[tuple[str, str, str]]:
    """Return step, setting and parameter of each setting that is a parameter of ``pipeline``."""
    tasks = [task for task in specification(pipeline).tasks if task.is_step]
    return [(task.step, setting, parameter) for task in tasks for setting, parameter in task.parameters.items()]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_default_differs_from_a_steps_only_where_the_pipeline_lists_it(pipeline: str):
    parameters = specification(pipeline).parameters
    listed = getattr(import_module(f"pipelines.{pipeline}"), "DEFAULTS", {})
    different = {
        name for step, setting, name in fed(pipeline) if parameters[name].default != defaults_of(step)[setting]
    }
    assert different == set(listed), "list a default that differs, with its reason, in DEFAULTS, and no other"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_parameter_has_the_type_of_every_setting_that_it_feeds(pipeline: str):
    parameters = specification(pipeline).parameters
    assert fed(pipeline)
    assert all(type(defaults_of(step)[setting]) is parameters[name].value_type for step, setting, name in fed(pipeline))


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_parameter_has_the_description_of_a_setting_that_it_feeds(pipeline: str):
    definitions = specification(pipeline).content["root"]["inputDefinitions"]["parameters"]
    described: dict[str, set[str]] = {}
    for step, setting, name in fed(pipeline):
        described.setdefault(name, set()).update(s.description for s in settings_of(step) if s.name == setting)
    assert not [name for name, texts in described.items() if definitions[name]["description"] not in texts]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_parameter_is_described_in_a_sentence(pipeline: str):
    definitions = specification(pipeline).content["root"]["inputDefinitions"]["parameters"]
    assert all(definition["description"].endswith(".") for definition in definitions.values())
