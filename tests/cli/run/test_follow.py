"""Following a run on a cluster: KFP's real client against the fake server of conftest.py, with fake pods."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from cli.cluster.kfp_client import Server
from cli.records import runs
from cli.records.runs import Run, StepRecord
from cli.run import follow, waiting_pods
from cli.settings import Settings
from tests.support.pods import NOW, POD, Recorder
from toolchain.errors import ServiceError
from toolchain.services import kubernetes
from toolchain.services.kubernetes import Node, Pod

pytestmark = pytest.mark.machine


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(follow, "POLL_INTERVAL_S", 0)
    monkeypatch.setattr(kubernetes, "is_configured", lambda: False)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = runs.new_run(
        "tidy", tmp_path, {}, [StepRecord("ingest", "data.ingest", ""), StepRecord("clean", "data.clean", "")]
    )
    made.engine, made.kfp_run_id = runs.CLUSTER, "r1"
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


def test_steps_are_reported_as_they_start_and_end(run: Run, recorder: Recorder, serve):
    polls = [
        ("RUNNING", {"ingest": "RUNNING"}),
        ("RUNNING", {"ingest": "SUCCEEDED", "clean": "RUNNING"}),
        ("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"}),
    ]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert recorder.states == [
        ("ingest", runs.RUNNING),
        ("ingest", runs.SUCCEEDED),
        ("clean", runs.RUNNING),
        ("clean", runs.SUCCEEDED),
    ]
    kept = runs.find_run(run.folder.parent)
    assert (kept.state, kept.step("ingest").seconds) == (runs.SUCCEEDED, 7.0)


@pytest.mark.parametrize("failure", [503, 500], ids=["itself", "its database"])
def test_a_restart_of_the_server_is_logged_once_and_retried(run: Run, recorder: Recorder, serve, capsys, failure):
    server = serve(polls=[("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})])
    server.failures, server.failure = 3, failure
    follow.follow(run, None, server_at(server.endpoint, run.folder), recorder)
    messages = capsys.readouterr().out
    assert run.state == runs.SUCCEEDED
    assert messages.count("does not respond") == 1
    assert "responds again" in messages


def test_a_server_that_stays_down_does_not_end_the_run(run: Run, recorder: Recorder, monkeypatch):
    monkeypatch.setattr(follow, "SERVER_TIMEOUT_S", -1)
    with pytest.raises(ServiceError, match=f"follow {run.id}"):
        follow.follow(run, None, server_at("http://127.0.0.1:9", run.folder), recorder)
    assert runs.find_run(run.folder.parent).state == runs.RUNNING


def test_a_failed_step_has_the_message_of_its_own_error(run: Run, recorder: Recorder, serve, monkeypatch):
    ended = replace(
        POD, phase="Failed", termination_reason="Error", message="exit code 1", finished=NOW + timedelta(seconds=3)
    )
    log = (
        ("2026-11-25T10:00:01.1Z", "I1125 10:00:01.000000 12 launcher_v2.go:123] starting"),
        ("2026-11-25T10:00:01.2Z", "Traceback (most recent call last):"),
        ("2026-11-25T10:00:01.3Z", "toolchain.errors.DataError: there is no column 'text'; there are 'a', 'b'"),
        ("2026-11-25T10:00:01.4Z", "F1125 10:00:02.000000 12 main.go:50] exit status 1"),
        ("2026-11-25T10:00:01.5Z", 'time=2026-11-25T10:00:02.1Z level=INFO msg="sub-process exited" argo=true'),
        ("2026-11-25T10:00:01.6Z", "Error: exit status 1"),
    )
    see(monkeypatch, [ended], log)
    follow.follow(run, None, server_at(serve(polls=[("FAILED", {"ingest": "FAILED"})]).endpoint, run.folder), recorder)
    assert run.state == runs.FAILED
    assert run.step("ingest").error == "there is no column 'text'; there are 'a', 'b'"
    assert run.step("clean").state == runs.WAITING


def test_each_line_of_a_log_is_stored_and_printed_once(run: Run, recorder: Recorder, serve, monkeypatch):
    log = (("2026-11-25T10:00:01.1Z", "progress: ingest 1/2"), ("2026-11-25T10:00:02.1Z", "progress: ingest 2/2"))
    see(monkeypatch, [POD], log)
    polls = [("RUNNING", {"ingest": "RUNNING"})] * 3 + [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert recorder.lines == ["progress: ingest 1/2", "progress: ingest 2/2"]
    assert (run.folder / "logs" / "data.ingest.log").read_text() == "progress: ingest 1/2\nprogress: ingest 2/2\n"


def test_the_output_of_a_cached_step_without_a_pod_is_the_input_of_the_next_step(
    run: Run, recorder: Recorder, serve, monkeypatch
):
    from cli.compiled.catalog import find
    from cli.compiled.spec import load

    taken = '{"inputs": {"artifacts": {"raw": {"artifacts": [{"uri": "s3://b/v2/raw"}]}}}}'
    labels = {"app.kubernetes.io/component": "data.clean"}
    see(monkeypatch, [replace(POD, labels=labels, command=("launch", "--executor_input", taken), finished=NOW)])
    polls = [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    spec = load(find("prepare"), run.folder)
    run.steps.append(StepRecord("split", "data.split", ""))
    follow.follow(run, spec, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert run.step("ingest").cached
    assert not run.step("clean").cached
    assert run.step("ingest").outputs["dataset"] == "s3://b/v2/raw"


def test_a_missing_image_stops_the_run_and_is_named(run: Run, recorder: Recorder, serve, monkeypatch):
    monkeypatch.setattr(waiting_pods, "find_problem", lambda pod, nodes: replace(find_problem(pod, nodes), timeout_s=0))
    pod = replace(
        POD,
        phase="Pending",
        started=None,
        waiting_reason="ErrImageNeverPull",
        message='Container image "x/base:9" is not',
    )
    see(monkeypatch, [pod])
    server = serve(polls=[("RUNNING", {"ingest": "RUNNING"})])
    follow.follow(run, None, server_at(server.endpoint, run.folder), recorder)
    assert "r1:terminate" in server.posted
    assert run.state == runs.FAILED
    assert "x/base:9" in run.step("ingest").error
    assert "make images" in run.step("ingest").error


def test_the_timeout_of_a_problem_that_comes_back_starts_anew(run: Run, recorder: Recorder, serve, monkeypatch):
    monkeypatch.setattr(
        waiting_pods,
        "find_problem",
        lambda pod, nodes: pod.waiting_reason and replace(find_problem(pod, []), timeout_s=1e-9),
    )
    pending = replace(POD, phase="Pending", started=None, waiting_reason="ImagePullBackOff", message='image "x/base:9"')
    see(monkeypatch, [])
    seen = iter([[pending], [POD], [pending], [POD]])
    monkeypatch.setattr(kubernetes, "pods", lambda namespace, selector: next(seen))
    polls = [("RUNNING", {"ingest": "RUNNING"})] * 3 + [("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert run.state == runs.SUCCEEDED


def test_a_step_that_could_not_be_prepared_has_failed(run: Run, recorder: Recorder, serve, monkeypatch):
    see(monkeypatch, [replace(POD, phase="Succeeded", finished=NOW)])
    messages = {"tidy(0).root(0).clean-driver(0)": "wait: Error (exit code 64): failed to put file"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: messages)
    follow.follow(
        run, None, server_at(serve(polls=[("FAILED", {"ingest": "SUCCEEDED"})]).endpoint, run.folder), recorder
    )
    assert (run.step("ingest").state, run.step("clean").state) == (runs.SUCCEEDED, runs.FAILED)
    assert "failed to put file" in run.step("clean").error


DENIED = (
    'persistentvolumeclaims is forbidden: User "steps" cannot create resource "persistentvolumeclaims" in API group ""'
)


def test_a_missing_permission_stops_the_run_and_is_recorded(run: Run, recorder: Recorder, serve, monkeypatch):
    monkeypatch.setattr("cli.run.pod_diagnostics.IMAGE_TIMEOUT_S", 0.0)
    see(monkeypatch, [])
    messages = {"tidy(0).root(0).clean-driver(0)": f"main: Error (exit code 1): failed to create pvc: {DENIED}"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: messages)
    server = serve(polls=[("RUNNING", {})] * 3)
    follow.follow(run, None, server_at(server.endpoint, run.folder), recorder)
    assert "progress: waiting: steps is not allowed to create persistentvolumeclaims" in recorder.lines[0]
    kept = runs.find_run(run.folder.parent)
    assert kept.state == runs.FAILED
    assert "steps is not allowed to create persistentvolumeclaims" in kept.step("clean").error


def test_a_step_that_failed_without_a_pod_has_the_error_of_its_driver(run: Run, recorder: Recorder, serve, monkeypatch):
    see(monkeypatch, [])
    messages = {"tidy(0).root(0).clean-driver(0)": f"main: Error (exit code 1): failed to create pvc: {DENIED}"}
    monkeypatch.setattr(kubernetes, "argo_messages", lambda namespace, run: messages)
    polls = [("FAILED", {"ingest": "SUCCEEDED", "clean": "FAILED"})]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert "is not allowed to create persistentvolumeclaims" in run.step("clean").error


def test_pods_determine_the_state_of_a_step_that_the_server_does_not_report(
    run: Run, recorder: Recorder, serve, monkeypatch
):
    """As in a run whose record Argo compresses: the server reports no state for later steps."""
    done = replace(POD, phase="Succeeded", finished=NOW + timedelta(seconds=4))
    labels = {"app.kubernetes.io/component": "data.clean"}
    failed = replace(POD, name="tidy-2", labels=labels, phase="Failed", termination_reason="Error", finished=NOW)
    see(monkeypatch, [done, failed], (("2026-11-25T10:00:01.1Z", "toolchain.errors.DataError: no rows"),))
    polls = [("RUNNING", {}), ("FAILED", {"root": "RUNNING"})]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert (run.step("ingest").state, run.step("ingest").seconds) == (runs.SUCCEEDED, 4.0)
    assert (run.step("clean").state, run.step("clean").error) == (runs.FAILED, "no rows")


def test_a_cached_step_that_the_server_does_not_report_has_succeeded_at_the_end(
    run: Run, recorder: Recorder, serve, monkeypatch
):
    see(monkeypatch, [replace(POD, phase="Succeeded", finished=NOW)])
    follow.follow(run, None, server_at(serve(polls=[("SUCCEEDED", {})]).endpoint, run.folder), recorder)
    assert (run.step("clean").state, run.step("clean").cached) == (runs.SUCCEEDED, True)


def test_a_waiting_driver_is_reported_for_the_step_that_it_prepares(run: Run, recorder: Recorder, serve, monkeypatch):
    node = {"workflows.argoproj.io/node-name": "tidy-x(0).root(0).clean-driver(0)"}
    pod = replace(
        POD,
        labels={},
        annotations=node,
        phase="Pending",
        started=None,
        waiting_reason="Unschedulable",
        message="0/1 nodes",
    )
    see(monkeypatch, [pod])
    monkeypatch.setattr(kubernetes, "nodes", lambda: [Node("node0", {}, 2.0, 8 << 30, {})])
    polls = [("RUNNING", {}), ("SUCCEEDED", {"ingest": "SUCCEEDED", "clean": "SUCCEEDED"})]
    follow.follow(run, None, server_at(serve(polls=polls).endpoint, run.folder), recorder)
    assert recorder.lines == ["progress: waiting: 0/1 nodes"]


def test_no_step_fails_in_a_run_that_a_user_stopped(run: Run, recorder: Recorder, serve):
    server = serve(polls=[("FAILED", {"ingest": "FAILED"})])
    server.history = ["RUNNING", "CANCELING", "FAILED"]
    follow.follow(run, None, server_at(server.endpoint, run.folder), recorder)
    assert (run.state, run.step("ingest").state, run.step("clean").state) == (
        runs.INTERRUPTED,
        runs.INTERRUPTED,
        runs.WAITING,
    )


def find_problem(pod: Pod, nodes: list[Node]):
    from cli.run import pod_diagnostics

    return pod_diagnostics.find_problem(pod, nodes)


LAUNCHED = "F1125 17:39:21.505951      16 main.go:60] failed to execute component: {}"


@pytest.mark.parametrize(
    ("pod", "log", "message"),
    [
        ({"exit_code": 137}, "progress: train 3/10", "killed by SIGKILL"),
        ({"exit_code": 137}, "", "killed by SIGKILL"),
        ({"exit_code": 139}, "progress: train 3/10", "ended by SIGSEGV"),
        ({"exit_code": 1}, LAUNCHED.format("signal: killed"), "killed by SIGKILL"),
        ({"exit_code": 1}, LAUNCHED.format("exit status 137"), "killed by SIGKILL"),
        ({"exit_code": 1}, LAUNCHED.format("signal: segmentation fault (core dumped)"), "ended by SIGSEGV"),
        ({"exit_code": 3}, LAUNCHED.format("exit status 3"), "exit code 3"),
        (
            {"exit_code": 1},
            LAUNCHED.format("failed to upload output artifact"),
            "artifacts could not be downloaded or uploaded",
        ),
        ({"exit_code": 137, "termination_reason": "OOMKilled"}, "", "out of memory (limit 1.0 GiB)"),
    ],
)
def test_a_failure_is_explained_by_the_status_and_the_log_of_the_pod(
    run: Run, recorder: Recorder, serve, monkeypatch, pod: dict, log: str, message: str
):
    failed = replace(
        POD, **{"phase": "Failed", "termination_reason": "Error", "message": "exit code 3", "finished": NOW, **pod}
    )
    see(monkeypatch, [failed], (("2026-11-25T10:00:01.1Z", log),) if log else ())
    server = serve(polls=[("FAILED", {"ingest": "FAILED"})])
    follow.follow(run, None, server_at(server.endpoint, run.folder), recorder)
    assert message in run.step("ingest").error
