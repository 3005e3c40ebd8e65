"""The outputs of a run on a cluster, in a real S3 server, and what of them is copied to this machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.output.summary import read_report, report_file
from cli.records import runs
from cli.records.artifacts import DATA_REPORT, VARIANTS, find_artifact
from cli.records.runs import Run, StepRecord
from cli.run import outputs
from cli.settings import Settings
from tests.support.pods import POD
from toolchain.artifacts.measurement import new_measurement
from toolchain.artifacts.provenance import Work
from toolchain.services import kubernetes, storage


@pytest.fixture
def settings(s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)
    monkeypatch.setenv("TOOLCHAIN_BUCKET", s3_bucket)
    return Settings(tmp_path, "http://127.0.0.1:9", "", "", "")


def test_descriptions_and_whole_reports_are_copied_under_any_step_name(
    settings: Settings, s3_bucket: str, tmp_path: Path
):
    root = f"s3://{s3_bucket}/v2/artifacts/p/r1"
    with new_measurement(tmp_path / "report", "data-report", Work("describe", None)) as writer:
        writer.data = {}
        (writer.folder / "report.json").write_text('{"rows": {"train": 8}}')
        (writer.folder / "report.html").write_text("<html></html>")
    storage.upload(tmp_path / "report", f"{root}/describe/description")
    storage.write(b'{"digest": "d1", "lineage": [], "variants": {}}', f"{root}/shrink/small/variants.json")
    storage.write(b"weights", f"{root}/shrink/small/fp32/model.onnx")
    steps = [
        StepRecord(
            "describe", "data.describe", "", outputs={"description": f"{root}/describe/description", "n": f"{root}/n"}
        ),
        StepRecord("shrink", "optimize.shrink", "", outputs={"small": f"{root}/shrink/small"}),
    ]
    run = Run("r", "p", tmp_path / "r", {}, steps, runs.SUCCEEDED, "2026-11-25T10:00:00+00:00", engine=runs.CLUSTER)
    outputs.fetch(run, settings, "toolchain")
    page = report_file(run)
    assert page
    assert page.is_file()
    assert read_report(run, DATA_REPORT) == {"rows": {"train": 8}}
    shrunk = find_artifact(run, VARIANTS)
    assert shrunk
    assert [path.name for path in shrunk.folder.iterdir()] == ["variants.json"], "the models stay in S3"
    assert run.steps[1].outputs == {"small": f"{root}/shrink/small"}


def test_a_bucket_that_is_not_known_leaves_the_outputs_in_s3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)
    monkeypatch.delenv("TOOLCHAIN_BUCKET", raising=False)
    step = StepRecord("describe", "data.describe", "", outputs={"description": "s3://b/d"})
    run = Run("r", "p", tmp_path / "r", {}, [step], runs.SUCCEEDED, "2026-11-25T10:00:00+00:00", engine=runs.CLUSTER)
    outputs.fetch(run, Settings(tmp_path, "", "", "", ""), "toolchain")
    assert "set TOOLCHAIN_BUCKET" in capsys.readouterr().out
    assert report_file(run) is None


def test_the_uris_of_artifacts_are_in_the_command_of_a_pod():
    executor_input = '{"outputs": {"artifacts": {"small": {"artifacts": [{"uri": "s3://b/small"}]}, "none": {}}}}'
    pod = replace(POD, command=("launch", "--executor_input", executor_input))
    assert outputs.artifact_uris(pod, "outputs") == {"small": "s3://b/small"}
    assert outputs.artifact_uris(pod, "inputs") == {}
    assert outputs.artifact_uris(POD, "outputs") == {}
