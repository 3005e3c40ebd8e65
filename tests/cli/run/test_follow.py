"""A run on a cluster, followed: KFP's real client against the stand-in of conftest.py, its pods made up."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.cluster.kfp_client import Server
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run import follow
from cli.settings import Settings
from toolchain.errors import ServiceError
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Node, Pod

pytestmark = pytest.mark.machine
NOW = datetime(2026, 11, 25, 10, tzinfo=UTC)
POD = Pod(
    name="tidy-1",
    labels={"app.kubernetes.io/component": "data.ingest"},
    annotations={},
    phase="Running",
    node="node0",
    image="ghcr.io/toolchain/base:1",
    command=(),
    waits="",
    ended="",
    told="",
    created=NOW,
    started=NOW,
    finished=None,
    cpu=0.25,
    memory_bytes=1 << 30,
    gpus={},
)


class Heard:
    """Keeps what a watcher is told."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str]] = []
        self.lines: list[str] = []

    def changed(self, step: StepRecord) -> None:
        self.states.append((step.task, step.state))

    def said(self, step: StepRecord, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = runs.new_run(
        "tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", ""), StepRecord("clean", "data.clean", "")]
    )
    made.engine, made.kfp = runs.CLUSTER, "r1"
    made.save()
    return made


def server_at(endpoint: str, folder: Path) -> Server:
    return Server(Settings(folder, endpoint, "", "", ""))


def see(monkeypatch: pytest.MonkeyPatch, pods: list[Pod], log: tuple[tuple[str, str], ...] = ()) -> None:
    monkeypatch.setattr(kubernetes, "is_configured", lambda: True)
    monkeypatch.setattr(kubernetes, "pods", lambda namespace, selector: pods)
    monkeypatch.setattr(kubernetes, "log", lambda namespace, pod, seconds: list(log))
    monkeypatch.setattr(kubernetes, "nodes", list)
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: {})


def test_steps_are_told_as_they_start_and_end(run: Run, heard: Heard, serve):
    looks = [
        ("RUNNING", {"ingest": "RUNNING"}),
        ("RUNNING", {"ingest": "SUCCEEDED", "clean": "RUNNING"}),
        ("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"}),
    ]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert heard.states == [
        ("ingest", runs.RUNNING),
        ("ingest", runs.SUCCEEDED),
        ("clean", runs.RUNNING),
        ("clean", runs.SUCCEEDED),
    ]
    kept = runs.find_run(run.folder.parent)
    assert (kept.state, kept.step("ingest").seconds) == (runs.SUCCEEDED, 7.0)


