"""Models on a real cluster: promoted, called, tried as a canary, rolled back, and not one request lost by any of it.

All tests use one release, and each can run alone: ``first_version`` returns to the text model's first version. Requests
come from a pod, as those of a cluster's users do; they go to the Service, over kept connections and over new ones.
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
from toolchain.lifecycle import ledger
from toolchain.lifecycle.ledger import Ledger
from toolchain.services.mlflow import Tracker

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "charts" / "toolchain" / "ci" / "small-values.yaml"
WHAT_SERVING_NEEDS = [
    "kfp.enabled=false",
    "argo.enabled=false",
    "backup.enabled=false",
    "prometheus.scrapeIntervalSeconds=3",
]
# The node does all else too: which of two models of a few KB is faster there does not matter.
TRIAL = ("--canary", "50", "--steps", "100", "--minutes", "4", "-p", "slow=0.5,0.95")
WORDS = "reviews"  # a text model
RESOURCES = "deployment,service,poddisruptionbudget,horizontalpodautoscaler,networkpolicy,serviceaccount"
CALLER = """
import http.client, json, threading, time
from collections import Counter
BODY = json.dumps({"texts": ["a good film"]})
predicted, faults = Counter(), Counter()

def predict(connection):
    connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = json.loads(response.read())
    if response.status != 200:
        raise RuntimeError(f"{response.status} {content['detail']}")
    return content["model"]["version"]

def call(kept):
    connection = http.client.HTTPConnection("serve-reviews", 8080, timeout=30)
    while True:
        try:
            predicted[predict(connection)] += 1
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
    print(json.dumps({"predicted": dict(predicted), "faults": dict(faults)}), flush=True)
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
    """Register the versions of the text model and return their digests, by number."""
    folder = tmp_path_factory.mktemp("models")
    words = {number: write_words(folder / str(number), float(number)) for number in (1, 2)}
    words[3] = write_openvino(folder / "3", words[2])
    with registry(release) as tracker:
        for number, path in words.items():
            register(tracker, WORDS, number, path)
    return {str(number): open_model(path).digest for number, path in words.items()}


@pytest.fixture(scope="module")
def deployed(release: Cluster, models: dict[str, str]) -> None:
    """Promote the first version of the text model."""
    _, seconds = run("promote", WORDS, "--version", "1", "--engine", "cluster", "--reason", "the first")
    print(f"the first promotion took {seconds:.1f} s")


@pytest.fixture
def first_version(release: Cluster, deployed: None) -> None:
    """Return to the first version, in pods of the default image, from whatever an earlier test left."""
    while (known := ledger_of(release)).trial or (known.serving and known.serving.version != "1"):
        run("rollback", WORDS, "--engine", "cluster", "--reason", "a test begins with the first version")
    if image_of(release) != images.SERVE:  # a rollback keeps the image of OpenVINO, which runs all models
        release.kubectl("delete", "deployment/serve-reviews")
        run("promote", WORDS, "--version", "1", "--engine", "cluster")
    time.sleep(2)  # until the endpoints of the Service are those of the pods


def ledger_of(release: Cluster) -> Ledger:
    with registry(release) as tracker:
        return ledger.read(tracker, WORDS)


def image_of(release: Cluster) -> str:
    """Return the image of the text model's Deployment, "" when there is none."""
    path = "--output=jsonpath={.items[*].spec.template.spec.containers[0].image}"
    return release.kubectl("get", "deployment", "--selector=toolchain/model=reviews", path).strip()


