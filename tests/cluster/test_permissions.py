"""What accounts may do on a real API server: steps by steps.permissions, and promoters with model servers alone.

Nothing of the chart runs here: its roles, policies and a few resources are there, and each account is impersonated.
"""

import copy
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from cli.serving.kubernetes.resources import documents
from cli.setup.deploy import POD_SECURITY
from tests.support.chart import CHART, IMAGES, helm
from tests.support.cluster import Cluster
from tests.support.model_server_resources import SERVER

Document = dict[str, Any]
ANN = "ann"
KINDS = {"Role", "RoleBinding", "ServiceAccount", "NetworkPolicy", "Service", "ConfigMap", "Secret"}
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "of-a-pipeline"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


def rendered(namespace: str, *words: str) -> list[Document]:
    said = helm("template", "toolchain", str(CHART), "--namespace", namespace, "--skip-tests", *IMAGES, *words)
    assert said.returncode == 0, said.stderr
    return [one for one in yaml.safe_load_all(said.stdout) if one and one["kind"] in KINDS | POLICIES]


def tried(cluster: Cluster, user: str, *words: str, given: Document | None = None) -> str:
    """Return "" where ``kubectl words`` as ``user`` succeeds, and what it says where it does not."""
    command = ["kubectl", "--namespace", cluster.namespace, "--as", user, *words]
    done = subprocess.run(
        command, input=json.dumps(given) if given else None, capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stderr or "failed"


def applied(cluster: Cluster, user: str, document: Document) -> str:
    given = copy.deepcopy(document)
    given["metadata"]["namespace"] = cluster.namespace
    words = ("apply", "--server-side", "--field-manager=toolchain", "--force-conflicts", "--filename=-")
    return tried(cluster, user, *words, given=given)


@pytest.fixture(scope="module")
def platform(cluster: Callable[[str], Cluster]) -> Iterator[Cluster]:
    """Yield a namespace with the chart's roles and policies, in which ann is a promoter."""
    found = cluster("permissions")
    found.kubectl("create", "namespace", found.namespace)
    found.kubectl("label", "namespace", found.namespace, POD_SECURITY)
    items = rendered(found.namespace)
    found.kubectl(
        "apply", "--server-side", "--filename=-", given=json.dumps({"kind": "List", "apiVersion": "v1", "items": items})
    )
    found.kubectl("create", "rolebinding", "ann-promotes", "--role=toolchain-promoter", f"--user={ANN}")
    for _ in range(60):  # until the API server has read the policy
        if "promoter" in tried(found, ANN, "delete", "service", "toolchain-storage", "--dry-run=server"):
            break
        time.sleep(1)
    yield found
    found.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", f"{found.namespace}-promoter")


def steps(cluster: Cluster) -> str:
    return f"system:serviceaccount:{cluster.namespace}:toolchain-steps"


def test_a_pipeline_creates_and_deletes_a_claim(platform: Cluster) -> None:
    assert tried(platform, steps(platform), "create", "--filename=-", given=CLAIM) == ""
    assert tried(platform, steps(platform), "delete", "pvc", "of-a-pipeline", "--wait=false") == ""


@pytest.mark.parametrize(
    "words",
    [("get", "secret", "toolchain-mysql"), ("get", "pods", "--watch"), ("create", "deployment", "x", "--image=x:1")],
)
def test_a_pipeline_may_not_do_more(platform: Cluster, words: tuple[str, ...]) -> None:
    assert "is forbidden" in tried(platform, steps(platform), *words)


def test_with_minimal_permissions_the_right_that_is_missing_is_what_submit_names(platform: Cluster) -> None:
    from cli.run.pod_diagnostics import find_denial

    role = next(
        one
        for one in rendered(platform.namespace, "--set=steps.permissions=minimal")
        if one["kind"] == "Role" and one["metadata"]["name"] == "toolchain-steps"
    )
    platform.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(role))
    problem = find_denial(tried(platform, steps(platform), "create", "--filename=-", given=CLAIM))
    assert problem
    assert problem.message == f"{steps(platform)} is not allowed to create persistentvolumeclaims"


