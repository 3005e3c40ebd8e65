"""The chart's Prometheus and Grafana: rules and dashboards of monitoring/, scrape targets, and network access."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml

from cli.serving.kubernetes.resources import documents
from tests.support.chart import CHART, helm
from tests.support.model_server_resources import SERVER

Resources = tuple[dict[str, Any], ...]
MONITORING = Path(__file__).parents[2] / "monitoring"
RULES = MONITORING / "prometheus" / "rules.yml"
needs_promtool = pytest.mark.skipif(not which("promtool"), reason="needs promtool: apt-get install prometheus")
with_operator = ("--set=prometheus.type=operator,grafana.type=sidecar", "--set=prometheus.operator.labels.release=prom")


def resource(resources: Resources, kind: str, name: str) -> dict[str, Any]:
    return next(one for one in resources if (one["kind"], one["metadata"]["name"]) == (kind, name))


def test_prometheus_loads_the_rules_of_monitoring(render: Callable[..., Resources]):
    assert resource(render(), "ConfigMap", "toolchain-prometheus")["data"]["rules.yml"] == RULES.read_text()


def test_grafana_loads_the_dashboards_of_monitoring(render: Callable[..., Resources]):
    dashboards = {file.name: file.read_text() for file in (MONITORING / "grafana" / "dashboards").glob("*.json")}
    for options in ((), with_operator):
        found = resource(render(*options), "ConfigMap", "toolchain-grafana-dashboards")
        assert found["data"] == dashboards
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_a_packaged_chart_contains_rules_and_dashboards(tmp_path: Path, render: Callable[..., Resources]):
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("*.tgz")
    images = "images.base=ghcr.io/toolchain/base:1,images.mlflow=ghcr.io/toolchain/mlflow:1"
    said = helm("template", "toolchain", str(archive), "--namespace", "charttest", "--set", images)
    packaged = tuple(document for document in yaml.safe_load_all(said.stdout) if document)
    for name in ("toolchain-prometheus", "toolchain-grafana-dashboards", "toolchain-grafana-provisioning"):
        assert resource(packaged, "ConfigMap", name)["data"] == resource(render(), "ConfigMap", name)["data"]


@needs_promtool
@pytest.mark.parametrize("alertmanagers", ["[]", '["alertmanager.monitoring:9093"]'])
def test_the_configuration_of_prometheus_is_valid(alertmanagers: str, render: Callable[..., Resources], tmp_path: Path):
    words = f"--set-json=prometheus.alertmanagers={alertmanagers}"
    found = resource(render(words), "ConfigMap", "toolchain-prometheus")
    config = yaml.safe_load(found["data"]["prometheus.yml"])
    for job in config["scrape_configs"]:  # Debian's promtool is built without Kubernetes; tests/cluster tests all of it
        assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"own_namespace": True}}]
        job["static_configs"] = [{"targets": ["127.0.0.1:8080"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "rules.yml").write_text(found["data"]["rules.yml"])
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_interval_and_retention_of_prometheus(render: Callable[..., Resources]):
    resources = render(
        "--set=prometheus.scrapeIntervalSeconds=5,prometheus.retentionDays=30,prometheus.persistence.size=500Mi"
    )
    config = yaml.safe_load(resource(resources, "ConfigMap", "toolchain-prometheus")["data"]["prometheus.yml"])
    assert config["global"] == dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "5s")
    pod = resource(resources, "StatefulSet", "toolchain-prometheus")["spec"]["template"]["spec"]
    assert {"--storage.tsdb.retention.time=30d", "--storage.tsdb.retention.size=400MB"} <= set(
        pod["containers"][0]["args"]
    )
    grafana = resource(resources, "Deployment", "toolchain-grafana")["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "SCRAPE_INTERVAL", "value": "5s"} in grafana["env"]


@pytest.mark.parametrize(
    ("size", "kept"),  # 80 % of it, in MB as Prometheus counts them, of 2^20 bytes
    [
        ("512Gi", 419430),
        ("0.5Ti", 419430),
        ("549755813888", 419430),
        ("1000M", 762),
        ("1e9", 762),
        ("1G", 762),
        ("1048576Ki", 819),
        ("107374182400m", 81),
        ("2Pi", 1717986918),
    ],
)
def test_equal_sizes_in_different_notations(size: str, kept: int, render: Callable[..., Resources]):
    pod = resource(render(f"--set-string=prometheus.persistence.size={size}"), "StatefulSet", "toolchain-prometheus")
    arguments = pod["spec"]["template"]["spec"]["containers"][0]["args"]
    assert f"--storage.tsdb.retention.size={kept}MB" in arguments


def test_scrape_jobs_have_the_names_in_the_rules(render: Callable[..., Resources]):
    resources = render()
    config = yaml.safe_load(resource(resources, "ConfigMap", "toolchain-prometheus")["data"]["prometheus.yml"])
    chosen = {job["job_name"]: job["relabel_configs"][0]["regex"] for job in config["scrape_configs"]}
    assert chosen == {"toolchain-serving": "model-server", "toolchain-services": "argo-workflow-controller|exporter"}
    for name in ("workflow-controller", "toolchain-exporter"):
        pod = resource(resources, "Deployment", name)["spec"]["template"]
        assert re.fullmatch(chosen["toolchain-services"], pod["metadata"]["labels"]["app.kubernetes.io/component"])
        assert pod["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
        (port,) = [port for port in pod["spec"]["containers"][0]["ports"] if port["name"] == "metrics"]
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
    for job in config["scrape_configs"]:
        namespace = {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"}
        assert namespace in job["relabel_configs"]


def test_prometheus_can_only_read_pods_of_its_namespace(render: Callable[..., Resources]):
    role = resource(render(), "Role", "toolchain-prometheus")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]


def test_only_prometheus_can_read_metrics(render: Callable[..., Resources]):
    policy = resource(render(), "NetworkPolicy", "toolchain-metrics")["spec"]
    assert policy["podSelector"]["matchExpressions"][0]["values"] == [
        "model-server",
        "argo-workflow-controller",
        "exporter",
    ]
    asking = [one["podSelector"]["matchLabels"] for rule in policy["ingress"] for one in rule["from"]]
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in render() if one["kind"] == "StatefulSet"]
    allowed = {
        pod["app.kubernetes.io/component"] for pod in pods if any(labels.items() <= pod.items() for labels in asking)
    }
    assert allowed == {"prometheus"}


def test_prometheus_reaches_the_metrics_port_of_a_model_only(render: Callable[..., Resources]):
    pod = next(one for one in documents(SERVER) if one["kind"] == "Deployment")["spec"]["template"]
    ports = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(ports["metrics"])
    for options in ((), with_operator):
        policy = resource(render(*options), "NetworkPolicy", "toolchain-metrics")["spec"]
        opened = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        assert ports["metrics"] in opened
        assert not opened & {ports["http"], ports["grpc"]}
    monitor = resource(render(*with_operator), "PodMonitor", "toolchain-serving")["spec"]
    assert [one["port"] for one in monitor["podMetricsEndpoints"]] == ["metrics"]
    calling = next(one for one in documents(SERVER) if one["kind"] == "NetworkPolicy")["spec"]["ingress"]
    assert ports["metrics"] not in {port["port"] for rule in calling for port in rule["ports"]}


def test_metrics_are_open_to_the_operators_namespace_only_if_set(render: Callable[..., Resources]):
    resources = render(*with_operator, "--set=prometheus.operator.namespace=monitoring")
    (asking,) = resource(resources, "NetworkPolicy", "toolchain-metrics")["spec"]["ingress"][0]["from"]
    assert asking["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}


def test_egress_to_an_alertmanager_only_if_set(render: Callable[..., Resources]):
    names = {one["metadata"]["name"] for one in render() if one["kind"] == "NetworkPolicy"}
    assert "toolchain-reaches-alertmanager" not in names
    policy = resource(
        render("--set=prometheus.alertmanagers={a:9093,b:9093,c:443}"),
        "NetworkPolicy",
        "toolchain-reaches-alertmanager",
    )
    assert policy["spec"]["egress"] == [{"ports": [{"port": 9093}, {"port": 443}]}]


def test_an_operator_gets_the_same_rules_and_job_names(render: Callable[..., Resources]):
    resources = render(*with_operator)
    assert resource(resources, "PrometheusRule", "toolchain")["spec"] == yaml.safe_load(RULES.read_text())
    monitors = [one for one in resources if one["kind"] == "PodMonitor"]
    assert {one["metadata"]["name"] for one in monitors} == {"toolchain-serving", "toolchain-services"}
    for one in monitors:
        relabelings = one["spec"]["podMetricsEndpoints"][0]["relabelings"]
        assert {"targetLabel": "job", "replacement": one["metadata"]["name"]} in relabelings
        assert one["metadata"]["labels"]["release"] == "prom"
    assert not [one for one in resources if one["kind"] == "StatefulSet" and "prometheus" in one["metadata"]["name"]]
    (asking,) = resource(resources, "NetworkPolicy", "toolchain-metrics")["spec"]["ingress"][0]["from"]
    assert asking["namespaceSelector"] == {}


def test_grafana_requires_a_login(render: Callable[..., Resources]):
    resources = render()
    container = resource(resources, "Deployment", "toolchain-grafana")["spec"]["template"]["spec"]["containers"][0]
    environment = {variable["name"]: variable for variable in container["env"]}
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"]["value"] == "false"
    for name in ("GF_SECURITY_ADMIN_PASSWORD", "GF_SECURITY_SECRET_KEY"):
        assert environment[name]["valueFrom"]["secretKeyRef"]["name"] == "toolchain-grafana"
    provisioning = resource(resources, "ConfigMap", "toolchain-grafana-provisioning")["data"]
    (source,) = yaml.safe_load(provisioning["prometheus.yml"])["datasources"]
    assert {source["url"], source["jsonData"]["timeInterval"]} <= {f"${name}" for name in environment}
    assert environment["PROMETHEUS_URL"]["value"] == "http://toolchain-prometheus.charttest:9090"


def test_without_monitoring_no_resource_of_it_is_rendered(render: Callable[..., Resources]):
    resources = render("--set=prometheus.type=none,grafana.type=none")
    words = ("prometheus", "grafana", "metrics", "exporter", "certificates")
    assert [
        one["metadata"]["name"] for one in resources if any(word in one["metadata"]["name"] for word in words)
    ] == []


def test_grafana_queries_an_external_prometheus(render: Callable[..., Resources]):
    resources = render("--set=prometheus.type=none,grafana.prometheusUrl=https://prometheus.example.com")
    policy = resource(resources, "NetworkPolicy", "toolchain-reaches-prometheus")["spec"]
    assert policy["egress"] == [{"ports": [{"port": 443}]}]
    assert "https://prometheus.example.com" in json.dumps(resource(resources, "Deployment", "toolchain-grafana"))


def test_certificates_of_external_services_and_of_the_values_are_monitored(render: Callable[..., Resources]):
    def watched(*words: str) -> tuple[str, list[Any]]:
        resources = render(*words)
        container = resource(resources, "Deployment", "toolchain-exporter")["spec"]["template"]["spec"]["containers"][0]
        (hosts,) = [one["value"] for one in container["env"] if one["name"] == "CHECK_TLS"]
        return hosts, resource(resources, "NetworkPolicy", "toolchain-reaches-certificates")["spec"]["egress"]

    assert watched() == ("", [])
    external = (
        "storage.type=external,storage.external.endpoint=https://s3.example.com,steps.existingSecret=toolchain-steps"
    )
    named = "prometheus.certificates={kfp.example.com:8443}"
    ports = [{"ports": [{"port": 8443}]}, {"ports": [{"port": 443}]}]
    assert watched(f"--set={external}", f"--set={named}") == ("kfp.example.com:8443,s3.example.com:443", ports)


@pytest.mark.parametrize(("enabled", "hours"), [("true", "30"), ("false", "0")])
def test_backups_are_monitored_if_enabled(enabled: str, hours: str, render: Callable[..., Resources]):
    pod = resource(render(f"--set=backup.enabled={enabled}"), "Deployment", "toolchain-exporter")["spec"]["template"]
    environment = {one["name"]: one.get("value") for one in pod["spec"]["containers"][0]["env"]}
    assert environment["BACKUP_MAX_AGE_HOURS"] == hours
    assert environment["CHECK_MYSQL"] == "toolchain-mysql:3306"
    assert environment["CHECK_MLFLOW"] == "http://toolchain-mlflow.charttest:5000"
