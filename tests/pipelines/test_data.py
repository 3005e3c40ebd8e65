import pytest

from tests.support.compiled_pipelines import tasks


@pytest.mark.parametrize("pipeline", ["bert_finetune", "prepare"])
def test_text_is_ingested_cleaned_split_and_validated(pipeline: str):
    steps = tasks(pipeline)
    assert steps["data.clean"].inputs == {"raw": ("ingest", "dataset")}
    assert steps["data.split"].inputs == {"dataset": ("clean", "dataset")}
    assert steps["data.validate"].inputs == {"dataset": ("split", "splits")}


@pytest.mark.parametrize(("pipeline", "source"), [("vision_classify", "images"), ("vision_detect", "annotations")])
def test_images_are_split_and_validated(pipeline: str, source: str):
    steps = tasks(pipeline)
    assert steps["data.split"].inputs == {"dataset": (source, "dataset")}
    assert steps["data.validate"].inputs == {"dataset": ("split", "splits")}


@pytest.mark.parametrize(
    ("pipeline", "step"),
    [("bert_finetune", "augment.text"), ("vision_classify", "augment.images"), ("vision_detect", "augment.images")],
)
def test_augmentation_waits_for_the_validation(pipeline: str, step: str):
    assert "validate" in tasks(pipeline)[step].after
