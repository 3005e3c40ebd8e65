from dataclasses import replace
from datetime import UTC, datetime

import pytest

from cli.run.pod_diagnostics import around, cause_of, ending_of, forbidden, trouble_of
from toolchain.services.kubernetes import Node, Pod

GIB = 1024**3
POD = Pod(
    "p", {}, {}, "Pending", "", "r/train:1", (), "Unschedulable", "", "", datetime.now(UTC), None, None, 1.0, GIB, {}
)
NODE = Node("node0", {}, 2.0, 8 * GIB, {})


def test_a_pod_that_is_only_being_started_has_no_trouble():
    assert trouble_of(replace(POD, waits="ContainerCreating"), []) is None


@pytest.mark.parametrize("word", ["ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"])
def test_a_missing_image_is_named_and_soon_given_up(word: str):
    trouble = trouble_of(replace(POD, waits=word, told='Back-off pulling image "r/train:2"'), [])
    assert trouble
    assert "r/train:2" in trouble.told
    assert trouble.patience
    assert trouble.patience < 60


def test_a_gpu_that_no_node_has_is_said_plainly():
    trouble = trouble_of(replace(POD, gpus={"nvidia.com/gpu": 1}), [NODE])
    assert trouble
    assert trouble.told == "no node of the cluster has 1 nvidia.com/gpu"
    assert "num_gpus=0" in trouble.advice


def test_a_gpu_that_is_only_busy_is_waited_for():
    busy = replace(NODE, gpus={"nvidia.com/gpu": 1})
    pod = replace(POD, gpus={"nvidia.com/gpu": 1}, told="0/1 nodes are available: 1 Insufficient nvidia.com/gpu.")
    trouble = trouble_of(pod, [busy])
    assert trouble
    assert trouble.patience is None
    assert "Insufficient nvidia.com/gpu" in trouble.told


def test_a_step_larger_than_any_node_is_told_to_be_smaller():
    trouble = trouble_of(replace(POD, cpu=4.0), [NODE])
    assert trouble
    assert "4 cores" in trouble.told
    assert "--resources small" in trouble.advice


def test_a_full_quota_is_told():
    trouble = forbidden('pods "x" is forbidden: exceeded quota: q, requested: cpu=1, used: cpu=2, limited: cpu=2')
    assert trouble
    assert trouble.kind == "quota"
    assert "limited: cpu=2" in trouble.told


DRIVER = (  # what KFP 2.17's driver logged on a cluster whose steps had no right to claims, as Argo keeps it
    "main: Error (exit code 1): I1125 17:39:21.494487      16 driver.go:98] input parameters\n"
    "F1125 17:39:21.505951      16 main.go:127] KFP driver: driver.Container(pipelineName=pvc, runID=1) failed: "
    "failed to create pvc: persistentvolumeclaims is forbidden: "
    'User "system:serviceaccount:toolchain:toolchain-steps" cannot create resource '
    '"persistentvolumeclaims" in API group "" in the namespace "toolchain"\n'
    'time=2026-11-25T17:39:22.418Z level=INFO msg="sub-process exited"'
)


def test_a_right_that_steps_do_not_have_is_named_with_who_lacks_it_and_what_grants_it():
    trouble = forbidden(DRIVER)
    assert trouble
    assert trouble.kind == "rights"
    assert (
        trouble.told
        == "system:serviceaccount:toolchain:toolchain-steps is not allowed to create persistentvolumeclaims"
    )
    assert "steps.permissions" in trouble.advice
    assert cause_of({"pvc(0).root(0).createpvc-driver(0)": DRIVER})[1] == f"{trouble.told}; {trouble.advice}"


def test_a_resource_of_an_api_group_is_named_with_it():
    trouble = forbidden(
        'jobs.batch is forbidden: User "u" cannot list resource "jobs" in API group "batch" in the namespace "n"'
    )
    assert trouble
    assert trouble.told == "u is not allowed to list jobs.batch"


def test_what_an_admission_rule_forbids_is_told_in_its_words():
    trouble = forbidden('pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged\nsecond line')
    assert trouble
    assert trouble.kind == "forbidden"
    assert trouble.told == 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged'


def test_other_words_of_argo_are_no_trouble():
    assert forbidden("Max duration limit exceeded") is None


def test_the_end_of_a_pod_from_outside_is_told_and_its_own_is_not():
    assert "1.0 GiB" in ending_of(replace(POD, ended="OOMKilled"))
    assert "low on resource: memory" in ending_of(replace(POD, ended="Evicted", told="low on resource: memory"))
    assert ending_of(replace(POD, ended="Error")) == ""


def test_the_cause_is_what_the_first_attempt_said_and_not_what_follows_from_it():
    said = {
        "tidy(0)": "child 'tidy-1' failed",
        "tidy(0).root(0).clean-driver": "No more retries left",
        "tidy(0).root(0).clean-driver(1)": "main: Error (exit code 1): two tasks have the same task name",
        "tidy(0).root(0).clean-driver(0)": "wait: Error (exit code 64): failed to put file: no such host",
        "tidy(0).root(0).clean": "omitted: depends condition not met",
    }
    assert cause_of(said) == (
        "tidy(0).root(0).clean-driver(0)",
        "wait: Error (exit code 64): failed to put file: no such host",
    )
    assert cause_of({"tidy(0)": "child 'tidy-1' failed"}) == ("", "")


def test_of_a_drivers_log_its_last_words_are_told():
    log = (
        'main: Error (exit code 1): fields:{key:"validation"}\nI1125 17:39:21.494487      16 resolve.go:138] parent\n'
        "F1125 17:39:21.505951      16 main.go:127] KFP driver: failed to resolve inputs: no such bucket\n"
        'time=2026-11-25T17:39:22.418Z level=INFO msg="sub-process exited"'
    )
    assert cause_of({"tidy(0)": log})[1] == "failed to resolve inputs: no such bucket"
    assert len(cause_of({"tidy(0)": "word " * 200})[1]) < 500


def test_artifacts_that_could_not_be_kept_are_told_and_the_end_of_the_step_is_not():
    start = "F1125 17:45:56.589993      16 main.go:130] failed to execute component: "
    assert "SignatureDoesNotMatch" in around(
        f"rows 7\n{start}failed to upload: SignatureDoesNotMatch\nError: exit status 1"
    )
    assert around(f"toolchain.errors.DataError: no rows\n{start}exit status 1") == ""
