"""Steps run as restricted pods of their own images, read from S3 and write to S3, and find what they find here.

A pod does what KFP's launcher does: fetches the inputs below /s3, runs the command that KFP compiled, and brings the
outputs back.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from cli.setup import deploy
from components.data.clean import clean
from components.data.ingest import ingest
from components.data.split import split
from components.images import BASE
from components.optimize.quantize import quantize
from tests.support.cluster import Cluster
from toolchain.artifacts.dataset import open_dataset
from toolchain.artifacts.variants import open_variants
from toolchain.services import storage

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "charts" / "toolchain" / "ci" / "small-values.yaml"
S3_AND_LITTLE_ELSE = [f"{part}.enabled=false" for part in ("kfp", "argo", "mlflow", "backup")] + [
    "prometheus.type=none"
]
PLACE = "s3://toolchain/v2/artifacts/test-steps"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
SECONDS = 180  # a step on small data takes 20 s of a busy core at most
FETCH = """
import sys
from pathlib import Path
from toolchain.services.storage import fetch_s3_prefix
for uri in sys.argv[1:]:
    fetch_s3_prefix(uri + "/", Path("/s3") / uri.removeprefix("s3://"))
"""
UPLOAD = """
import sys
from pathlib import Path
from toolchain.services.storage import upload
for uri in sys.argv[1:]:
    upload(Path("/s3") / uri.removeprefix("s3://"), uri)
"""
Step = Callable[..., str]


@pytest.fixture(scope="module")
def platform(cluster: Callable[[str], Cluster]) -> Iterator[Cluster]:
    """Yield a namespace with S3 in it, which this process reaches too."""
    found = cluster("steps")
    deploy.deploy(found.namespace, [SMALL], S3_AND_LITTLE_ELSE, timeout_minutes=6)
    with found.reached("service/toolchain-storage", 9000) as address, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{address}")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        for key in KEYS:
            environment.setenv(key, found.secret("toolchain-steps", key))
        yield found


@pytest.fixture(scope="module")
def run_step(platform: Cluster) -> Step:
    """Return a function that runs a component in a pod and returns the address of its output."""

    def run(component: Any, output: str, inputs: Mapping[str, str] = {}, **parameters: Any) -> str:
        name, uri = f"step-{component.name}", f"{PLACE}/{component.name}/{output}"
        told = executor_input(inputs, {output: uri, "metrics": f"{uri}-metrics"}, parameters)
        platform.kubectl("apply", "--filename=-", given=json.dumps(pod(component, name, told, inputs, uri)))
        try:
            ended = "--for=jsonpath={.status.phase}=Succeeded"
            platform.kubectl("wait", f"pod/{name}", ended, f"--timeout={SECONDS}s")
        except AssertionError as error:
            raise AssertionError(platform.kubectl("logs", name, "--all-containers", "--ignore-errors")) from error
        return uri

    return run


def executor_input(inputs: Mapping[str, str], outputs: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what KFP's launcher tells the executor."""

    def listed(uris: Mapping[str, str]) -> dict[str, Any]:
        return {name: {"artifacts": [{"name": name, "uri": uri}]} for name, uri in uris.items()}

    return {
        "inputs": {"parameterValues": dict(values), "artifacts": listed(inputs)},
        "outputs": {"artifacts": listed(outputs), "outputFile": "/s3/executor_output.json"},
    }


def pod(component: Any, name: str, told: Mapping[str, Any], inputs: Mapping[str, str], uri: str) -> dict[str, Any]:
    container = component.component_spec.implementation.container
    arguments = [json.dumps(told) if word == "{{$}}" else word for word in container.args]
    volumes = [{"name": "s3", "mountPath": "/s3"}, {"name": "tmp", "mountPath": "/tmp"}]
    common = {
        "image": container.image,
        "imagePullPolicy": "IfNotPresent",
        "envFrom": [{"configMapRef": {"name": "toolchain-steps"}}, {"secretRef": {"name": "toolchain-steps"}}],
        "volumeMounts": volumes,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    steps = [
        {**common, "name": "fetch", "image": BASE, "command": ["python3", "-c", FETCH, *inputs.values()]},
        {**common, "name": "step", "command": list(container.command), "args": arguments},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "toolchain"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": 10001},
            "initContainers": steps,
            "containers": [{**common, "name": "upload", "image": BASE, "command": ["python3", "-c", UPLOAD, uri]}],
            "volumes": [{"name": "s3", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        },
    }


def brought_back(uri: str, folder: Path) -> Path:
    storage.fetch_s3_prefix(f"{uri}/", folder)
    return folder


@pytest.fixture(scope="module")
def source(platform: Cluster) -> str:
    uri = f"{PLACE}/movie_reviews.csv.gz"
    storage.upload(ROOT / "samples" / "movie_reviews.csv.gz", uri)
    return uri


def test_data_steps_make_in_pods_what_they_make_here(run_step: Step, source: str, tmp_path: Path):
    from toolchain.data import clean as here_clean
    from toolchain.data import ingest as here_ingest
    from toolchain.data import split as here_split

    raw = run_step(ingest, "dataset", source=source)
    cleaned = run_step(clean, "dataset", {"raw": raw})
    splits = run_step(split, "splits", {"dataset": cleaned}, max_train_rows=500)

    here_ingest.run(tmp_path / "raw", here_ingest.Config(source=source))
    here_clean.run(tmp_path / "raw", tmp_path / "clean", here_clean.Config())
    here_split.run(tmp_path / "clean", tmp_path / "split", here_split.Config(max_train_rows=500))
    there = open_dataset(brought_back(splits, tmp_path / "there"))
    assert there.digest == open_dataset(tmp_path / "split").digest
    assert {name: there.rows(name) for name in there.splits}["train"] == 500
    assert there.lineage[0].source["uri"] == source


def test_a_model_becomes_int8_in_a_pod_as_it_does_here(run_step: Step, classifier: Path, reviews: Path, tmp_path: Path):
    from toolchain.export.onnx import Config as Export
    from toolchain.export.onnx import run as export
    from toolchain.optimize.quantize import Config as Quantize
    from toolchain.optimize.quantize import run as quantize_here

    export([classifier], reviews, tmp_path / "exported", Export())
    inputs = {"variants": f"{PLACE}/exported", "dataset": f"{PLACE}/reviews"}
    storage.upload(tmp_path / "exported", inputs["variants"])
    storage.upload(reviews, inputs["dataset"])
    quantized = run_step(quantize, "quantized", inputs, methods=["int8-dynamic"])

    quantize_here(tmp_path / "exported", reviews, tmp_path / "here", Quantize(methods=["int8-dynamic"]))
    there = open_variants(brought_back(quantized, tmp_path / "there")).models
    here = open_variants(tmp_path / "here").models
    assert {name: model.digest for name, model in there.items()} == {name: m.digest for name, m in here.items()}
    assert "int8-dynamic" in there