def test_a_promoter_makes_changes_and_removes_model_servers(platform: Cluster) -> None:
    for document in documents(SERVER):
        assert applied(platform, ANN, document) == "", document["kind"]
    changed = copy.deepcopy(next(one for one in documents(SERVER) if one["kind"] == "Deployment"))
    changed["metadata"]["labels"]["toolchain/version"] = "77"
    assert applied(platform, ANN, changed) == ""
    kinds = "deployment,service,hpa,pdb,networkpolicy,serviceaccount"
    assert tried(platform, ANN, "delete", kinds, f"--selector=toolchain/model={SERVER.routing.model}") == ""


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "networkpolicy", "toolchain-default-deny"),
        ("delete", "service", "toolchain-storage"),
        ("patch", "service", "toolchain-storage", '--patch={"spec": {"selector": {"app": "mine"}}}'),
        ("patch", "networkpolicy", "toolchain-mysql", '--patch={"spec": {"ingress": [{}]}}'),
        ("label", "service", "toolchain-storage", "app.kubernetes.io/component=model-server", "--overwrite"),
        ("delete", "serviceaccount", "ml-pipeline"),
        ("get", "secret", "toolchain-mysql"),
        ("get", "secret", "toolchain-steps"),
        ("get", "secrets"),
        ("create", "secret", "generic", "mine"),
        ("create", "token", "ml-pipeline"),
        ("run", "mine", "--image=x:1"),
        ("create", "role", "mine", "--verb=get", "--resource=secrets"),
        ("create", "rolebinding", "mine", "--role=ml-pipeline", "--user=ann"),
        ("get", "--raw", "/api/v1/namespaces/permissions/pods/ml-pipeline-1:8888/proxy/apis"),
        ("get", "--raw", "/api/v1/namespaces/permissions/services/ml-pipeline:8888/proxy/apis"),
        ("create", "--raw", "/api/v1/namespaces/permissions/pods/ml-pipeline-1/portforward", "--filename=/dev/null"),
    ],
    ids=lambda words: "-".join(words[:3]),
)
def test_a_promoter_reaches_nothing_of_the_platform(platform: Cluster, words: tuple[str, ...]) -> None:
    said = tried(platform, ANN, *words)
    assert "orbidden" in said or "a promoter may" in said, said


def test_a_promoter_reads_the_keys_that_publish(platform: Cluster) -> None:
    assert tried(platform, ANN, "get", "secret", "toolchain-promoter") == ""
    assert tried(platform, ANN, "get", "configmap", "toolchain-steps") == ""


def test_a_promoter_may_look_up_mlflow_s3_and_model_servers(platform: Cluster) -> None:
    """There are no such pods here: that they are not found is said after they were allowed."""
    for pod in ("toolchain-mlflow-5d5-abc", "toolchain-minio-0", "serve-reviews-1"):
        path = f"/api/v1/namespaces/{platform.namespace}/pods/{pod}/portforward"
        assert "not found" in tried(platform, ANN, "create", "--raw", path, "--filename=/dev/null")


def deployment(change: Callable[[Document], Any]) -> Document:
    made = copy.deepcopy(next(one for one in documents(SERVER) if one["kind"] == "Deployment"))
    change(made)
    return made


def of_kind(kind: str, change: Callable[[Document], Any]) -> Document:
    made = copy.deepcopy(next(one for one in documents(SERVER) if one["kind"] == kind))
    change(made)
    return made


def pod(document: Document) -> Document:
    return dict.__getitem__(document["spec"]["template"], "spec")


def variable(name: str) -> Document:
    return {"name": "P", "valueFrom": {"secretKeyRef": {"name": name, "key": "root-password"}}}


def initial(document: Document) -> Document:
    """Return an init container that is valid and takes the steps' keys."""
    kept = {"image", "resources", "securityContext"}
    given = {key: value for key, value in pod(document)["containers"][0].items() if key in kept}
    return {**given, "name": "first", "env": [variable("toolchain-steps")]}


