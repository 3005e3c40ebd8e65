from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.records.runs import FAILED, Run, StepRecord, new_run
from cli.run import waiting_pods
from cli.run.waiting_pods import WaitingPods, task_of
from tests.support.pods import POD, Recorder
from toolchain.services import kubernetes

MISSING = replace(POD, phase="Pending", waiting_reason="ErrImageNeverPull", message='image "r/base:9" is not present')


@pytest.mark.parametrize(
    ("node", "task"),
    [
        ("tidy-x1.root.train-transformers.executor", "train-transformers"),
        ("tidy-x1(0).root(0).clean(0).executor(0)", "clean"),
        ("tidy-x1(0).root(0).clean-driver(1)", "clean"),
        ("tidy-x1.root-driver", ""),
        ("", ""),
    ],
)
def test_a_node_of_argo_belongs_to_a_task(node: str, task: str):
    assert task_of(node) == task


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return new_run("tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", "k")])


def test_a_problem_is_printed_once_and_stops_the_run_after_its_timeout(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kubernetes, "nodes", list)
    watcher, stopped, clock = Recorder(), list[str](), [0.0]
    server: Any = SimpleNamespace(namespace="toolchain", stop=stopped.append)
    monkeypatch.setattr(waiting_pods.time, "monotonic", lambda: clock[0])
    waiting = WaitingPods(run, server, watcher, sees_pods=False)
    assert not waiting.stop_if_stuck([MISSING])
    assert not waiting.stop_if_stuck([MISSING])
    assert len(watcher.lines) == 1
    clock[0] = 3600.0
    assert waiting.stop_if_stuck([MISSING])
    assert stopped == [run.kfp_run_id]
    assert (run.state, run.steps[0].state) == (FAILED, FAILED)
    assert "r/base:9" in run.steps[0].error


def test_a_solved_problem_starts_anew(run: Run, monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    monkeypatch.setattr(waiting_pods.time, "monotonic", lambda: clock[0])
    server: Any = SimpleNamespace(namespace="toolchain", stop=lambda run: pytest.fail("the run was stopped"))
    waiting = WaitingPods(run, server, Recorder(), sees_pods=False)
    waiting.stop_if_stuck([MISSING])
    clock[0] = 3599.0
    waiting.stop_if_stuck([POD])
    assert not waiting.stop_if_stuck([MISSING])