@pytest.mark.parametrize("failure", [503, 500], ids=["itself", "its database"])
def test_a_server_that_restarts_is_waited_for_and_that_is_said_once(run: Run, heard: Heard, serve, capsys, failure):
    server = serve(looks=[("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})])
    server.failures, server.failure = 3, failure
    follow.follow(run, None, server_at(server.endpoint, run.folder), heard)
    said = capsys.readouterr().out
    assert run.state == runs.SUCCEEDED
    assert said.count("does not answer") == 1
    assert "it answers again" in said


def test_a_server_that_stays_away_ends_the_watch_and_not_the_run(run: Run, heard: Heard, monkeypatch):
    monkeypatch.setattr(follow, "PATIENCE_SECONDS", -1)
    with pytest.raises(ServiceError, match=f"follow {run.id}"):
        follow.follow(run, None, server_at("http://127.0.0.1:9", run.folder), heard)
    assert runs.find_run(run.folder.parent).state == runs.RUNNING


def test_a_failed_step_speaks_its_own_words(run: Run, heard: Heard, serve, monkeypatch):
    ended = replace(POD, phase="Failed", ended="Error", told="exit code 1", finished=NOW + timedelta(seconds=3))
    log = (
        ("2026-11-25T10:00:01.1Z", "I1125 10:00:01.000000 12 launcher_v2.go:123] starting"),
        ("2026-11-25T10:00:01.2Z", "Traceback (most recent call last):"),
        ("2026-11-25T10:00:01.3Z", "toolchain.errors.DataError: there is no column 'text'; there are 'a', 'b'"),
        ("2026-11-25T10:00:01.4Z", "F1125 10:00:02.000000 12 main.go:50] exit status 1"),
        ("2026-11-25T10:00:01.5Z", 'time=2026-11-25T10:00:02.1Z level=INFO msg="sub-process exited" argo=true'),
        ("2026-11-25T10:00:01.6Z", "Error: exit status 1"),
    )
    see(monkeypatch, [ended], log)
    follow.follow(run, None, server_at(serve(looks=[("FAILED", {"ingest": "FAILED"})]).endpoint, run.folder), heard)
    assert run.state == runs.FAILED
    assert run.step("ingest").error == "there is no column 'text'; there are 'a', 'b'"
    assert run.step("clean").state == runs.WAITING


def test_lines_of_a_log_are_kept_and_told_once(run: Run, heard: Heard, serve, monkeypatch):
    log = (("2026-11-25T10:00:01.1Z", "progress: ingest 1/2"), ("2026-11-25T10:00:02.1Z", "progress: ingest 2/2"))
    see(monkeypatch, [POD], log)
    looks = [("RUNNING", {"ingest": "RUNNING"})] * 3 + [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert heard.lines == ["progress: ingest 1/2", "progress: ingest 2/2"]
    assert (run.folder / "logs" / "data.ingest.log").read_text() == "progress: ingest 1/2\nprogress: ingest 2/2\n"


def test_a_step_without_a_pod_was_cached_and_its_output_is_where_the_next_step_took_it_from(
    run: Run, heard: Heard, serve, monkeypatch
):
    from cli.compiled.catalog import find
    from cli.compiled.spec import load

    taken = '{"inputs": {"artifacts": {"raw": {"artifacts": [{"uri": "s3://b/v2/raw"}]}}}}'
    labels = {"app.kubernetes.io/component": "data.clean"}
    see(monkeypatch, [replace(POD, labels=labels, command=("launch", "--executor_input", taken), finished=NOW)])
    looks = [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    spec = load(find("prepare"), run.folder)
    run.steps.append(StepRecord("split", "data.split", ""))
    follow.follow(run, spec, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert run.step("ingest").cached
    assert not run.step("clean").cached
    assert run.step("ingest").outputs["dataset"] == "s3://b/v2/raw"


def test_an_image_that_is_not_there_ends_the_run_and_is_named(run: Run, heard: Heard, serve, monkeypatch):
    monkeypatch.setattr(follow, "trouble_of", lambda pod, nodes: replace(trouble_of(pod, nodes), patience=0))
    pod = replace(
        POD, phase="Pending", started=None, waits="ErrImageNeverPull", told='Container image "x/base:9" is not'
    )
    see(monkeypatch, [pod])
    server = serve(looks=[("RUNNING", {"ingest": "RUNNING"})])
    follow.follow(run, None, server_at(server.endpoint, run.folder), heard)
    assert "r1:terminate" in server.posted
    assert run.state == runs.FAILED
    assert "x/base:9" in run.step("ingest").error
    assert "make images" in run.step("ingest").error


def test_a_trouble_that_comes_back_is_waited_for_anew(run: Run, heard: Heard, serve, monkeypatch):
    monkeypatch.setattr(
        follow, "trouble_of", lambda pod, nodes: pod.waits and replace(trouble_of(pod, []), patience=1e-9)
    )
    pending = replace(POD, phase="Pending", started=None, waits="ImagePullBackOff", told='image "x/base:9"')
    see(monkeypatch, [])
    seen = iter([[pending], [POD], [pending], [POD]])
    monkeypatch.setattr(kubernetes, "pods", lambda namespace, selector: next(seen))
    looks = [("RUNNING", {"ingest": "RUNNING"})] * 3 + [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert run.state == runs.SUCCEEDED


def test_a_step_that_could_not_be_prepared_is_the_one_that_failed(run: Run, heard: Heard, serve, monkeypatch):
    see(monkeypatch, [replace(POD, phase="Succeeded", finished=NOW)])
    said = {"tidy(0).root(0).clean-driver(0)": "wait: Error (exit code 64): failed to put file"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: said)
    follow.follow(run, None, server_at(serve(looks=[("FAILED", {"ingest": "SUCCEEDED"})]).endpoint, run.folder), heard)
    assert (run.step("ingest").state, run.step("clean").state) == (runs.SUCCEEDED, runs.FAILED)
    assert "failed to put file" in run.step("clean").error


DENIED = (
    'persistentvolumeclaims is forbidden: User "steps" cannot create resource "persistentvolumeclaims" in API group ""'
)


def test_a_right_that_is_missing_ends_the_run_and_stands_in_its_record(run: Run, heard: Heard, serve, monkeypatch):
    monkeypatch.setattr("cli.run.pod_diagnostics.SECONDS_FOR_AN_IMAGE", 0.0)
    see(monkeypatch, [])
    said = {"tidy(0).root(0).clean-driver(0)": f"main: Error (exit code 1): failed to create pvc: {DENIED}"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: said)
    server = serve(looks=[("RUNNING", {})] * 3)
    follow.follow(run, None, server_at(server.endpoint, run.folder), heard)
    assert "progress: waits: steps is not allowed to create persistentvolumeclaims" in heard.lines[0]
    kept = runs.find_run(run.folder.parent)
    assert kept.state == runs.FAILED
    assert "steps is not allowed to create persistentvolumeclaims" in kept.step("clean").error


def test_a_step_that_failed_before_it_had_a_pod_is_told_with_its_drivers_error(
    run: Run, heard: Heard, serve, monkeypatch
):
    see(monkeypatch, [])
    said = {"tidy(0).root(0).clean-driver(0)": f"main: Error (exit code 1): failed to create pvc: {DENIED}"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: said)
    looks = [("FAILED", {"ingest": "SUCCEEDED", "clean": "FAILED"})]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert "is not allowed to create persistentvolumeclaims" in run.step("clean").error


def test_a_step_that_the_server_has_lost_sight_of_is_told_by_its_pods(run: Run, heard: Heard, serve, monkeypatch):
    """As in a run whose record Argo packs: the server goes on to call its later steps nothing at all."""
    done = replace(POD, phase="Succeeded", finished=NOW + timedelta(seconds=4))
    labels = {"app.kubernetes.io/component": "data.clean"}
    failed = replace(POD, name="tidy-2", labels=labels, phase="Failed", ended="Error", finished=NOW)
    see(monkeypatch, [done, failed], (("2026-11-25T10:00:01.1Z", "toolchain.errors.DataError: no rows"),))
    looks = [("RUNNING", {}), ("FAILED", {"root": "RUNNING"})]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert (run.step("ingest").state, run.step("ingest").seconds) == (runs.SUCCEEDED, 4.0)
    assert (run.step("clean").state, run.step("clean").error) == (runs.FAILED, "no rows")


def test_a_cached_step_that_the_server_has_lost_sight_of_is_told_at_the_end(run: Run, heard: Heard, serve, monkeypatch):
    see(monkeypatch, [replace(POD, phase="Succeeded", finished=NOW)])
    follow.follow(run, None, server_at(serve(looks=[("SUCCEEDED", {})]).endpoint, run.folder), heard)
    assert (run.step("clean").state, run.step("clean").cached) == (runs.SUCCEEDED, True)


def test_a_driver_that_waits_is_told_at_the_step_that_it_prepares(run: Run, heard: Heard, serve, monkeypatch):
    node = {"workflows.argoproj.io/node-name": "tidy-x(0).root(0).clean-driver(0)"}
    pod = replace(
        POD, labels={}, annotations=node, phase="Pending", started=None, waits="Unschedulable", told="0/1 nodes"
    )
    see(monkeypatch, [pod])
    monkeypatch.setattr(kubernetes, "nodes", lambda: [Node("node0", {}, 2.0, 8 << 30, {})])
    looks = [("RUNNING", {}), ("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(looks=looks).endpoint, run.folder), heard)
    assert heard.lines == ["progress: waits: 0/1 nodes"]


def test_a_run_that_somebody_stopped_blames_no_step(run: Run, heard: Heard, serve):
    server = serve(looks=[("FAILED", {"ingest": "FAILED"})])
    server.history = ["RUNNING", "CANCELING", "FAILED"]
    follow.follow(run, None, server_at(server.endpoint, run.folder), heard)
    assert (run.state, run.step("ingest").state, run.step("clean").state) == (
        runs.INTERRUPTED,
        runs.INTERRUPTED,
        runs.WAITING,
    )


@pytest.mark.parametrize(
    ("node", "task"),
    [
        ("tidy-x1.root.train-transformers.executor", "train-transformers"),
        ("tidy-x1(0).root(0).clean(0).executor(0)", "clean"),
        ("tidy-x1(0).root(0).clean-driver(1)", "clean"),
        ("tidy-x1.root-driver", ""),
    ],
)
def test_argos_name_of_a_node_holds_the_task(node: str, task: str):
    assert follow._task_in(node) == task


def trouble_of(pod: Pod, nodes: list[Node]):
    from cli.run import pod_diagnostics

    return pod_diagnostics.trouble_of(pod, nodes)


LAUNCHED = "F1125 17:39:21.505951      16 main.go:60] failed to execute component: {}"


@pytest.mark.parametrize(
    ("pod", "log", "told"),
    [
        ({"exit_code": 137}, "progress: train 3/10", "killed by the system (SIGKILL)"),
        ({"exit_code": 137}, "", "killed by the system (SIGKILL)"),
        ({"exit_code": 139}, "progress: train 3/10", "ended by SIGSEGV"),
        ({"exit_code": 1}, LAUNCHED.format("signal: killed"), "killed by the system (SIGKILL)"),
        ({"exit_code": 1}, LAUNCHED.format("exit status 137"), "killed by the system (SIGKILL)"),
        ({"exit_code": 1}, LAUNCHED.format("signal: segmentation fault (core dumped)"), "ended by SIGSEGV"),
        ({"exit_code": 3}, LAUNCHED.format("exit status 3"), "exit code 3"),
        ({"exit_code": 1}, LAUNCHED.format("failed to upload output artifact"), "could not be fetched or kept"),
        ({"exit_code": 137, "ended": "OOMKilled"}, "", "it took more than its 1.0 GiB of memory"),
    ],
)
def test_how_a_pod_ended_is_told_by_its_status_and_its_log(
    run: Run, heard: Heard, serve, monkeypatch, pod: dict, log: str, told: str
):
    failed = replace(POD, **{"phase": "Failed", "ended": "Error", "told": "exit code 3", "finished": NOW, **pod})
    see(monkeypatch, [failed], (("2026-11-25T10:00:01.1Z", log),) if log else ())
    server = serve(looks=[("FAILED", {"ingest": "FAILED"})])
    follow.follow(run, None, server_at(server.endpoint, run.folder), heard)
    assert told in run.step("ingest").error
