"""Every setting of the step that reads annotations is a parameter of the pipeline."""

import inspect
from dataclasses import MISSING, fields

import pytest

from pipelines.vision_detect import vision_detect
from toolchain.annotations.checks import CHECKS
from toolchain.data.annotations import Config

PARAMETERS = inspect.signature(vision_detect.pipeline_func).parameters
DEFAULTS = {f.name: f.default if f.default is not MISSING else f.default_factory() for f in fields(Config)}  # type: ignore[misc]


@pytest.mark.parametrize("name", [*CHECKS, "source", "labels", "rename", "keep_splits", "origin", "task", "tile_size"])
def test_a_setting_that_messages_name_can_be_set_and_has_the_steps_default(name: str):
    assert PARAMETERS[name].default == DEFAULTS[name]
