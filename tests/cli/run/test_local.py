"""The worker and a step as real processes, in a pipeline of one component that executes the given code."""

from pathlib import Path
from typing import NoReturn

import pytest
from kfp import compiler, dsl

from cli.compiled.plan import Plan, make_plan
from cli.compiled.spec import Specification, read
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run import local
from cli.settings import Settings

pytestmark = pytest.mark.slow


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def odd(made: dsl.Output[dsl.Artifact], code: str):
    exec(code)


@pytest.fixture(scope="module")
def odd_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Specification:
    @dsl.pipeline(name="odd")
    def pipeline(code: str):
        odd(code=code)

    file = tmp_path_factory.mktemp("compiled") / "odd.yaml"
    compiler.Compiler().compile(pipeline, str(file))
    return read(file.read_text(encoding="utf-8"))


class NullWatcher:
    def changed(self, step: StepRecord) -> None: ...

    def printed(self, step: StepRecord, line: str) -> None: ...


@pytest.fixture
def ended(odd_pipeline: Specification, tmp_path: Path):
    """Return a function that runs ``code`` as a step and returns the run's record."""

    def run_it(code: str) -> Run:
        settings = Settings(tmp_path, "", "", "", f"sqlite:///{tmp_path}/mlflow.db")
        plan: Plan = make_plan(odd_pipeline, {"code": code}, {"odd": runs.new_salt()}, settings.cache)
        with runs.run_lock(tmp_path) as lock:
            made = local.begin(plan, "odd", settings)
            local.execute(plan, made, settings, NullWatcher(), lock)
            local.record_outputs(plan, made, settings)
        return runs.find_run(tmp_path, made.id)

    return run_it


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import pyarrow as pa; pa.array(['x']).cast(pa.int64())", "ArrowInvalid: Failed to parse string: 'x' as a"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("print('\\x1enot ours'); raise SystemExit(4)", "exited with status 4 without a traceback"),
    ],
)
def test_a_step_that_ends_in_any_way_fails_with_the_reason_and_a_log(ended, code: str, message: str):
    run = ended(code)
    assert run.state == runs.FAILED
    assert run.steps[0].error.startswith(message)
    assert (run.folder / "logs" / f"{run.steps[0].step}.log").is_file()


def test_the_outputs_of_a_pipeline_with_the_name_of_its_component_are_recorded(ended):
    run = ended("import pathlib; pathlib.Path(made.path).mkdir()")
    assert run.state == runs.SUCCEEDED
    assert Path(run.steps[0].outputs["made"]).is_relative_to(run.folder)


def test_a_run_that_is_interrupted_at_its_start_leaves_no_password_on_the_disk(
    odd_pipeline: Specification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    settings = Settings(tmp_path, "", "", "", f"sqlite:///{tmp_path}/mlflow.db")
    values = {"code": "source = 'https://reader:s3cret-word@data.example/rows.csv'"}
    plan = make_plan(odd_pipeline, values, {"odd": runs.new_salt()}, settings.cache)
    monkeypatch.setattr("subprocess.Popen", interrupt)
    with runs.run_lock(tmp_path) as lock, pytest.raises(KeyboardInterrupt):
        local.execute(plan, local.begin(plan, "odd", settings), settings, NullWatcher(), lock)
    assert [file for file in tmp_path.rglob("*") if file.is_file() and b"s3cret-word" in file.read_bytes()] == []