SMUGGLED = {
    "a secret as a variable": deployment(
        lambda one: pod(one)["containers"][0]["env"].append(variable("toolchain-mysql"))
    ),
    "all of a secret": deployment(
        lambda one: pod(one)["containers"][0].update(envFrom=[{"secretRef": {"name": "toolchain-mysql"}}])
    ),
    "in an init container": deployment(lambda one: pod(one).update(initContainers=[initial(one)])),
    "a secret as a volume": deployment(
        lambda one: pod(one)["volumes"].append({"name": "x", "secret": {"secretName": "toolchain-mysql"}})
    ),
    "a projected secret": deployment(
        lambda one: pod(one)["volumes"].append(
            {"name": "x", "projected": {"sources": [{"secret": {"name": "toolchain-mysql"}}]}}
        )
    ),
    "the database's claim": deployment(
        lambda one: pod(one)["volumes"].append(
            {"name": "x", "persistentVolumeClaim": {"claimName": "data-toolchain-mysql-0"}}
        )
    ),
    "another account": deployment(lambda one: pod(one).update(serviceAccountName="ml-pipeline")),
    "a token": deployment(lambda one: pod(one).update(automountServiceAccountToken=True)),
    "a way to the database": deployment(
        lambda one: one["spec"]["template"]["metadata"]["labels"].update({"toolchain/reaches-mysql": "true"})
    ),
    "the way of steps": deployment(
        lambda one: one["spec"]["template"]["metadata"]["labels"].update({"pipeline/runid": "1"})
    ),
    "another component": deployment(
        lambda one: one["metadata"]["labels"].update({"app.kubernetes.io/component": "mysql"})
    ),
    "another name": deployment(lambda one: one["metadata"].update(name="toolchain-mlflow")),
    "a policy for the database": of_kind(
        "NetworkPolicy",
        lambda one: one["spec"].update(podSelector={"matchLabels": {"app.kubernetes.io/component": "mysql"}}),
    ),
    "a policy for all": of_kind("NetworkPolicy", lambda one: one["spec"].update(podSelector={})),
    "a policy that opens the way out": of_kind(
        "NetworkPolicy", lambda one: one["spec"].update(policyTypes=["Egress"], egress=[{}])
    ),
    "a service for the database": of_kind(
        "Service", lambda one: one["spec"].update(selector={"app.kubernetes.io/component": "mysql"})
    ),
    "a service of another name outside": of_kind(
        "Service", lambda one: one["spec"].update(type="ExternalName", externalName="evil.example.com", selector=None)
    ),
    "a service with somebody's address": of_kind("Service", lambda one: one["spec"].update(externalIPs=["192.0.2.1"])),
    "a scaler of the database": of_kind(
        "HorizontalPodAutoscaler",
        lambda one: one["spec"]["scaleTargetRef"].update(kind="StatefulSet", name="toolchain-mysql"),
    ),
    "a budget of the database": of_kind(
        "PodDisruptionBudget",
        lambda one: one["spec"].update(selector={"matchLabels": {"app.kubernetes.io/component": "mysql"}}),
    ),
}


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_promoter_smuggles_nothing_into_a_model_server(platform: Cluster, name: str) -> None:
    said = applied(platform, ANN, SMUGGLED[name])
    assert "promoter" in said, said


def test_an_editor_and_kubernetes_itself_are_not_held_back(platform: Cluster) -> None:
    platform.kubectl("create", "rolebinding", "bob-edits", "--clusterrole=edit", "--user=bob")
    platform.kubectl("create", "rolebinding", "bob-promotes", "--role=toolchain-promoter", "--user=bob")
    for _ in range(20):  # until the bindings are known
        said = tried(
            platform, "bob", "patch", "service", "toolchain-storage", '--patch={"metadata": {"labels": {"x": "y"}}}'
        )
        if not said:
            break
        time.sleep(0.5)
    assert said == ""
