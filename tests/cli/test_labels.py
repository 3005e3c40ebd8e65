"""One set of labels on the pods of every run, and docs whose commands find each of them."""

import re
from pathlib import Path

import pytest
import yaml

from cli.compiled import catalog
from cli.compiled.spec import compile_pipeline
from cli.compiled.transform import labels_of, transform
from cli.schedules.files import Schedule
from cli.schedules.reconcile import desired_state

GUIDE = Path(__file__).parents[2] / "docs" / "operate" / "kubectl.md"
BY_KUBEFLOW = "pipeline/runid"  # Kubeflow Pipelines' own label, on every pod of a run


def labels_in(compiled: str) -> list[dict[str, str]]:
    pipeline, platform = yaml.safe_load_all(compiled)
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors.keys() == pipeline["deploymentSpec"]["executors"].keys(), "every step's pod is labelled"
    return [executor["podMetadata"]["labels"] for executor in executors.values()]


@pytest.fixture(scope="module")
def submitted() -> list[dict[str, str]]:
    return labels_in(transform(compile_pipeline(catalog.find("prepare")), labels_of("prepare-1", "ada")))


@pytest.fixture(scope="module")
def scheduled() -> list[dict[str, str]]:
    return labels_in(desired_state(Schedule("nightly", "prepare", "30 2 * * *", "UTC")).compiled)


def test_the_pods_of_a_scheduled_run_have_the_labels_of_a_submitted_one(
    submitted: list[dict[str, str]], scheduled: list[dict[str, str]]
):
    assert [one.keys() for one in submitted] == [one.keys() for one in scheduled]
    assert {one["toolchain/run"] for one in submitted} == {"prepare-1"}
    assert {(one["toolchain/run"], one["toolchain/schedule"]) for one in scheduled} == {("nightly", "nightly")}
    assert [one["app.kubernetes.io/component"] for one in submitted] == [
        one["app.kubernetes.io/component"] for one in scheduled
    ]


def test_every_selector_of_the_guide_finds_the_pods_of_every_run(
    submitted: list[dict[str, str]], scheduled: list[dict[str, str]]
):
    selectors = re.findall(r"^kubectl (?:get pods|logs) .*?-l (\S+)", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(selectors) > 6
    for pod in (*submitted, *scheduled):
        for selector in selectors:
            for name, _, value in (part.partition("=") for part in selector.split(",")):
                assert name == BY_KUBEFLOW or name in pod, selector
                assert name != "app.kubernetes.io/part-of" or pod[name] == value


def test_a_step_that_no_pipeline_placed_is_labelled_too():
    compiled = next(yaml.safe_load_all(compile_pipeline(catalog.find("prepare"))))
    for found in labels_in(transform(yaml.safe_dump(compiled), labels_of("r", "ada"))):
        assert found == {"toolchain/run": "r", "toolchain/owner": "ada", "toolchain/schedule": ""}
