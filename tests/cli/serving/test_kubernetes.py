"""Model servers on a cluster: valid for every supported Kubernetes, restricted, and still while versions change."""

import json
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from cli.serving import kubernetes as model_server
from cli.serving.kubernetes.model_server import ModelServer, PodOptions, name_of
from cli.serving.kubernetes.resources import documents
from components import images
from tests.support.model_server_resources import ENTRY, OLD, REPOSITORY, ROUTING, SERVER, VERDICT
from toolchain.errors import ConfigError, ServiceError
from toolchain.lifecycle import server_client
from toolchain.lifecycle.routing import RoutingConfig, Target
from toolchain.serve.__main__ import parser as server_parser
from toolchain.services import kubernetes, storage
from toolchain.services.kubernetes import applying

SUPPORTED = ("1.31", "1.32", "1.33", "1.34")
NEW = Target(version="4", digest="4" * 64, variant="int8-dynamic")


def of_kind(server: ModelServer, kind: str) -> dict[str, Any]:
    return next(document for document in documents(server) if document["kind"] == kind)


def labels(server: ModelServer) -> dict[str, str]:
    return dict(of_kind(server, "Deployment")["metadata"]["labels"])


def pod(server: ModelServer) -> dict[str, Any]:
    return dict(of_kind(server, "Deployment")["spec"]["template"]["spec"])


@pytest.mark.parametrize("kubernetes_version", SUPPORTED)
@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("gpus", [0, 1])
def test_every_resource_is_valid_for_every_supported_kubernetes(kubernetes_version: str, size: str, gpus: int):
    canary = replace(ROUTING, canary=NEW, percent=10.0)
    for routing in (ROUTING, canary):
        for document in documents(replace(SERVER, routing=routing, size=size, gpus=gpus)):
            kubernetes_validate.validate(json.loads(json.dumps(document)), kubernetes_version, strict=True)


def test_a_model_has_one_of_each_resource_under_its_name():
    made = documents(SERVER)
    assert {document["metadata"]["name"] for document in made} == {"serve-film-reviews"}
    assert sorted(document["kind"] for document in made) == [
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    ]