@pytest.fixture
def shades(release: Cluster, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that registers an image model under a name, and promotes it."""

    def promote(name: str) -> None:
        with registry(release) as tracker:
            register(tracker, name, 1, write_shades(tmp_path / name))
        run("promote", name, "--engine", "cluster")

    return promote


def predict(address: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://{address}/predict", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def columns(release: Cluster, *labels: str) -> list[str]:
    """Return what ``kubectl get deployment -L`` shows of the text model's labels."""
    options = [f"--label-columns=toolchain/{label}" for label in labels]
    line = release.kubectl("get", "deployment", "serve-reviews", "--no-headers", *options)
    return line.split()[-len(labels) :]


def run(*arguments: str) -> tuple[str, float]:
    """Return the output of ``toolchain arguments``, which succeeds, and the seconds that it takes."""
    began = time.monotonic()
    command = [sys.executable, "-m", "cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, time.monotonic() - began


@pytest.fixture(scope="module")
def caller(release: Cluster, deployed: None) -> Iterator[Callable[[], dict[str, Any]]]:
    """Yield a function that returns the requests of a pod that sends them all the time: predicted ones by version, and
    faults by reason."""
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
    """Return the caller's requests, after a check that ``more`` were predicted since ``before`` and none failed."""
    now = caller()
    assert now["faults"] == before["faults"]
    assert sum(now["predicted"].values()) - sum(before["predicted"].values()) >= more
    return now


def test_a_promoted_model_predicts_on_the_cluster(
    release: Cluster, models: dict[str, str], first_version: None
) -> None:
    with release.reached("service/serve-reviews", 8080) as address:
        found = predict(address, {"texts": ["a good film", "bad and dull"]})
    assert [prediction["label"] for prediction in found["predictions"]] == ["positive", "negative"]
    assert (found["model"]["version"], found["model"]["digest"]) == ("1", models["1"])


def test_kubectl_shows_version_digest_and_verdict(
    release: Cluster, models: dict[str, str], first_version: None
) -> None:
    assert columns(release, "version", "digest", "verdict") == ["1", models["1"][:12], "accurate"]
    deployment = json.loads(release.kubectl("get", "deployment", "serve-reviews", "--output=json"))
    assert deployment["metadata"]["annotations"]["toolchain/digest"] == models["1"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == images.SERVE


def test_a_cluster_accepts_each_resource_of_each_size_without_a_warning(release: Cluster, deployed: None) -> None:
    made = release.kubectl("get", RESOURCES, "--selector=toolchain/model=reviews", "--output=name").split()
    assert len(made) == 6
    for size, gpus in (("small", 0), ("medium", 1), ("large", 0)):
        server = replace(SERVER, namespace=release.namespace, size=size, gpus=gpus)
        resources = json.dumps({"apiVersion": "v1", "kind": "List", "items": documents(server)})
        options = ("apply", "--server-side", "--dry-run=server", "--filename=-")
        assert "Warning" not in release.kubectl(*options, given=resources, errors=True)


def test_a_server_leads_back_to_the_model_that_was_registered(
    release: Cluster, models: dict[str, str], first_version: None
) -> None:
    with release.reached("service/serve-reviews", 8080) as address:
        shown, _ = run("lineage", f"http://{address}", "--engine", "cluster")
    assert "version 1 of reviews" in shown
    assert models["1"][:12] in shown


def test_prometheus_finds_the_pods_and_has_their_metrics(
    release: Cluster, caller: Callable[[], dict[str, Any]]
) -> None:
    if not on_the_node("prometheus"):
        pytest.skip("no node has the chart's image of Prometheus")
    query = 'sum(toolchain_serving_requests_total{job="toolchain-serving",model="reviews",route="/predict"})'
    with release.reached("service/toolchain-prometheus", 9090) as address:
        for _ in range(60):
            url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
            with urllib.request.urlopen(url, timeout=30) as response:
                result = json.loads(response.read())["data"]["result"]
            if result and float(result[0]["value"][1]) > 100:
                return
            time.sleep(1)
    raise AssertionError(f"Prometheus has not seen 100 requests: {result}")


def test_a_canary_is_promoted_under_traffic(
    release: Cluster, models: dict[str, str], first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    _, seconds = run("promote", WORDS, "--version", "2", "--engine", "cluster", *TRIAL)
    print(f"a canary at 50 % was decided and promoted in {seconds:.1f} s")
    time.sleep(1)
    now = none_lost(caller, before, more=200)
    assert now["predicted"]["2"] - before["predicted"].get("2", 0) > 100
    assert columns(release, "version", "digest", "verdict") == ["2", models["2"][:12], "accurate"]


def test_a_rolling_update_loses_no_request(
    release: Cluster, first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    release.kubectl("rollout", "restart", "deployment/serve-reviews")
    release.kubectl("rollout", "status", "deployment/serve-reviews", "--timeout=120s")
    time.sleep(22)  # the old pod serves for 15 s, drains for 5 s, and ends
    none_lost(caller, before, more=200)


def test_a_rollback_takes_seconds_and_loses_no_request(
    release: Cluster, models: dict[str, str], first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    run("promote", WORDS, "--version", "2", "--engine", "cluster")
    before, pods = caller(), set(release.kubectl("get", "pods", "--output=name").split())
    _, seconds = run("rollback", WORDS, "--engine", "cluster", "--reason", "to see how long it takes")
    print(f"a rollback took {seconds:.1f} s")
    assert seconds < 60  # most of it starts Python and reaches MLflow; the pods follow in 3 s
    time.sleep(1)
    now = none_lost(caller, before)
    assert now["predicted"]["1"] > before["predicted"]["1"]
    assert columns(release, "version", "digest") == ["1", models["1"][:12]]
    started = set(release.kubectl("get", "pods", "--output=name").split()) - pods
    assert not started, "no pod was started for it"  # one that an earlier update replaced may have ended meanwhile


def test_a_pod_that_is_deleted_is_replaced_and_loses_no_request(
    release: Cluster, first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    release.kubectl("delete", "pod", "--selector=app.kubernetes.io/name=reviews")  # waits until it has ended
    release.kubectl("rollout", "status", "deployment/serve-reviews", "--timeout=120s")
    time.sleep(1)
    none_lost(caller, before, more=100)


def test_a_server_goes_on_without_s3_and_starts_again_from_its_cache(
    release: Cluster, first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    release.kubectl("scale", "statefulset/toolchain-minio", "--replicas=0", "--timeout=120s")
    try:
        release.kubectl("wait", "pod/toolchain-minio-0", "--for=delete", "--timeout=120s")
        time.sleep(6)  # three polls of the repository
        before = none_lost(caller, before)
        pod = release.kubectl("get", "pods", "--selector=app.kubernetes.io/name=reviews", "--output=name")
        release.kubectl("exec", pod, "--", "python", "-c", "import os, signal; os.kill(1, signal.SIGINT)")
        restarted = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
        release.kubectl("wait", pod, restarted, "--timeout=120s")
        release.kubectl("wait", pod, "--for=condition=Ready", "--timeout=120s")
        with release.reached(pod, 8080) as address:
            assert predict(address, {"texts": ["a good film"]})["model"]["version"] == "1"
    finally:
        release.kubectl("scale", "statefulset/toolchain-minio", "--replicas=1")
        release.kubectl("rollout", "status", "statefulset/toolchain-minio", "--timeout=120s")


def test_a_canary_of_openvino_gets_the_image_that_runs_it_before_its_trial(
    release: Cluster, models: dict[str, str], first_version: None, caller: Callable[[], dict[str, Any]]
) -> None:
    before = caller()
    _, seconds = run("promote", WORDS, "--version", "3", "--engine", "cluster", *TRIAL)
    print(f"a canary with another image took {seconds:.1f} s")
    none_lost(caller, before, more=200)
    with release.reached("service/serve-reviews", 8080) as address:
        found = predict(address, {"texts": ["a good film"]})
    assert (found["model"]["version"], found["model"]["variant"]) == ("3", "openvino")
    assert found["predictions"][0]["label"] == "positive"
    assert image_of(release) == images.SERVE_OPENVINO


def test_an_image_model_predicts_on_the_cluster(release: Cluster, shades: Callable[[str], None]) -> None:
    shades("shades")
    with release.reached("service/serve-shades", 8080) as address:
        files = [base64.b64encode(picture(level)).decode() for level in (0, 255)]
        found = predict(address, {"images": files})
    assert [prediction["label"] for prediction in found["predictions"]] == ["dark", "bright"]


def test_a_model_is_removed_by_its_label(release: Cluster, shades: Callable[[str], None]) -> None:
    shades("removed")
    release.kubectl("delete", RESOURCES, "--selector=toolchain/model=removed")
    assert release.kubectl("get", RESOURCES, "--selector=toolchain/model=removed", "--output=name") == ""
