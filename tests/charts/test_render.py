"""What the chart renders is valid for every Kubernetes that it says it supports, under each of ci/'s options."""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

Resources = tuple[dict[str, Any], ...]
CHART = Path(__file__).parents[2] / "charts" / "toolchain"
OPTIONS = [(), *(("--values", str(path)) for path in sorted((CHART / "ci").glob("*-values.yaml")))]
NAMES = ["default", *(Path(words[1]).name.removesuffix("-values.yaml") for words in OPTIONS[1:])]
SUPPORTED = ("1.31", "1.32", "1.33", "1.34")
WORKLOADS = {"Deployment", "StatefulSet", "Job", "CronJob"}
OPERATOR = "monitoring.coreos.com/v1"  # whose kinds Kubernetes itself does not know
RANDOM = re.compile(
    r'(?<="checksum/secrets": ")[0-9a-f]{16}(?=")|(?<=-)[0-9a-f]{8}(?=", "labels")'
)  # of passwords, new each time
each_option = pytest.mark.parametrize("options", OPTIONS, ids=NAMES)


def pods(resources: Resources) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name of each workload and the template of its pods."""
    for resource in resources:
        if resource["kind"] in WORKLOADS:
            spec = resource["spec"]["jobTemplate"]["spec"] if resource["kind"] == "CronJob" else resource["spec"]
            yield f"{resource['kind']} {resource['metadata']['name']}", spec["template"]
        elif resource["kind"] == "Pod":
            yield f"Pod {resource['metadata']['name']}", resource


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


@each_option
def test_helm_lint_passes(lint: Callable[..., str], options: tuple[str, ...]) -> None:
    assert "0 chart(s) failed" in lint(*options)


@each_option
def test_every_resource_is_valid_for_every_supported_kubernetes(
    render: Callable[..., Resources], options: tuple[str, ...]
) -> None:
    for resource in render(*options):
        if (
            resource["kind"] != "Secret" and resource["apiVersion"] != OPERATOR
        ):  # a Secret has other passwords each time
            assert_valid(RANDOM.sub("0000", json.dumps(resource)))


@cache
def assert_valid(resource: str) -> None:
    for version in SUPPORTED:
        kubernetes_validate.validate(json.loads(resource), version, strict=True)


def test_secrets_are_valid_for_every_supported_kubernetes(render: Callable[..., Resources]) -> None:
    for resource in render():
        if resource["kind"] == "Secret":
            assert_valid(json.dumps(resource))


@each_option
def test_no_two_resources_have_the_same_name(render: Callable[..., Resources], options: tuple[str, ...]) -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in render(*options)]
    assert len(names) == len(set(names))


@each_option
def test_every_pod_conforms_to_the_restricted_pod_security_standard(
    render: Callable[..., Resources], options: tuple[str, ...]
) -> None:
    """Fields and values: kubernetes.io/docs/concepts/security/pod-security-standards, restricted."""
    for name, pod in pods(render(*options)):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), name
        for container in containers(pod):
            rights = container["securityContext"]
            assert rights["allowPrivilegeEscalation"] is False, name
            assert rights["capabilities"]["drop"] == ["ALL"], name
            assert "add" not in rights["capabilities"], name
            assert not rights.get("privileged"), name
            assert not any("hostPort" in port for port in container.get("ports", [])), name


@each_option
def test_every_container_has_a_read_only_root_and_resources(
    render: Callable[..., Resources], options: tuple[str, ...]
) -> None:
    for name, pod in pods(render(*options)):
        for container in containers(pod):
            where = f"{name}, container {container['name']}"
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, where
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}, where
            assert "memory" in container["resources"]["limits"], where
            assert container["imagePullPolicy"] == "IfNotPresent", where


@each_option
def test_every_service_has_probes_and_a_priority(render: Callable[..., Resources], options: tuple[str, ...]) -> None:
    for resource in render(*options):
        if resource["kind"] in {"Deployment", "StatefulSet"}:
            name, pod = resource["metadata"]["name"], resource["spec"]["template"]
            assert pod["spec"]["priorityClassName"] == "charttest-control-plane", name
            assert pod["spec"]["topologySpreadConstraints"], name
            assert {"readinessProbe", "livenessProbe"} <= pod["spec"]["containers"][0].keys(), name


@each_option
def test_only_pods_with_their_own_account_have_a_token(
    render: Callable[..., Resources], options: tuple[str, ...]
) -> None:
    for name, pod in pods(render(*options)):
        if pod["spec"].get("automountServiceAccountToken", True):
            assert pod["spec"]["serviceAccountName"] != "default", name


@each_option
def test_no_role_has_wildcards(render: Callable[..., Resources], options: tuple[str, ...]) -> None:
    for resource in render(*options):
        assert resource["kind"] not in {"ClusterRoleBinding"}, resource["metadata"]["name"]
        for rule in resource.get("rules", []) if resource["kind"] in {"Role", "ClusterRole"} else []:
            assert "*" not in (*rule["verbs"], *rule["resources"], *rule["apiGroups"]), resource["metadata"]["name"]


@each_option
def test_services_select_pods_and_policies_admit_their_clients(
    render: Callable[..., Resources], options: tuple[str, ...]
) -> None:
    resources = render(*options)
    labels = [pod["metadata"]["labels"] for _, pod in pods(resources)]
    for resource in resources:
        if resource["kind"] == "Service":
            wanted = resource["spec"]["selector"].items()
            assert any(wanted <= found.items() for found in labels), resource["metadata"]["name"]
    opened = {
        key
        for resource in resources
        if resource["kind"] == "NetworkPolicy" and "Egress" in resource["spec"]["policyTypes"]
        for key in resource["spec"]["podSelector"].get("matchLabels", {})
        if key.startswith("toolchain/reaches-")
    }
    required = {key for found in labels for key in found if key.startswith("toolchain/reaches-")}
    assert required <= opened


def test_network_policies_deny_by_default(render: Callable[..., Resources]) -> None:
    policies = {r["metadata"]["name"]: r["spec"] for r in render() if r["kind"] == "NetworkPolicy"}
    assert policies["toolchain-default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, spec in policies.items():
        if name != "toolchain-default-deny" and "Ingress" in spec["policyTypes"]:
            assert all("from" in rule for rule in spec["ingress"]), name


def test_a_disabled_part_renders_no_resource(render: Callable[..., Resources]) -> None:
    names = {resource["metadata"]["name"] for resource in render("--set", "mlflow.enabled=false")}
    assert not {name for name in names if name.startswith("toolchain-mlflow")}


def test_both_s3_servers_have_the_same_service_name(render: Callable[..., Resources]) -> None:
    for kind in ("minio", "seaweedfs"):
        resources = render("--set", f"storage.type={kind}")
        service = next(r for r in resources if r["kind"] == "Service" and r["metadata"]["name"] == "toolchain-storage")
        served = [pod for name, pod in pods(resources) if name == f"StatefulSet toolchain-{kind}"]
        assert service["spec"]["selector"].items() <= served[0]["metadata"]["labels"].items()
        assert service["spec"]["ports"][0]["port"] == 9000


def test_a_changed_job_gets_a_new_name(render: Callable[..., Resources]) -> None:
    def jobs(*words: str) -> set[str]:
        return {resource["metadata"]["name"] for resource in render(*words) if resource["kind"] == "Job"}

    same = ("--values", str(CHART / "ci" / "existing-secrets-values.yaml"))  # else they are new with each rendering
    assert jobs(*same) == jobs(*same, "--set", "mlflow.workers=3")
    changed = jobs(*same, "--set", "storage.expireArtifactsAfterDays=3") - jobs(*same)
    assert [name.rpartition("-")[0] for name in changed] == ["toolchain-bucket"]


def test_the_pipeline_of_helm_test_has_two_steps() -> None:
    from google.protobuf.json_format import Parse
    from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

    specification = Parse((CHART / "files" / "two_steps.json").read_text(), PipelineSpec())
    assert set(specification.root.dag.tasks) == {"say", "check"}


def test_mlflow_rejects_foreign_host_names(render: Callable[..., Resources]) -> None:
    """Its own middleware decides, by the names that the chart gives it."""
    from mlflow.server.security_utils import is_allowed_host_header

    def allowed(*words: str) -> list[str]:
        (pod,) = [pod for name, pod in pods(render(*words)) if name == "Deployment toolchain-mlflow"]
        (option,) = [word for word in pod["spec"]["containers"][0]["args"] if word.startswith("--allowed-hosts=")]
        return option.partition("=")[2].split(",")

    own = "toolchain-mlflow.charttest.svc"
    inside = [
        "toolchain-mlflow",
        "toolchain-mlflow.charttest:5000",
        own,
        f"{own}.cluster.local:5000",
        "127.0.0.1:43127",
    ]
    foreign = [f"{own}.example.com", f"{own}.cluster.local.example.com:5000", "toolchain-mlflow:80", "example.com", "*"]
    assert [host for host in inside if not is_allowed_host_header(allowed(), host)] == []
    assert [host for host in foreign if is_allowed_host_header(allowed(), host)] == []
    other = allowed("--set=clusterDomain=k8s.example.org,mlflow.allowedHosts={mlflow.example.com}")
    assert is_allowed_host_header(other, f"{own}.k8s.example.org:5000")
    assert is_allowed_host_header(other, "mlflow.example.com")
