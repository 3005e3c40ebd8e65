"""Values that are not valid are errors that name the value."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "toolchain"


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("storage.type=ceph", "/storage/type"),
        ("storage.bucket=My_Bucket", "/storage/bucket"),
        ("storage.expireArtifactsAfterDays=-1", "/storage/expireArtifactsAfterDays"),
        ("storage.external.endpoint=s3.example.com", "/storage/external/endpoint"),
        ("mysql.external.port=70000", "/mysql/external/port"),
        ("mysql.persistence.size=many", "/mysql/persistence/size"),
        ("storage.persistence.size=1ki", "/storage/persistence/size"),
        ("mlflow.allowedHosts={*.example.com}", "/mlflow/allowedHosts/0"),
        ("serving.promoter=all", "/serving/promoter"),
        ("prometheus.certificates={s3.example.com}", "/prometheus/certificates/0"),
        ("steps.permissions=all", "/steps/permissions"),
        ("mysql.pasword=secret", "pasword"),
        ("mlflow.workers=0", "/mlflow/workers"),
        ("mlflow.external.uri=mlflow.example.com", "/mlflow/external/uri"),
        ("steps.existingSecret=mine", "/steps/existingSecret"),
        ("backup.schedule=daily", "/backup/schedule"),
        ("backup.retentionDays=0", "/backup/retentionDays"),
        ("prometheus.type=thanos", "/prometheus/type"),
        ("prometheus.scrapeIntervalSeconds=0", "/prometheus/scrapeIntervalSeconds"),
        ("prometheus.alertmanagers={alertmanager}", "/prometheus/alertmanagers/0"),
        ("grafana.type=operator", "/grafana/type"),
        ("grafana.prometheusUrl=prometheus:9090", "/grafana/prometheusUrl"),
        ("grafana.existingSecret=My Secret", "/grafana/existingSecret"),
        ("images.base=no tag", "/images/base"),
        ("images.mysq=docker.io/library/mysql:8.4", "mysq"),
        ("mlfow.enabled=false", "mlfow"),
    ],
)
def test_an_error_names_the_value_that_is_not_valid(error_of: Callable[..., str], setting: str, named: str) -> None:
    assert named in error_of("--set", setting)


@pytest.mark.parametrize("image", ["base", "mlflow"])
def test_the_projects_images_are_required(error_of: Callable[..., str], image: str) -> None:
    other = {"base": "mlflow", "mlflow": "base"}[image]
    message = error_of(images=("--set", f"images.{other}=ghcr.io/toolchain/{other}:1"))
    assert f"images.{image} is not set" in message
    assert "make deploy" in message


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("mysql.enabled=false,mysql.existingSecret=databases", "mysql.external.host is not set"),
        ("mysql.enabled=false,mysql.external.host=mysql.example.com", "mysql.existingSecret is not set"),
        ("storage.type=external,storage.external.endpoint=https://s3.example.com", "steps.existingSecret is not set"),
        ("storage.type=external,steps.existingSecret=toolchain-steps", "storage.external.endpoint is not set"),
        ("mlflow.enabled=false,mlflow.external.uri=https://mlflow.example.com", "steps.existingSecret is not set"),
        (
            "mysql.enabled=false,mysql.external.host=mysql.example.com,mysql.existingSecret=databases,"
            "mysql.external.user=",
            "mysql.external.user is empty",
        ),
        ("prometheus.type=operator", "grafana.prometheusUrl is not set"),
    ],
)
def test_inconsistent_values_are_an_error(error_of: Callable[..., str], settings: str, named: str) -> None:
    assert named in error_of("--set", settings)


def test_an_image_without_a_digest_is_an_error_if_digests_are_required(
    error_of: Callable[..., str], render: Callable[..., tuple[dict[str, object], ...]]
) -> None:
    """Of others' images: the tags of ours are digests of their content."""
    assert "without a digest, and requireDigests is true" in error_of("--set=requireDigests=true")
    images = yaml.safe_load((CHART / "values.yaml").read_text())["images"]
    pinned = [f"--set-string=images.{name}={value}@sha256:{'0' * 64}" for name, value in images.items() if value]
    found = json.dumps(render("--set=requireDigests=true", *pinned))
    assert all(value not in found.replace(f"{value}@sha256:", "") for value in images.values() if value)


def test_the_schema_covers_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
    for name, value in values.items():
        known = schema["properties"][name].get("properties", {})
        if isinstance(value, dict) and known:
            assert set(value) <= set(known), name
