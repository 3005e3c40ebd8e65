"""What the chart lets people, and pods, do with model servers."""

from collections.abc import Callable
from typing import Any

import pytest

from cli.serving.kubernetes.resources import CALLERS, documents
from tests.support.model_server_resources import SERVER

Resources = tuple[dict[str, Any], ...]


def resource(found: Resources, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in found if (one["kind"], one["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize("document", documents(SERVER), ids=lambda document: document["kind"])
def test_a_promoter_can_create_change_and_delete_each_resource_of_a_model_server(
    render: Callable[..., Resources], document: dict[str, Any]
) -> None:
    group = document["apiVersion"].rpartition("/")[0]
    word = document["kind"].lower()
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"
    rules = resource(render(), "Role", "toolchain-promoter")["rules"]
    granted = [rule["verbs"] for rule in rules if group in rule["apiGroups"] and plural in rule["resources"]]
    assert granted == [["get", "list", "create", "patch", "delete"]]


def test_a_promoter_can_read_its_own_secret_only(render: Callable[..., Resources]) -> None:
    rules = resource(render(), "Role", "toolchain-promoter")["rules"]
    readable = [(rule["resourceNames"], rule["verbs"]) for rule in rules if "secrets" in rule["resources"]]
    assert readable == [(["toolchain-promoter"], ["get"])]


def test_a_promoter_is_limited_to_model_servers_by_default(render: Callable[..., Resources]) -> None:
    """What the policy lets through is tried on a real API server: tests/cluster/test_permissions.py."""

    def kinds(value: str) -> set[str]:
        resources = render(f"--set=serving.promoter={value}")
        return {one["kind"] for one in resources if "promoter" in one["metadata"]["name"] and one["kind"] != "Secret"}

    policy = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
    assert kinds("restricted") == {"Role"} | policy
    assert kinds("unrestricted") == {"Role"}
    assert kinds("none") == set()


def test_the_policy_applies_to_holders_of_the_role(render: Callable[..., Resources]) -> None:
    resources = render()
    (own,) = [
        rule
        for rule in resource(resources, "Role", "toolchain-promoter")["rules"]
        if rule["apiGroups"] == ["toolchain"]
    ]
    policy = resource(resources, "ValidatingAdmissionPolicy", "charttest-promoter")["spec"]
    first = policy["matchConditions"][0]["expression"]
    assert f"group('{own['apiGroups'][0]}').resource('{own['resources'][0]}')" in first
    assert f"check('{own['verbs'][0]}')" in first
    assert policy["failurePolicy"] == "Fail"


def test_the_promoters_role_has_no_bindings(render: Callable[..., Resources]) -> None:
    bound = [one["roleRef"]["name"] for one in render() if one["kind"] == "RoleBinding"]
    assert "toolchain-promoter" not in bound


def test_pods_with_the_label_can_call_models(render: Callable[..., Resources]) -> None:
    policy = resource(render(), "NetworkPolicy", "toolchain-reaches-model-server")["spec"]
    allowed = next(document for document in documents(SERVER) if document["kind"] == "NetworkPolicy")["spec"]
    (way,) = policy["egress"]
    assert policy["podSelector"]["matchLabels"] == {CALLERS: "true"}
    assert {"podSelector": {"matchLabels": {CALLERS: "true"}}} in allowed["ingress"][0]["from"]
    assert [port["port"] for port in way["ports"]] == [port["port"] for port in allowed["ingress"][0]["ports"]]
    pods = next(document for document in documents(SERVER) if document["kind"] == "Deployment")["spec"]["template"]
    assert way["to"][0]["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()


def test_models_connect_to_the_storage_by_their_label(render: Callable[..., Resources]) -> None:
    policy = resource(render(), "NetworkPolicy", "toolchain-reaches-storage")["spec"]
    pods = next(document for document in documents(SERVER) if document["kind"] == "Deployment")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items()
