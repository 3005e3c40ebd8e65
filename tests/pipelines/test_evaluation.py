import pytest

from tests.support.compiled_pipelines import tasks

EVALUATING = ("bert_finetune", "measure", "vision_classify", "vision_detect")
MEASURED = {name: (name, name) for name in ("accuracy", "parity", "latency")}


@pytest.mark.parametrize("pipeline", EVALUATING)
def test_accuracy_and_latency_are_of_the_same_variants_and_rows(pipeline: str):
    steps = tasks(pipeline)
    assert steps["evaluate.accuracy"].inputs == steps["evaluate.latency"].inputs


@pytest.mark.parametrize("pipeline", EVALUATING)
def test_latency_is_measured_while_no_other_step_runs(pipeline: str):
    steps = tasks(pipeline)
    after_latency = {"evaluate.gate", "evaluate.platform_parity", "release.report", "release.register"}
    assert {"accuracy", "parity"} <= ancestors(pipeline, "latency")
    assert all("latency" in ancestors(pipeline, steps[step].name) for step in after_latency)


@pytest.mark.parametrize("pipeline", EVALUATING)
def test_the_gate_judges_all_measurements(pipeline: str):
    assert tasks(pipeline)["evaluate.gate"].inputs == MEASURED


@pytest.mark.parametrize("pipeline", EVALUATING)
def test_the_report_shows_all_measurements_and_is_registered(pipeline: str):
    steps = tasks(pipeline)
    verdicts = {"verdict": ("gate", "verdict"), "platform_parity": ("platform-parity", "platform_parity")}
    assert MEASURED.items() | verdicts.items() <= steps["release.report"].inputs.items()
    assert steps["release.register"].inputs["report"] == ("report", "report")
    assert steps["release.register"].constants["pipeline"] == pipeline


def ancestors(pipeline: str, name: str) -> set[str]:
    """Return the tasks that end before the task ``name`` begins."""
    after = {task.name: task.after for task in tasks(pipeline).values()}
    found, left = set[str](), [name]
    while left:
        new = set(after[left.pop()]) - found
        found |= new
        left += new
    return found
