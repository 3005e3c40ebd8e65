"""Artifacts of a run are found by their kind, under any name of step, task and output."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.output.summary import report_file, summary
from cli.records import runs
from cli.records.artifacts import DATA_REPORT, REGISTRATION, VARIANTS, artifacts, describe, find_artifact
from cli.records.runs import Run, StepRecord
from cli.settings import Settings
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work

Make = Callable[..., StepRecord]


@pytest.fixture
def measure(tmp_path: Path) -> Make:
    """Return a function that writes a measurement, and returns the record of the step that made it."""

    def make(kind: str, task: str, output: str, report: dict | None = None) -> StepRecord:
        folder = tmp_path / "made" / task / output
        with new_measurement(folder, kind, Work(task, None)) as writer:
            writer.data = {"task": task}
            if report is not None:
                (writer.folder / "report.json").write_text(json.dumps(report))
                (writer.folder / "report.html").write_text("<html></html>")
        return StepRecord(task, f"release.{task}", "", runs.SUCCEEDED, outputs={output: str(folder)})

    return make


def variants(folder: Path, digest: str, *ancestors: str) -> Path:
    folder.mkdir(parents=True)
    lineage = [{"digest": one} for one in (*ancestors, digest)]
    (folder / "variants.json").write_text(json.dumps({"digest": digest, "lineage": lineage, "variants": {}}))
    return folder


def run_of(folder: Path, *steps: StepRecord) -> Run:
    return Run("r", "p", folder, {}, list(steps), runs.SUCCEEDED, "2026-11-25T10:00:00+00:00")


DATA = {
    "rows": {"train": 8},
    "class_counts": {"train": {"good": 8}},
    "labels": ["good"],
    "dropped": [{"rows": 3, "rule": "label is missing", "step": "data.clean"}],
}


def test_a_renamed_step_has_the_same_summary(measure: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    settings = Settings(tmp_path, "", "", "", f"sqlite:///{tmp_path}/mlflow.db")
    printed = []
    for task, output in (("report", "report"), ("describe_data", "description")):
        run = run_of(tmp_path, measure("checks", f"check-{task}", "checks"), measure("data-report", task, output, DATA))
        summary(run, settings)
        page = report_file(run)
        assert page
        assert page.is_file()
        printed.append(capsys.readouterr().out.replace(str(page), "report.html"))
    assert printed[0] == printed[1]
    assert "label is missing" in printed[0]


def test_an_artifact_is_found_by_its_kind_alone(measure: Make, tmp_path: Path):
    run = run_of(tmp_path, measure("verdict", "judge", "decision"), measure("registration", "publish", "published"))
    found = find_artifact(run, REGISTRATION)
    assert found
    assert (found.step.task, found.description["data"]) == ("publish", {"task": "publish"})
    assert find_artifact(run, DATA_REPORT, VARIANTS) is None


def test_of_several_variants_those_with_no_descendant_are_found(tmp_path: Path):
    exported = variants(tmp_path / "a", "d1")
    quantized = variants(tmp_path / "b", "d2", "d1")
    outputs = {"quantized": str(quantized), "floats": str(exported)}
    found = find_artifact(run_of(tmp_path, StepRecord("t", "s", "", runs.SUCCEEDED, outputs=outputs)), VARIANTS)
    assert found
    assert found.folder == quantized


def test_an_output_in_s3_is_described_by_its_local_copy(tmp_path: Path):
    variants(tmp_path / "artifacts" / "shrink" / "small", "d1")
    step = StepRecord(
        "shrink", "optimize.shrink", "", runs.SUCCEEDED, outputs={"small": "s3://b/v2/small", "m": "s3://b/m"}
    )
    (found,) = artifacts(run_of(tmp_path, step))
    assert (found.kind, found.digest, found.ancestors) == (VARIANTS, "d1", set())


def test_a_folder_without_a_description_is_no_artifact(tmp_path: Path):
    assert describe(tmp_path) is None
    (tmp_path / "measurement.json").write_text("{")
    assert describe(tmp_path) is None
