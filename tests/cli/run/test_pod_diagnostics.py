from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.run.pod_diagnostics import artifact_failure, find_denial, find_problem, first_cause, termination_message
from toolchain.services.kubernetes import Node, Pod

GIB = 1024**3
POD = Pod(
    "p", {}, {}, "Pending", "", "r/train:1", (), "Unschedulable", "", "", datetime.now(UTC), None, None, 1.0, GIB, {}
)
NODE = Node("node0", {}, 2.0, 8 * GIB, {})


def test_a_starting_pod_has_no_problem():
    assert find_problem(replace(POD, waiting_reason="ContainerCreating"), []) is None


@pytest.mark.parametrize("word", ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"])
def test_a_missing_image_is_named_and_has_a_short_timeout(word: str):
    problem = find_problem(replace(POD, waiting_reason=word, message='Back-off pulling image "r/train:2"'), [])
    assert problem
    assert "r/train:2" in problem.message
    assert problem.timeout_s
    assert problem.timeout_s < 60


def test_a_gpu_that_no_node_has_is_named():
    problem = find_problem(replace(POD, gpus={"nvidia.com/gpu": 1}), [NODE])
    assert problem
    assert problem.message == "no node of the cluster has 1 nvidia.com/gpu"
    assert "num_gpus=0" in problem.hint


def test_a_busy_gpu_has_no_timeout():
    busy = replace(NODE, gpus={"nvidia.com/gpu": 1})
    pod = replace(POD, gpus={"nvidia.com/gpu": 1}, message="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    problem = find_problem(pod, [busy])
    assert problem
    assert problem.timeout_s is None
    assert "Insufficient nvidia.com/gpu" in problem.message


def test_a_step_that_fits_on_no_node_gets_the_hint_to_be_smaller():
    problem = find_problem(replace(POD, cpu=4.0), [NODE])
    assert problem
    assert "4 cores" in problem.message
    assert "--resources small" in problem.hint


def test_an_exceeded_quota_is_reported():
    problem = find_denial('pods "x" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=2, limited: cpu=2')
    assert problem
    assert problem.type == "quota"
    assert "limited: cpu=2" in problem.message


DRIVER = (  # what KFP 2.17's driver logged on a cluster whose steps had no right to claims, as Argo keeps it
    "main: Error (exit code 1): I1125 17:39:21.494487      16 driver.go:98] input parameters\n"
    "F1125 17:39:21.505951      16 main.go:127] KFP driver: driver.Container(pipelineName=pvc, runID=1) failed: "
    "failed to create pvc: persistentvolumeclaims is forbidden: "
    'User "system:serviceaccount:toolchain:toolchain-steps" cannot create resource '
    '"persistentvolumeclaims" in API group "" in the namespace "toolchain"\n'
    'time=2026-11-25T17:39:22.418Z level=INFO msg="sub-process exited"'
)


def test_a_missing_permission_is_named_with_its_user_and_what_grants_it():
    problem = find_denial(DRIVER)
    assert problem
    assert problem.type == "permission"
    assert (
        problem.message
        == "system:serviceaccount:toolchain:toolchain-steps is not allowed to create persistentvolumeclaims"
    )
    assert "steps.permissions" in problem.hint
    assert first_cause({"pvc(0).root(0).createpvc-driver(0)": DRIVER})[1] == f"{problem.message}; {problem.hint}"


def test_a_resource_of_an_api_group_is_named_with_the_group():
    problem = find_denial(
        'jobs.batch is forbidden: User "u" cannot list resource "jobs" in API group "batch" in the namespace "n"'
    )
    assert problem
    assert problem.message == "u is not allowed to list jobs.batch"


def test_a_denial_by_an_admission_rule_has_its_message():
    problem = find_denial('pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged\nsecond line')
    assert problem
    assert problem.type == "forbidden"
    assert problem.message == 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'


def test_other_messages_of_argo_are_no_denial():
    assert find_denial("Max duration limit exceeded") is None


def test_only_a_termination_by_kubernetes_has_a_message():
    assert "1.0 GiB" in termination_message(replace(POD, termination_reason="OOMKilled"))
    assert "low on resource: memory" in termination_message(
        replace(POD, termination_reason="Evicted", message="low on resource: memory")
    )
    assert termination_message(replace(POD, termination_reason="Error")) == ""


def test_the_cause_is_the_error_of_the_first_attempt():
    messages = {
        "tidy(0)": "child 'tidy-1' failed",
        "tidy(0).root(0).clean-driver": "No more retries left",
        "tidy(0).root(0).clean-driver(1)": "main: Error (exit code 1): two tasks have the same task name",
        "tidy(0).root(0).clean-driver(0)": "wait: Error (exit code 64): failed to put file: no such host",
        "tidy(0).root(0).clean": "omitted: depends condition not met",
    }
    assert first_cause(messages) == (
        "tidy(0).root(0).clean-driver(0)",
        "wait: Error (exit code 64): failed to put file: no such host",
    )
    assert first_cause({"tidy(0)": "child 'tidy-1' failed"}) == ("", "")


def test_the_cause_in_a_drivers_log_is_its_fatal_error():
    log = (
        'main: Error (exit code 1): fields:{key:"validation"}\nI1125 17:39:21.494487      16 resolve.go:138] parent\n'
        "F1125 17:39:21.505951      16 main.go:127] KFP driver: failed to resolve inputs: no such bucket\n"
        'time=2026-11-25T17:39:22.418Z level=INFO msg="sub-process exited"'
    )
    assert first_cause({"tidy(0)": log})[1] == "failed to resolve inputs: no such bucket"
    assert len(first_cause({"tidy(0)": "word " * 200})[1]) < 500


def test_an_artifact_failure_is_reported_and_the_exit_of_the_step_is_not():
    start = "F1125 17:45:56.589993      16 main.go:130] failed to execute component: "
    assert "SignatureDoesNotMatch" in artifact_failure(
        f"rows 7\n{start}failed to upload: SignatureDoesNotMatch\nError: exit status 1"
    )
    assert artifact_failure(f"toolchain.errors.DataError: no rows\n{start}exit status 1") == ""
