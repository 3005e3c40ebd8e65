"""Models on a real cluster: promoted, called, tried as a canary, rolled back, and not one request lost by any of it.

The tests run in their order on one release: what one leaves, the next finds. Requests come from a pod, as those of a
cluster's users do; they ask the Service, once over kept connections and once over a new one for each.
"""

import base64
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.cluster import bucket
from cli.cluster.tracking import cluster_registry
from cli.serving.kubernetes.resources import documents
from cli.settings import read_settings
from cli.setup import deploy
from components import images
from tests.support.cluster import Cluster, on_the_node
from tests.support.model_server_resources import SERVER
from tests.support.models import brightness, picture, record, write_model, write_words
from toolchain.artifacts.expected import Row, encode_image
from toolchain.artifacts.folder import link_or_copy
from toolchain.artifacts.model import new_model, open_model
from toolchain.artifacts.provenance import Work
from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "charts" / "toolchain" / "ci" / "small-values.yaml"
WHAT_SERVING_NEEDS = [
    "kfp.enabled=false",
    "argo.enabled=false",
    "backup.enabled=false",
    "prometheus.scrapeIntervalSeconds=3",
]
# Which of two models of a few KB is faster, on a node that does all else too, is not asked here.
TRIAL = ("--canary", "50", "--steps", "100", "--minutes", "4", "-p", "slow=0.5,0.95")
WORDS, SHADES = "reviews", "shades"  # a text model and a vision model
CALLER = """
import http.client, json, threading, time
from collections import Counter
BODY = json.dumps({"texts": ["a good film"]})
answered, faults = Counter(), Counter()

def ask(connection):
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = json.loads(answer.read())
    if answer.status != 200:
        raise RuntimeError(f"{answer.status} {told['detail']}")
    return told["model"]["version"]

def call(kept):
    connection = http.client.HTTPConnection("serve-reviews", 8080, timeout=30)
    while True:
        try:
            answered[ask(connection)] += 1
        except Exception as error:
            faults[repr(error)] += 1
            connection.close()
        if not kept:
            connection.close()
        time.sleep(0.03)

for kept in (True, True, False):
    threading.Thread(target=call, args=(kept,), daemon=True).start()
while True:
    time.sleep(0.5)
    print(json.dumps({"answered": dict(answered), "faults": dict(faults)}), flush=True)
"""


