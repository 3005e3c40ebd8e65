import pytest

from tests.support.compiled_pipelines import tasks


@pytest.mark.parametrize("pipeline", ["bert_finetune", "vision_classify"])
def test_the_trained_and_the_pruned_model_are_exported(pipeline: str):
    steps = tasks(pipeline)
    (training,) = [task.name for task in steps.values() if task.step.startswith("train.")]
    assert steps["export.onnx"].inputs["model"] == (training, "model")
    assert steps["export.onnx"].inputs["pruned"] == ("prune", "pruned")
    assert steps["optimize.quantize"].inputs["variants"] == ("onnx", "variants")


def test_a_detector_is_exported_once():
    inputs = tasks("vision_detect")["export.onnx"].inputs
    assert inputs["model"] == inputs["pruned"] == ("torch-detector", "model")


@pytest.mark.parametrize("pipeline", ["bert_finetune", "vision_classify", "vision_detect"])
def test_calibration_and_training_read_the_same_rows(pipeline: str):
    steps = tasks(pipeline)
    (training,) = [task for task in steps.values() if task.step.startswith("train.")]
    assert steps["optimize.quantize"].inputs["dataset"] == training.inputs["dataset"]
