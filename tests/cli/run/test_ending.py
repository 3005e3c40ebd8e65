from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cli.cluster.kfp_client import RunStatus
from cli.records.runs import FAILED, INTERRUPTED, RUNNING, SUCCEEDED, Run, StepRecord, new_run
from cli.run.ending import Ending, duration
from cli.run.pod_logs import PodLogs
from tests.support.pods import NOW, POD, Recorder
from toolchain.services.kubernetes import Pod

FINISHED = replace(POD, phase="Failed", termination_reason="Error", finished=NOW + timedelta(seconds=7), exit_code=1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = new_run(
        "tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", "k"), StepRecord("split", "data.split", "k")]
    )
    (made.folder / "logs").mkdir(exist_ok=True)
    return made


def end(run: Run, state: str, pods: Sequence[Pod] = (), stopped: bool = False, sees_pods: bool = True) -> None:
    watcher = Recorder()
    Ending(
        run, RunStatus(state, "", {}, stopped), pods, PodLogs(run, "toolchain", watcher), watcher, sees_pods
    ).record()


def test_steps_without_a_pod_of_a_successful_run_were_cached(run: Run):
    run.steps[0].state = SUCCEEDED
    end(run, "SUCCEEDED")
    assert [(step.state, step.cached) for step in run.steps] == [(SUCCEEDED, False), (SUCCEEDED, True)]


def test_without_access_to_pods_no_step_counts_as_cached(run: Run):
    end(run, "SUCCEEDED", sees_pods=False)
    assert not any(step.cached for step in run.steps)


def test_a_failed_step_has_the_last_error_of_its_log_and_its_duration(run: Run):
    run.steps[0].state = RUNNING
    (run.folder / "logs" / "data.ingest.log").write_text(
        "I1125 10:00:00.000000       1 main.go:1] started\nerror: rows.csv has no column 'text'\nError: exit status 1\n"
    )
    end(run, "FAILED", [FINISHED], sees_pods=False)
    assert (run.state, run.steps[0].state, run.steps[0].seconds) == (FAILED, FAILED, 7.0)
    assert "no column 'text'" in run.steps[0].error


def test_a_run_that_a_user_stopped_has_no_failed_step(run: Run):
    run.steps[0].state, run.steps[1].state = RUNNING, FAILED
    end(run, "FAILED", stopped=True)
    assert (run.state, [step.state for step in run.steps]) == (INTERRUPTED, [INTERRUPTED, INTERRUPTED])


def test_a_failure_before_any_step_is_recorded_at_the_first(run: Run):
    end(run, "FAILED", sees_pods=False)
    assert run.steps[0].state == FAILED
    assert run.steps[0].error


def test_the_duration_is_from_the_first_pod_to_the_end_of_the_last():
    assert duration([POD, FINISHED]) == 7.0
    assert duration([POD]) == 0.0
    assert duration([]) == 0.0