@pytest.fixture(scope="module")
def release(cluster: Callable[[str], Cluster], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield a namespace with MLflow, S3 and Prometheus, which the commands find by the kubeconfig alone."""
    found = cluster("serving")
    without = [] if on_the_node("prometheus") else ["prometheus.type=none"]
    deploy.deploy(found.namespace, [SMALL], [*WHAT_SERVING_NEEDS, *without], timeout_minutes=6)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KFP_NAMESPACE", found.namespace)
        environment.setenv("TOOLCHAIN_RUNS", str(tmp_path_factory.mktemp("runs")))
        environment.setenv("TOOLCHAIN_RESOURCES", "small")
        environment.setenv("TOOLCHAIN_OWNER", "ann")
        for name in ("MLFLOW_TRACKING_URI", "TOOLCHAIN_BUCKET", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID"):
            environment.delenv(name, raising=False)
        yield found


@contextmanager
def registry(release: Cluster) -> Iterator[Tracker]:
    settings = read_settings()
    with bucket.cluster_bucket(settings, release.namespace), cluster_registry(settings, release.namespace) as found:
        yield Tracker(found.tracking_uri)


def register(tracker: Tracker, name: str, number: int, folder: Path) -> None:
    """Register the model in ``folder`` as a version that the gate found best."""
    place = tracker.create_run("any", f"{name} {number}", {})
    tracker.upload(place, folder, f"variants/{number}")
    model = open_model(folder)
    tags = {"digest": model.digest, "variant": model.variant, "backend": model.signature.backend}
    tracker.add_version(name, place, f"variants/{number}", {**tags, "accurate": "true", "processor": "any"}, "")
    tracker.set_alias(name, "candidate", str(number))


def write_shades(target: Path) -> Path:
    folder = write_model(target, "image-classification", brightness, ("dark", "bright"))
    rows = [(0, (0.7310586, 0.2689414)), (255, (0.2689414, 0.7310586))]  # softmax of -0.5 and 0.5, and turned round
    record(folder, [Row(image=encode_image(picture(level)), scores=scores) for level, scores in rows])
    return folder


def write_openvino(target: Path, words: Path) -> Path:
    """Write the model in ``words`` in OpenVINO's own format."""
    import openvino

    model = open_model(words)
    signature = replace(
        model.signature, variant="openvino", framework="openvino", backend="openvino", weights="model.xml"
    )
    with new_model(target, signature, Work("optimize.quantize", None)) as writer:
        openvino.save_model(openvino.convert_model(str(model.weights)), str(writer.folder / "model.xml"))
        link_or_copy(words / "tokenizer.json", writer.folder / "tokenizer.json")
    rows = json.loads((words / "expected.json").read_text())["rows"]
    record(target, [Row(text=row["text"], scores=tuple(row["scores"])) for row in rows])
    return target


@pytest.fixture(scope="module")
def models(release: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Register versions of both models and return the digests of the text model's, by number."""
    folder = tmp_path_factory.mktemp("models")
    words = {number: write_words(folder / str(number), float(number)) for number in (1, 2)}
    words[3] = write_openvino(folder / "3", words[2])
    with registry(release) as tracker:
        for number, path in words.items():
            register(tracker, WORDS, number, path)
        register(tracker, SHADES, 1, write_shades(folder / "shades"))
    return {str(number): open_model(path).digest for number, path in words.items()}


def ask(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{address}/predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def columns(release: Cluster, *labels: str) -> list[str]:
    """Return what ``kubectl get deployment -L`` shows of the text model's labels."""
    words = [f"--label-columns=toolchain/{label}" for label in labels]
    line = release.kubectl("get", "deployment", "serve-reviews", "--no-headers", *words)
    return line.split()[-len(labels) :]


def pipelines(*words: str) -> tuple[str, float]:
    """Return what ``toolchain words`` prints, having succeeded, and the seconds that it takes."""
    began = time.monotonic()
    command = [sys.executable, "-m", "cli", *words]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout, time.monotonic() - began


@pytest.fixture(scope="module")
def caller(release: Cluster, models: dict[str, str]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Yield what tells the requests of a pod that asks without a pause, answered by version and failed by reason."""
    container = {
        "name": "caller",
        "image": images.SERVE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", CALLER],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "caller", "labels": {"toolchain/reaches-model-server": "true"}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }
    release.kubectl("apply", "--filename=-", given=json.dumps(pod))
    release.kubectl("wait", "pod/caller", "--for=condition=Ready", "--timeout=60s")
    time.sleep(2)
    yield lambda: json.loads(release.kubectl("logs", "caller", "--tail=1"))
    release.kubectl("delete", "pod", "caller", "--wait=false")


def none_lost(caller: Callable[[], dict[str, Any]], before: dict[str, Any], more: int = 20) -> dict[str, Any]:
    """Return what the caller tells, after a check that ``more`` was answered since ``before`` and nothing failed."""
    told = caller()
    assert told["faults"] == before["faults"]
    assert sum(told["answered"].values()) - sum(before["answered"].values()) >= more
    return told


def test_a_promoted_model_answers_on_the_cluster(release: Cluster, models: dict[str, str]) -> None:
    _, seconds = pipelines("promote", WORDS, "--version", "1", "--engine", "cluster", "--reason", "the first")
    print(f"the first promotion took {seconds:.1f} s")
    with release.reached("service/serve-reviews", 8080) as address:
        told = ask(address, {"texts": ["a good film", "bad and dull"]})
    assert [answer["label"] for answer in told["predictions"]] == ["positive", "negative"]
    assert (told["model"]["version"], told["model"]["digest"]) == ("1", models["1"])


def test_kubectl_tells_version_digest_and_verdict(release: Cluster, models: dict[str, str]) -> None:
    assert columns(release, "version", "digest", "verdict") == ["1", models["1"][:12], "accurate"]
    deployment = json.loads(release.kubectl("get", "deployment", "serve-reviews", "--output=json"))
    assert deployment["metadata"]["annotations"]["toolchain/digest"] == models["1"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == images.SERVE


def test_a_cluster_takes_each_resource_of_each_size_without_a_warning(release: Cluster) -> None:
    kinds = "deployment,service,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,serviceaccount"
    made = release.kubectl("get", kinds, "--selector=toolchain/model=reviews", "--output=name").split()
    assert len(made) == 6
    for size, gpus in (("small", 0), ("medium", 1), ("large", 0)):
        server = replace(SERVER, namespace=release.namespace, size=size, gpus=gpus)
        told = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents(server)})
        words = ("apply", "--server-side", "--dry-run=server", "--filename=-")
        assert "Warning" not in release.kubectl(*words, given=told, errors=True)


def test_what_answers_leads_back_to_the_model_that_was_registered(release: Cluster, models: dict[str, str]) -> None:
    with release.reached("service/serve-reviews", 8080) as address, registry(release):
        told, _ = pipelines("lineage", f"http://{address}")
    assert "version 1 of reviews" in told
    assert models["1"][:12] in told


def test_prometheus_finds_the_pods_and_has_their_figures(
    release: Cluster, caller: Callable[[], dict[str, Any]]
) -> None:
    if not on_the_node("prometheus"):
        pytest.skip("no node has the chart's image of Prometheus")
    query = 'sum(toolchain_serving_requests_total{job="toolchain-serving",model="reviews",route="/predict"})'
    with release.reached("service/toolchain-prometheus", 9090) as address:
        for _ in range(60):
            url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            with urllib.request.urlopen(url, timeout=30) as answer:
                result = json.loads(answer.read())["data"]["result"]
            if result and float(result[0]["value"][1]) > 100:
                return
            time.sleep(1)
    raise AssertionError(f"Prometheus has not seen 100 requests: {result}")


def test_a_canary_is_promoted_under_traffic(
    release: Cluster, models: dict[str, str], caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    _, seconds = pipelines("promote", WORDS, "--version", "2", "--engine", "cluster", *TRIAL)
    print(f"a canary at 50 % was decided and promoted in {seconds:.1f} s")
    time.sleep(1)
    told = none_lost(caller, before, more=200)
    assert told["answered"]["2"] > 100
    assert columns(release, "version", "digest", "verdict") == ["2", models["2"][:12], "accurate"]


def test_a_rolling_update_loses_no_request(release: Cluster, caller: Callable[[], dict[str, Any]]) -> None:
    before = caller()
    release.kubectl("rollout", "restart", "deployment/serve-reviews")
    release.kubectl("rollout", "status", "deployment/serve-reviews", "--timeout=120s")
    time.sleep(22)  # the old pod answers for 15 s yet, drains for 5 s, and ends
    none_lost(caller, before, more=200)


def test_a_rollback_takes_seconds_and_loses_no_request(
    release: Cluster, models: dict[str, str], caller: Callable[[], dict[str, Any]]
) -> None:
    before, pods = caller(), set(release.kubectl("get", "pods", "--output=name").split())
    _, seconds = pipelines("rollback", WORDS, "--engine", "cluster", "--reason", "to see how long it takes")
    print(f"a rollback took {seconds:.1f} s")
    assert seconds < 60  # most of it starts Python and reaches MLflow; the pods follow in 3 s
    time.sleep(1)
    told = none_lost(caller, before)
    assert told["answered"]["1"] > before["answered"]["1"]
    assert columns(release, "version", "digest") == ["1", models["1"][:12]]
    started = set(release.kubectl("get", "pods", "--output=name").split()) - pods
    assert not started, "no pod was started for it"  # one that an earlier update replaced may have ended meanwhile


def test_a_pod_that_is_deleted_is_replaced_and_loses_no_request(
    release: Cluster, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    release.kubectl("delete", "pod", "--selector=app.kubernetes.io/name=reviews")  # waits until it has ended
    release.kubectl("rollout", "status", "deployment/serve-reviews", "--timeout=120s")
    time.sleep(1)
    none_lost(caller, before, more=100)


def test_a_server_goes_on_while_s3_is_away_and_starts_anew_from_what_it_keeps(
    release: Cluster, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    release.kubectl("scale", "statefulset/toolchain-minio", "--replicas=0", "--timeout=120s")
    try:
        release.kubectl("wait", "pod/toolchain-minio-0", "--for=delete", "--timeout=120s")
        time.sleep(6)  # three looks at the repository
        before = none_lost(caller, before)
        pod = release.kubectl("get", "pods", "--selector=app.kubernetes.io/name=reviews", "--output=name")
        release.kubectl("exec", pod, "--", "python", "-c", "import os, signal; os.kill(1, signal.SIGINT)")
        restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
        release.kubectl("wait", pod, restarted, "--timeout=120s")
        release.kubectl("wait", pod, "--for=condition=Ready", "--timeout=120s")
        with release.reached(pod, 8080) as address:
            assert ask(address, {"texts": ["a good film"]})["model"]["version"] == "1"
    finally:
        release.kubectl("scale", "statefulset/toolchain-minio", "--replicas=1")
        release.kubectl("rollout", "status", "statefulset/toolchain-minio", "--timeout=120s")


def test_a_canary_of_openvino_gets_the_image_that_runs_it_before_it_is_tried(
    release: Cluster, models: dict[str, str], caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    _, seconds = pipelines("promote", WORDS, "--version", "3", "--engine", "cluster", *TRIAL)
    print(f"a canary with another image took {seconds:.1f} s")
    none_lost(caller, before, more=200)
    with release.reached("service/serve-reviews", 8080) as address:
        told = ask(address, {"texts": ["a good film"]})
    assert (told["model"]["version"], told["model"]["variant"]) == ("3", "openvino")
    assert told["predictions"][0]["label"] == "positive"
    deployment = json.loads(release.kubectl("get", "deployment", "serve-reviews", "--output=json"))
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == images.SERVE_OPENVINO


def test_a_vision_model_is_served_likewise(release: Cluster, models: dict[str, str]) -> None:
    pipelines("promote", SHADES, "--engine", "cluster")
    with release.reached("service/serve-shades", 8080) as address:
        pictures = [base64.b64encode(picture(level)).decode() for level in (0, 255)]
        told = ask(address, {"images": pictures})
    assert [answer["label"] for answer in told["predictions"]] == ["dark", "bright"]


def test_a_served_model_is_taken_away_by_its_label(release: Cluster) -> None:
    kinds = "deployment,service,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,serviceaccount"
    release.kubectl("delete", kinds, "--selector=toolchain/model=shades")
    assert release.kubectl("get", kinds, "--selector=toolchain/model=shades", "--output=name") == ""
