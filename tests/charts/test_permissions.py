"""What pods of runs may do through the Kubernetes API, by ``steps.permissions``."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

Resources = tuple[dict[str, Any], ...]
# (API group, resource) -> verbs that upstream's account pipeline-runner has in KFP 2.17, of what KFP's samples use:
# manifests/kustomize/base/pipeline/pipeline-runner-role.yaml, where "*" stands for all verbs.
ALL = {"get", "list", "watch", "create", "update", "patch", "delete"}
UPSTREAM = {
    ("", "secrets"): {"get"},
    ("", "configmaps"): {"get", "list", "watch"},
    ("", "persistentvolumeclaims"): ALL,
    ("", "pods"): ALL,
    ("", "pods/exec"): ALL,
    ("", "pods/log"): ALL,
    ("", "services"): ALL,
    ("snapshot.storage.k8s.io", "volumesnapshots"): {"get", "create", "delete"},
    ("argoproj.io", "workflows"): {"get", "create", "patch", "watch", "list", "update"},
    ("argoproj.io", "workflowtaskresults"): {"get", "create", "patch", "watch", "list", "update"},
    ("apps", "deployments"): ALL,
    ("apps", "replicasets"): ALL,
    ("batch", "jobs"): ALL,
    ("kubeflow.org", "pytorchjobs"): ALL,
    ("kubeflow.org", "scheduledworkflows"): ALL,
}
CLAIMS = ("", "persistentvolumeclaims")


def granted(resources: Resources) -> dict[tuple[str, str], set[str]]:
    """Return the verbs of the steps' Role for whole resources, those of single names left out."""
    role = next(one for one in resources if one["kind"] == "Role" and one["metadata"]["name"] == "toolchain-steps")
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        if "resourceNames" not in rule:
            for key in keys(rule):
                found.setdefault(key, set()).update(rule["verbs"])
    return found


def keys(rule: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((group, resource) for group in rule["apiGroups"] for resource in rule["resources"])


def test_by_default_a_pipeline_can_create_and_delete_claims(render: Callable[..., Resources]) -> None:
    assert granted(render())[CLAIMS] == {"create", "get", "list", "delete"}


def test_minimal_permissions_exclude_claims(render: Callable[..., Resources]) -> None:
    assert CLAIMS not in granted(render("--set=steps.permissions=minimal"))


@pytest.mark.parametrize("permissions", ["minimal", "volumes"])
def test_steps_can_read_their_own_secret_only(permissions: str, render: Callable[..., Resources]) -> None:
    found = granted(render(f"--set=steps.permissions={permissions}"))
    assert ("", "secrets") not in found
    assert not any("*" in verbs for verbs in found.values())


def test_upstream_permissions_equal_those_of_upstreams_account(render: Callable[..., Resources]) -> None:
    found = granted(render("--set=steps.permissions=upstream"))
    assert {key: verbs for key, verbs in UPSTREAM.items() if not verbs <= found.get(key, set())} == {}
