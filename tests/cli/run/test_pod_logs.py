from dataclasses import replace
from pathlib import Path

import pytest

from cli.records.runs import Run, StepRecord, new_run
from cli.run.pod_logs import PodLogs, pods_of
from tests.support.pods import NOW, POD, Recorder
from toolchain.errors import ServiceError
from toolchain.services import kubernetes

LINES = [("2026-11-25T10:00:01Z", "one"), ("2026-11-25T10:00:02Z", "two")]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = new_run("tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", "k")])
    (made.folder / "logs").mkdir(exist_ok=True)
    return made


def test_each_line_is_written_and_passed_on_once(run: Run, monkeypatch: pytest.MonkeyPatch):
    watcher, reads = Recorder(), list[int | None]()
    lines = [LINES, LINES[1:], [*LINES[1:], ("2026-11-25T10:00:03Z", "three")]]

    def log(namespace: str, pod: str, seconds: int | None = None) -> list[tuple[str, str]]:
        reads.append(seconds)
        return lines[len(reads) - 1]

    monkeypatch.setattr(kubernetes, "log", log)
    logs, step = PodLogs(run, "toolchain", watcher), run.steps[0]
    for pod in (POD, POD, replace(POD, finished=NOW), replace(POD, finished=NOW)):
        logs.read(step, pod)
    assert watcher.lines == ["one", "two", "three"]
    assert logs.text(step) == "one\ntwo\nthree\n"
    assert reads[0] is None, "the whole log at first"
    assert len(reads) == 3, "the log of a finished pod is complete"


def test_a_pod_that_did_not_start_or_is_gone_has_no_lines(run: Run, monkeypatch: pytest.MonkeyPatch):
    def gone(*given: object) -> None:
        raise ServiceError("it was deleted")

    monkeypatch.setattr(kubernetes, "log", gone)
    logs = PodLogs(run, "toolchain", Recorder())
    logs.read(run.steps[0], POD)
    logs.read(run.steps[0], replace(POD, started=None))
    assert logs.text(run.steps[0]) == ""


def test_pods_are_found_by_their_step():
    other = replace(POD, labels={})
    assert pods_of(StepRecord("ingest", "data.ingest", "k"), [POD, other]) == [POD]
