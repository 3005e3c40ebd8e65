"""The chart's Prometheus on a real cluster: alone, with the pods that it finds, and with its rules."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from cli.setup import deploy
from tests.support.chart import CHART
from tests.support.cluster import Cluster, on_the_node

SMALL = CHART / "ci" / "small-values.yaml"
RULES = CHART.parents[1] / "monitoring" / "prometheus" / "rules.yml"
ALONE = [
    *(f"{part}.enabled=false" for part in ("kfp", "argo", "mlflow", "backup", "mysql")),
    "mysql.external.host=nowhere,mysql.external.user=,mysql.existingSecret=none",
    "storage.type=external,storage.external.endpoint=http://nowhere,storage.createBucket=false",
    "steps.existingSecret=toolchain-steps",
    "prometheus.scrapeIntervalSeconds=2",
]
SECONDS = 60  # to be found, and asked twice, on a busy machine


@pytest.fixture(scope="module")
def release(cluster: Callable[[str], Cluster]) -> Cluster:
    if not on_the_node("prometheus"):
        pytest.skip("no node has the chart's image of Prometheus")
    found = cluster("monitoring")
    found.kubectl("create", "namespace", found.namespace)
    keys = ("--from-literal=AWS_ACCESS_KEY_ID=any", "--from-literal=AWS_SECRET_ACCESS_KEY=any")
    found.kubectl(
        "create", "secret", "generic", "toolchain-steps", *keys
    )  # the exporter has it, for an S3 that is nowhere
    deploy.deploy(found.namespace, [SMALL], ALONE, timeout_minutes=4)
    return found


@contextmanager
def prometheus(release: Cluster) -> Iterator[Callable[[str], Any]]:
    """Yield a function that asks Prometheus' API."""
    with release.reached("service/toolchain-prometheus", 9090) as address:

        def ask(path: str) -> Any:
            with urlopen(f"http://{address}/api/v1/{path}", timeout=30) as answer:
                return json.loads(answer.read())["data"]

        yield ask


def pod(name: str, component: str, **annotations: str) -> str:
    """Return a pod that tells figures, Prometheus' own here, at two ports, of which one is named in ``annotations``."""
    image = yaml.safe_load((CHART / "values.yaml").read_text())["images"]["prometheus"]
    container = {
        "name": "telling",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config.file=/dev/null", "--storage.tsdb.path=/tmp/figures"],
        "ports": [{"containerPort": 9090}, {"containerPort": 9999}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    labels = {"app.kubernetes.io/component": component, "app.kubernetes.io/part-of": "toolchain"}
    asked = {f"prometheus.io/{key}": value for key, value in annotations.items()}
    user = {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": asked},
            "spec": {"containers": [container], "securityContext": user},
        }
    )


def test_it_evaluates_the_rules_of_monitoring(release: Cluster) -> None:
    due = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    with prometheus(release) as ask:
        loaded = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == {rule.get("record") or rule["alert"] for rule in due}
    assert {rule["health"] for rule in loaded} <= {"ok", "unknown"}  # the latter before its first evaluation


def test_it_queries_the_matching_pods_and_no_others(release: Cluster) -> None:
    release.kubectl("create", "--filename=-", given=pod("model", "model-server", scrape="true", port="9090"))
    release.kubectl("create", "--filename=-", given=pod("silent", "model-server", port="9090"))
    release.kubectl("create", "--filename=-", given=pod("other", "something", scrape="true", port="9090"))
    end = time.monotonic() + SECONDS
    with prometheus(release) as ask:
        while [target["health"] for target in ask("targets")["activeTargets"]] != ["up", "up"]:
            assert time.monotonic() < end, ask("targets")["activeTargets"]
            time.sleep(1)
        exporter, target = sorted(ask("targets")["activeTargets"], key=lambda one: str(one["labels"]["job"]))
    assert target["labels"] == {"instance": "model", "job": "toolchain-serving", "namespace": release.namespace}
    assert exporter["labels"]["job"] == "toolchain-services"
    assert target["scrapeUrl"].endswith(":9090/metrics")


def test_helm_tests_it(release: Cluster) -> None:
    program = shutil.which("helm", path=str(Path(sys.executable).parent)) or "helm"
    command = [program, "test", "toolchain", "--namespace", release.namespace, "--logs"]
    command += ["--filter", "name=toolchain-test-prometheus", "--timeout", "2m"]  # what the others ask is not here
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules are loaded" in done.stdout
    assert "1 model servers are asked" in done.stdout


def test_metrics_outlive_its_pod(release: Cluster) -> None:
    query = "query?query=min_over_time(timestamp(up{instance=%22model%22})[1h:1s])"
    with prometheus(release) as ask:
        (before,) = ask(query)["result"]
    release.kubectl("delete", "pod", "toolchain-prometheus-0")
    release.kubectl("rollout", "status", "statefulset/toolchain-prometheus", "--timeout=120s")
    with prometheus(release) as ask:
        (after,) = ask(query)["result"]
    assert float(after["value"][1]) == pytest.approx(float(before["value"][1]), abs=2)
