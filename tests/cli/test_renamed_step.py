"""A pipeline whose step and output have other names prints the same summary: a real run of each, in a new folder."""

import re
from pathlib import Path

import pytest
from kfp import compiler, dsl

from cli.compiled.plan import make_plan
from cli.compiled.spec import Specification, read
from cli.output.summary import summary
from cli.records import runs
from cli.records.runs import StepRecord
from cli.run import local
from cli.settings import Settings

pytestmark = pytest.mark.slow
BODY = """
import json
from pathlib import Path
import toolchain.artifacts.measurement as measurement
import toolchain.artifacts.provenance as provenance

with measurement.new_measurement(Path(path), "data-report", provenance.Work("any", None)) as writer:
    report = {"rows": {"train": 8}, "class_counts": {"train": {"good": 8}}, "labels": ["good"], "dropped": []}
    (writer.folder / "report.json").write_text(json.dumps(report))
    (writer.folder / "report.html").write_text("<html></html>")
"""


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def report(body: str, report: dsl.Output[dsl.Artifact]):
    exec(body, {"path": report.path})


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def describe_rows(body: str, description: dsl.Output[dsl.Artifact]):
    exec(body, {"path": description.path})


def compiled(component: object, folder: Path) -> Specification:
    @dsl.pipeline(name="tidy")
    def pipeline(body: str):
        component(body=body)

    compiler.Compiler().compile(pipeline, str(folder / "tidy.yaml"))
    return read((folder / "tidy.yaml").read_text(encoding="utf-8"))


class NullWatcher:
    def changed(self, step: StepRecord) -> None: ...

    def printed(self, step: StepRecord, line: str) -> None: ...


def summary_of(component: object, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a pipeline of ``component``, and return its summary without paths, names and times."""
    folder.mkdir()
    settings = Settings(folder / "runs", "", "", "", f"sqlite:///{folder}/runs/mlflow.db")
    spec = compiled(component, folder)
    plan = make_plan(spec, {"body": BODY}, {task.name: runs.new_salt() for task in spec.tasks}, settings.cache)
    with runs.run_lock(settings.runs) as lock:
        run = local.begin(plan, "tidy", settings)
        local.execute(plan, run, settings, NullWatcher(), lock)
        local.record_outputs(plan, run, settings)
    capsys.readouterr()
    summary(run, settings)
    return re.sub(r"/\S+/|\d+\.\d s", "", capsys.readouterr().out.replace(run.id, "tidy-1"))


def test_a_renamed_step_needs_no_change_in_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    usual = summary_of(report, tmp_path / "usual", capsys)
    renamed = summary_of(describe_rows, tmp_path / "renamed", capsys)
    assert usual == renamed
    assert "Report:  report.html" in usual
    assert ["good", "8"] in [line.split() for line in usual.splitlines()]
