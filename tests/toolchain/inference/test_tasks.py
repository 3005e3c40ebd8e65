from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.models import brightness, one_box, write_model, write_words
from toolchain.artifacts.model import Model, open_model
from toolchain.errors import ArtifactError
from toolchain.inference.evaluation import EVALUATIONS, evaluation_of
from toolchain.inference.tasks import TASKS, task_of, task_type


def model_of(task: str, folder: Path) -> Model:
    if task == "text-classification":
        return open_model(write_words(folder))
    return open_model(write_model(folder, task, brightness if task == "image-classification" else one_box))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_prepares_a_neutral_row_and_describes_its_prediction(name: str, tmp_path: Path):
    task = task_of(model_of(name, tmp_path / "model"))
    assert task.name == name
    assert len(task.input.prepare([task.input.neutral()])) == 1
    assert task.output.schema().keys()
    assert all({"name", "datatype", "shape"} == tensor.keys() for tensor in task.output.tensors())
    assert all(scenario.rows <= (task.max_batch_size or 8) for scenario in task.scenarios.values())


@pytest.mark.parametrize("name", TASKS)
def test_every_output_has_an_evaluation(name: str):
    assert TASKS[name].output_type in EVALUATIONS
    assert evaluation_of(name, ["a", "b"]).schema.names[:2] == ["row", "variant"]


def test_requests_are_no_longer_than_the_positions_of_a_model(tmp_path: Path):
    model = model_of("text-classification", tmp_path / "model")
    short = replace(model, signature=replace(model.signature, positions=64))
    assert list(task_of(short).scenarios) == ["batch1-fixed64", "batch1-real", "batch8-fixed64", "batch8-real"]
    assert task_of(model).scenarios["batch1-fixed128"].tokens == 128


def test_a_task_that_is_not_supported_is_an_error(tmp_path: Path):
    model = model_of("text-classification", tmp_path / "model")
    other = replace(model, signature=replace(model.signature, task="translation"))
    with pytest.raises(ArtifactError, match="a model for translation; supported tasks: text-classification"):
        task_type(other)