def test_the_pods_meet_the_restricted_pod_security_standard_and_write_to_tmp_only():
    """Fields and values: kubernetes.io/docs/concepts/security/pod-security-standards, restricted."""
    found = pod(SERVER)
    (container,) = found["containers"]
    assert found["securityContext"]["runAsNonRoot"]
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")] == ["/tmp"]
    assert not found["automountServiceAccountToken"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(found)


def test_services_policies_and_budgets_select_the_pods_of_the_deployment():
    pod_labels = of_kind(SERVER, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        of_kind(SERVER, "Deployment")["spec"]["selector"]["matchLabels"],
        of_kind(SERVER, "Service")["spec"]["selector"],
        of_kind(SERVER, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(SERVER, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= pod_labels.items() for selector in selectors)
    assert server_client.selector("film_reviews").split(",") == sorted(
        f"{name}={value}" for name, value in selectors[0].items()
    )


def test_a_change_of_version_changes_labels_and_starts_no_pod():
    other = replace(SERVER, routing=RoutingConfig(model="film_reviews", stable=NEW), verdict="accurate on avx2")
    before, after = of_kind(SERVER, "Deployment"), of_kind(other, "Deployment")
    assert before["spec"] == after["spec"]
    assert before["metadata"] != after["metadata"]


def test_labels_show_version_digest_and_verdict_and_annotations_show_them_whole():
    metadata = of_kind(SERVER, "Deployment")["metadata"]
    labels = {name: metadata["labels"][f"toolchain/{name}"] for name in ("version", "digest", "verdict")}
    assert labels == {"version": "3", "digest": "333333333333", "verdict": "winner"}
    assert metadata["annotations"]["toolchain/digest"] == OLD.digest
    assert metadata["annotations"]["toolchain/verdict"] == VERDICT
    assert metadata["annotations"]["toolchain/entry"] == ENTRY.sha256


@pytest.mark.parametrize(
    ("verdict", "forced", "word"),
    [
        ("winner on avx2 (speedup 1.9)", False, "winner"),
        ("accurate on avx2", False, "accurate"),
        ("refused on avx2", True, "forced"),
        ("not gated", False, "unknown"),
    ],
)
def test_the_verdict_is_one_word_in_a_label(verdict: str, forced: bool, word: str):
    assert labels(replace(SERVER, verdict=verdict, forced=forced))["toolchain/verdict"] == word


def test_a_canary_is_shown_while_it_runs():
    during = replace(SERVER, routing=replace(ROUTING, canary=NEW, percent=12.5))
    assert labels(during)["toolchain/canary"] == "4"
    assert of_kind(during, "Deployment")["metadata"]["annotations"]["toolchain/canary-percent"] == "12.5"
    assert "toolchain/canary" not in labels(SERVER)


def test_a_pod_ends_after_its_server_has_served_all_that_it_began():
    from toolchain.serve.server import FLUSH_TIMEOUT_S
    from toolchain.serve.settings import Settings

    words = pod(SERVER)["containers"][0]["args"]
    drain = float(words[words.index("--drain-seconds") + 1])
    before = pod(SERVER)["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    deadline = Settings(model_repository=REPOSITORY).request_timeout
    assert pod(SERVER)["terminationGracePeriodSeconds"] > before + drain + deadline + FLUSH_TIMEOUT_S


def test_the_server_takes_the_arguments_of_the_container():
    from toolchain.serve.__main__ import parser
    from toolchain.serve.settings import Settings

    settings = Settings(**vars(parser().parse_args(pod(SERVER)["containers"][0]["args"])))
    assert (settings.model_repository, settings.host, settings.port, settings.grpc_port) == (
        REPOSITORY,
        "0.0.0.0",
        8080,
        8081,
    )
    assert settings.metrics_port == 8082


@pytest.mark.parametrize(
    ("size", "asked", "most", "memory", "pods"),
    [
        ("small", "250m", "1000m", "1024Mi", (1, 2)),
        ("medium", "1000m", "2000m", "2048Mi", (2, 8)),
        ("large", "4000m", "4000m", "4096Mi", (2, 24)),
    ],
)
def test_a_size_shows_how_much_a_pod_gets_and_how_many_there_are(
    size: str, asked: str, most: str, memory: str, pods: tuple[int, int]
):
    server = replace(SERVER, size=size)
    resources = pod(server)["containers"][0]["resources"]
    scaled = of_kind(server, "HorizontalPodAutoscaler")["spec"]
    assert (resources["requests"]["cpu"], resources["limits"]["cpu"]) == (asked, most)
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == memory
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == pods
    assert "replicas" not in of_kind(server, "Deployment")["spec"], "two would say how many pods there are"


def test_pods_with_gpus_request_them_and_tolerate_their_taint():
    wanted = pod(replace(SERVER, gpus=2))
    assert wanted["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert wanted["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "tolerations" not in pod(SERVER)


@pytest.mark.parametrize(
    ("model", "name"), [("film_reviews", "serve-film-reviews"), ("Digits", "serve-digits"), ("a", "serve-a")]
)
def test_resources_are_named_after_the_model(model: str, name: str):
    assert name_of(model) == name


@pytest.mark.parametrize("model", ["film reviews", "-x", "x_", "model.v2", "x" * 58, "größe", ""])
def test_a_name_that_is_not_valid_in_kubernetes_is_an_error(model: str):
    with pytest.raises(ConfigError, match="57 letters"):
        name_of(model)


class Cluster:
    """A fake API server: what was applied, and what it has."""

    def __init__(self) -> None:
        self.applied: dict[str, dict[str, Any]] = {}
        self.present: dict[str, Any] | None = None
        self.backend = "onnxruntime"

    @property
    def image(self) -> str:
        return str(self.applied["Deployment"]["spec"]["template"]["spec"]["containers"][0]["image"])

    def take(self, documents: list[dict[str, Any]]) -> None:
        self.applied = {document["kind"]: document for document in documents}
        self.present = self.applied["Deployment"]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(applying, "apply", cluster.take)
    monkeypatch.setattr(applying, "found", lambda *place: cluster.present)
    monkeypatch.setattr(storage, "content", lambda uri: json.dumps({"backend": cluster.backend}).encode())
    return cluster


def promote(secret: str = "toolchain-serving", **options: Any) -> None:
    model_server.apply("toolchain", REPOSITORY, ROUTING, ENTRY, PodOptions(**options), secret)


def test_a_model_is_served_by_the_image_that_has_its_back_end(cluster: Cluster):
    promote()
    assert cluster.image == images.SERVE
    cluster.backend = "openvino"
    promote()
    assert cluster.image == images.SERVE_OPENVINO
    cluster.backend = "onnxruntime"
    promote()
    assert cluster.image == images.SERVE_OPENVINO, "a rollback to the version before would start all pods anew"


def test_openvino_on_a_gpu_is_rejected(cluster: Cluster):
    cluster.backend = "openvino"
    with pytest.raises(ConfigError, match="OpenVINO, which runs on CPUs only"):
        promote(gpus=1)


def test_size_and_gpus_stay_until_others_are_requested(cluster: Cluster):
    promote()
    assert cluster.applied["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2, "medium"
    promote(size="small", gpus=1)
    promote()
    resources = cluster.applied["Deployment"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (resources["requests"]["cpu"], resources["limits"]["nvidia.com/gpu"]) == ("250m", "1")
    assert cluster.image == images.SERVE_GPU
    promote(gpus=0)
    assert cluster.image == images.SERVE


def test_samples_are_kept_in_the_bucket_once_requested_until_they_are_not(cluster: Cluster):
    def words() -> list[str]:
        return list(cluster.applied["Deployment"]["spec"]["template"]["spec"]["containers"][0]["args"])

    promote()
    assert "--samples" not in words(), "nothing of a request is kept unless somebody asks for it"
    promote(sample_percent=2.5)
    promote()
    bucket = REPOSITORY.removeprefix("s3://").split("/")[0]
    assert words()[-4:] == ["--samples", f"s3://{bucket}/samples", "--sample-percent", "2.5"]
    assert server_parser().parse_args(words()).sample_percent == 2.5
    promote(sample_percent=0)
    assert "--samples" not in words()


def test_tokens_are_mounted_with_all_keys_and_may_be_required_until_they_are_not(cluster: Cluster):
    def pod_spec() -> tuple[bool, bool]:
        spec = cluster.applied["Deployment"]["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        volume = next(volume["secret"] for volume in spec["volumes"] if volume["name"] == "tokens")
        mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "tokens")
        parsed = server_parser().parse_args(container["args"])
        assert (volume["secretName"], "items" in volume) == ("serve-tokens", False)
        assert str(parsed.tokens_dir) == mount["mountPath"]
        assert not any("TOKEN" in variable["name"] for variable in container["env"])
        return parsed.require_tokens, volume["optional"]

    promote()
    assert pod_spec() == (False, True)
    promote(require_tokens=True)
    promote()
    assert pod_spec() == (True, False)
    promote(require_tokens=False)
    assert pod_spec() == (False, True)


def test_pods_have_the_keys_that_may_only_read_what_is_served_or_those_that_are_named(cluster: Cluster):
    def secrets() -> set[str]:
        env = cluster.applied["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"]
        return {one["valueFrom"]["secretKeyRef"]["name"] for one in env if "secretKeyRef" in one["valueFrom"]}

    promote()
    assert secrets() == {"toolchain-serving"}
    promote(secret="toolchain-steps")  # an S3 outside the cluster with one pair of keys
    assert secrets() == {"toolchain-steps"}


def test_a_rollback_leaves_the_image_as_it_is(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    promote()
    before = cluster.image
    monkeypatch.setattr(images, "SERVE", before.replace(images.VERSION, "9.9.9"))
    model_server.apply("toolchain", REPOSITORY, ROUTING, ENTRY)
    assert cluster.image == before
    promote()
    assert cluster.image == images.SERVE


def test_the_name_of_another_models_servers_is_rejected(cluster: Cluster):
    cluster.present = {"metadata": {"labels": {"toolchain/model": "film-reviews"}}}
    with pytest.raises(ConfigError, match="serve-film-reviews in namespace toolchain serves film-reviews"):
        promote()


READY = {
    "metadata": {"generation": 2},
    "spec": {"replicas": 2},
    "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
}


def ready(digest: str, **refused: str) -> str:
    return json.dumps({"versions": {"stable": {"digest": digest}}, "rejected": refused})


def test_a_change_is_waited_for_until_every_pod_serves_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    responses = iter([{"a": ready(NEW.digest)}, {"a": ready(OLD.digest), "b": ready(NEW.digest)}])
    all_have = {"a": ready(OLD.digest), "b": ready(OLD.digest)}
    monkeypatch.setattr(kubernetes, "pod_responses", lambda *place: next(responses, all_have))
    cluster.present = READY
    model_server.wait("toolchain", ROUTING)
    printed = capsys.readouterr().out
    assert printed.count("version 3 is not loaded yet") == 1, "a line for each change, not for each poll"
    assert "2 pods serve version" in printed


def test_pods_that_were_replaced_are_waited_for_until_they_are_gone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    answers = {name: ready(OLD.digest) for name in ("a", "b", "replaced")}
    monkeypatch.setattr(kubernetes, "pod_responses", lambda *place: answers)
    cluster.present = READY
    with pytest.raises(ServiceError, match="1 replaced pods are ending"):
        model_server.wait("toolchain", ROUTING, timeout_s=0)


def test_a_version_that_the_pods_reject_is_reported_with_their_reason(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    answers = {"a": ready(NEW.digest, **{"3": "it answers otherwise than recorded"})}
    monkeypatch.setattr(kubernetes, "pod_responses", lambda *place: answers)
    cluster.present = READY
    with pytest.raises(ServiceError, match=r"version 3 is not loaded yet \(3 is rejected: it answers otherwise"):
        model_server.wait("toolchain", ROUTING, timeout_s=0)


def test_silence_is_no_agreement(cluster: Cluster, monkeypatch: pytest.MonkeyPatch):
    def silent(*place: object) -> dict[str, str]:
        raise ServiceError("no pod answers")

    monkeypatch.setattr(kubernetes, "pod_responses", silent)
    cluster.present = READY
    with pytest.raises(ServiceError, match="in every pod after 0 s: no pod answers"):
        model_server.wait("toolchain", ROUTING, timeout_s=0)
