"""The door to Kubernetes; what needs an API server is tried on the test cluster, where KUBECONFIG names one."""

import base64
import gzip
import json
import os
import uuid
from collections.abc import Iterator
from socket import create_connection

import pytest

from toolchain.errors import ServiceError
from toolchain.services import kubernetes
from toolchain.services.kubernetes import applying

on_cluster = pytest.mark.skipif(not os.environ.get("KUBECONFIG"), reason="KUBECONFIG names no cluster")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("2", 2), ("500m", 0.5), ("1.5", 1.5), ("2Gi", 2 * 1024**3), ("128Mi", 128 * 1024**2), ("1k", 1000)],
        *[("0.5Ti", 512 * 1024**3), ("1Ei", 1024**6), ("3P", 3e15), ("1e3", 1000), ("12E-1", 1.2), ("2E", 2e18)],
        *[("107374182400m", 0.1 * 1024**3), ("250u", 0.00025), (".5", 0.5)],
    ],
)
def test_a_quantity_is_the_number_that_kubernetes_means(text: str, number: float):
    assert kubernetes.quantity(text) == pytest.approx(number)


@pytest.mark.parametrize("text", ["much", "1ki", "1e", "1.2.3", "Gi", "", "1 Gi"])
def test_a_quantity_that_is_none_is_named(text: str):
    with pytest.raises(ServiceError, match=f"'{text}'"):
        kubernetes.quantity(text)


def test_without_a_kubeconfig_there_is_no_cluster(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    assert not kubernetes.is_configured()


def test_argos_record_is_read_plain_and_packed():
    nodes = {"a": {"name": "tidy.root", "message": "exceeded quota"}}
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    assert kubernetes._argo_nodes({"nodes": nodes}) == nodes
    assert kubernetes._argo_nodes({"compressedNodes": packed}) == nodes
    assert kubernetes._argo_nodes({}) == {}


@pytest.fixture
def namespace() -> Iterator[str]:
    """Yield a namespace with a pod whose image is nowhere, and a ConfigMap and a Secret."""
    from kubernetes import client, config  # the test makes what the door only reads

    config.load_kube_config()
    core, name = client.CoreV1Api(), f"door-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    core.create_namespaced_config_map(
        name, {"metadata": {"name": "toolchain-steps"}, "data": {"TOOLCHAIN_BUCKET": "b"}}
    )
    core.create_namespaced_secret(
        name, {"metadata": {"name": "toolchain-steps"}, "stringData": {"AWS_ACCESS_KEY_ID": "k"}}
    )
    container = {
        "name": "main",
        "image": "nowhere.invalid/x:1",
        "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}},
    }
    labels = {"pipeline/runid": "r1"}
    core.create_namespaced_pod(name, {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [container]}})
    yield name
    core.delete_namespace(name)


@on_cluster
@pytest.mark.cluster
def test_a_pod_is_described_and_the_services_settings_are_read(namespace: str):
    (pod,) = kubernetes.pods(namespace, "pipeline/runid=r1")
    assert (pod.name, pod.phase, pod.cpu, pod.memory_bytes) == ("p", "Pending", 0.01, 8 * 1024**2)
    assert kubernetes.pods(namespace, "pipeline/runid=r2") == []
    assert kubernetes.living_pods(namespace, "pipeline/runid=r1") == {"p"}
    assert kubernetes.settings_of(namespace, "toolchain-steps") == {"TOOLCHAIN_BUCKET": "b", "AWS_ACCESS_KEY_ID": "k"}
    assert kubernetes.settings_of(namespace, "others") == {}
    assert not kubernetes.has_service(namespace, "ml-pipeline")


@on_cluster
@pytest.mark.cluster
def test_a_service_is_reached_by_a_port_of_this_machine():
    name = b"".join(bytes([len(word)]) + word.encode() for word in ("kubernetes", "default", "svc", "cluster", "local"))
    question = bytes.fromhex("abcd 0100 0001 0000 0000 0000") + name + bytes.fromhex("00 0001 0001")  # RFC 1035, 4.1
    with kubernetes.forwarded("kube-system", "kube-dns", 53) as port, create_connection(("127.0.0.1", port)) as line:
        line.sendall(len(question).to_bytes(2, "big") + question)
        answer = line.recv(512)[2:]
    assert answer[:2] == question[:2]
    assert int.from_bytes(answer[6:8], "big") == 1  # one address: the API server's


@on_cluster
@pytest.mark.cluster
def test_a_service_that_is_not_there_is_named():
    with pytest.raises(ServiceError, match="nothing-here"), kubernetes.forwarded("default", "nothing-here", 80):
        pass


def config_map(namespace: str, **content: dict[str, str]) -> dict[str, object]:
    metadata = {"name": "told", "namespace": namespace, "labels": content.get("labels", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content.get("data", {})}


@on_cluster
@pytest.mark.cluster
def test_what_is_applied_is_there_what_is_left_out_goes_and_what_others_set_stays(namespace: str):
    from kubernetes import client

    applying.apply([config_map(namespace, data={"a": "1", "b": "2"}, labels={"version": "1"})])
    client.CoreV1Api().patch_namespaced_config_map("told", namespace, {"data": {"theirs": "3"}})
    applying.apply([config_map(namespace, data={"a": "4"}, labels={"version": "2"})])
    there = applying.found("v1", "ConfigMap", namespace, "told")
    assert there is not None
    assert there["data"] == {"a": "4", "theirs": "3"}
    assert there["metadata"]["labels"] == {"version": "2"}
    assert applying.found("v1", "ConfigMap", namespace, "other") is None


@on_cluster
@pytest.mark.cluster
def test_what_another_set_is_ours_once_it_is_applied(namespace: str):
    from kubernetes import client

    applying.apply([config_map(namespace, data={"a": "1"})])
    client.CoreV1Api().patch_namespaced_config_map("told", namespace, {"data": {"a": "by hand"}})
    applying.apply([config_map(namespace, data={"a": "2"})])
    there = applying.found("v1", "ConfigMap", namespace, "told")
    assert there is not None
    assert there["data"] == {"a": "2"}


@on_cluster
@pytest.mark.cluster
def test_a_document_that_the_cluster_rejects_is_named_with_the_reason(namespace: str):
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"policyTypes": ["Inwards"]}}
    with pytest.raises(ServiceError, match=r'"closed" is invalid.*Inwards'):
        applying.apply([{**policy, "metadata": {"name": "closed", "namespace": namespace}}])


@on_cluster
@pytest.mark.cluster
def test_pods_respond_through_the_api_server_and_it_is_an_error_when_none_does():
    answers = kubernetes.pod_responses("kube-system", "k8s-app=kube-dns", 8181, "ready")
    assert set(answers.values()) == {"OK"}
    for selector, port in (("k8s-app=kube-dns", 1), ("k8s-app=nobody", 8181)):
        with pytest.raises(ServiceError, match=f"no pod of namespace kube-system with {selector} responds"):
            kubernetes.pod_responses("kube-system", selector, port, "ready")
